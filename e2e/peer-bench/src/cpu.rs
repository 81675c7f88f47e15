//! Cores and processes as the kernel shows them: pinning, CPU time, resident memory. Touches only `/proc` and affinities.

use std::fmt::{Display, Formatter};
use std::fs;

use anyhow::{Context, Result, bail};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// Some cores of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cores(Vec<usize>);

impl Cores {
    /// The cores that this process may use.
    ///
    /// # Errors
    /// If the kernel does not say.
    pub fn available() -> Result<Self> {
        let set = sched_getaffinity(Pid::from_raw(0)).context("affinity")?;
        let cores = (0..CpuSet::count())
            .filter(|core| set.is_set(*core).unwrap_or(false))
            .collect();
        Ok(Self(cores))
    }

    /// Reads a list such as `0,2-3`.
    ///
    /// # Errors
    /// If it is none.
    pub fn parse(text: &str) -> Result<Self> {
        let mut cores = Vec::new();
        for item in text.split(',') {
            let (first, last) = item.split_once('-').unwrap_or((item, item));
            let first: usize = first
                .trim()
                .parse()
                .with_context(|| format!("core '{item}'"))?;
            let last: usize = last
                .trim()
                .parse()
                .with_context(|| format!("core '{item}'"))?;
            cores.extend(first..=last);
        }
        if cores.is_empty() {
            bail!("no core in '{text}'");
        }
        Ok(Self(cores))
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The cores from place `from` on, at most `count`.
    pub fn slice(&self, from: usize, count: usize) -> Self {
        Self(self.0.iter().skip(from).take(count).copied().collect())
    }

    /// The cores of both.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let new = other.0.iter().filter(|core| !self.0.contains(core));
        Self(self.0.iter().chain(new).copied().collect())
    }

    /// Whether a core is in both.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.0.iter().any(|core| other.0.contains(core))
    }
}

impl Display for Cores {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let names: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&names.join(","))
    }
}

/// Lets the calling thread, and the processes it starts from now on, run on these cores only.
///
/// # Errors
/// If a core is not there or may not be used.
pub fn pin_this_thread(cores: &Cores) -> Result<()> {
    let mut set = CpuSet::new();
    for core in &cores.0 {
        set.set(*core).with_context(|| format!("core {core}"))?;
    }
    sched_setaffinity(Pid::from_raw(0), &set).with_context(|| format!("run on cores {cores}"))
}

/// CPU seconds that the threads of a process have taken so far, to the nanosecond. Threads that have ended do not count;
/// no server measured here ends threads under load.
///
/// # Errors
/// If the process is gone.
pub fn process_seconds(process: u32) -> Result<f64> {
    let tasks = fs::read_dir(format!("/proc/{process}/task"))
        .with_context(|| format!("threads of process {process}"))?;
    let mut nanoseconds = 0_u64;
    for task in tasks {
        let path = task.context("threads")?.path().join("schedstat");
        // A thread may end between the listing and the reading.
        if let Ok(text) = fs::read_to_string(path) {
            nanoseconds += on_cpu(&text)?;
        }
    }
    Ok(nanoseconds as f64 / 1e9)
}

/// Seconds in which the cores were busy so far, in whatever process, or taken away by the hypervisor; in steps of 10 ms.
///
/// # Errors
/// If `/proc/stat` cannot be read.
pub fn busy_seconds(cores: &Cores) -> Result<f64> {
    let text = fs::read_to_string("/proc/stat").context("/proc/stat")?;
    Ok(busy_ticks(&text, cores) as f64 / TICKS_A_SECOND)
}

/// The unit of `/proc/stat`, the same on all architectures that Rust's Linux targets have.
const TICKS_A_SECOND: f64 = 100.0;

/// Sum over cores of user, nice, system, irq, softirq and steal; user holds what guests take.
fn busy_ticks(stat: &str, cores: &Cores) -> u64 {
    let of_core = |core: &usize| -> u64 {
        let name = format!("cpu{core}");
        let line = stat
            .lines()
            .find(|line| line.split_whitespace().next() == Some(&name));
        let figures = line.unwrap_or_default().split_whitespace().skip(1);
        let figures: Vec<u64> = figures.filter_map(|figure| figure.parse().ok()).collect();
        [0, 1, 2, 5, 6, 7]
            .iter()
            .filter_map(|place| figures.get(*place))
            .sum()
    };
    cores.0.iter().map(of_core).sum()
}

/// CPU seconds that the calling thread has taken so far.
///
/// # Errors
/// If `/proc` cannot be read.
pub fn thread_seconds() -> Result<f64> {
    let text =
        fs::read_to_string("/proc/thread-self/schedstat").context("/proc/thread-self/schedstat")?;
    Ok(on_cpu(&text)? as f64 / 1e9)
}

/// The first figure of a `schedstat` file: nanoseconds on a CPU.
fn on_cpu(schedstat: &str) -> Result<u64> {
    let first = schedstat
        .split_whitespace()
        .next()
        .context("empty schedstat")?;
    first
        .parse()
        .with_context(|| format!("schedstat '{schedstat}'"))
}

/// Resident memory of a process in bytes.
///
/// # Errors
/// If the process is gone.
pub fn resident(process: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))
        .with_context(|| format!("process {process}"))?;
    kibibytes(&status, "VmRSS:").context("no VmRSS")
}

/// Memory of a process and its children in bytes, what they share counted once. Without children it is resident memory, which is
/// cheaper to find out and the same but for programs' code.
///
/// # Errors
/// If the process is gone.
pub fn resident_with_children(process: u32) -> Result<u64> {
    let children = children(process)?;
    if children.is_empty() {
        return resident(process);
    }
    let own = proportional(process).with_context(|| format!("process {process}"))?;
    // A child may end between the listing and the reading.
    Ok(own + children.into_iter().filter_map(proportional).sum::<u64>())
}

fn children(process: u32) -> Result<Vec<u32>> {
    let tasks = fs::read_dir(format!("/proc/{process}/task"))
        .with_context(|| format!("threads of process {process}"))?;
    let mut children = Vec::new();
    for task in tasks {
        let path = task.context("threads")?.path().join("children");
        let text = fs::read_to_string(path).unwrap_or_default();
        children.extend(
            text.split_whitespace()
                .filter_map(|id| id.parse::<u32>().ok()),
        );
    }
    Ok(children)
}

/// Proportional set size in bytes; `None` if the process is gone.
fn proportional(process: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/smaps_rollup")).ok()?;
    kibibytes(&text, "Pss:")
}

/// Memory in bytes that new data can take without swapping.
///
/// # Errors
/// If the kernel does not say.
pub fn available_memory() -> Result<u64> {
    let text = fs::read_to_string("/proc/meminfo").context("/proc/meminfo")?;
    kibibytes(&text, "MemAvailable:").context("no MemAvailable")
}

/// Name of the processor.
pub fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    name.map_or_else(
        || std::env::consts::ARCH.to_owned(),
        |(_, name)| name.trim().to_owned(),
    )
}

/// Release of the kernel.
pub fn kernel() -> String {
    let text = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    text.trim().to_owned()
}

fn kibibytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let figure: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(figure * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn core_lists_have_single_cores_and_ranges() {
        let cores = Cores::parse("0,2-4").unwrap();
        assert_eq!(cores.to_string(), "0,2,3,4");
        assert_eq!(cores.slice(1, 2).to_string(), "2,3");
        assert!(cores.overlaps(&Cores::parse("4").unwrap()));
        assert!(!cores.overlaps(&Cores::parse("1").unwrap()));
        assert_eq!(
            cores.union(&Cores::parse("0-1").unwrap()).to_string(),
            "0,2,3,4,1"
        );
        assert!(Cores::parse("x").is_err());
    }

    #[test]
    fn kernel_files_are_read_in_their_units() {
        assert_eq!(on_cpu("60742 5 1\n").unwrap(), 60_742);
        assert_eq!(
            kibibytes("VmHWM:  9 kB\nVmRSS:\t   12 kB\n", "VmRSS:"),
            Some(12_288)
        );
        assert_eq!(kibibytes("", "VmRSS:"), None);
    }

    #[test]
    fn busy_time_is_all_but_idle_and_waiting() {
        let stat = "cpu  9 9 9 9 9 9 9 9 9 9\ncpu1 1 2 4 1000 1000 8 16 32 64 64\ncpu10 7 0 0 0 0 0 0 0 0 0\n";
        assert_eq!(busy_ticks(stat, &Cores(vec![1])), 63);
        assert_eq!(busy_ticks(stat, &Cores(vec![1, 10])), 70);
    }

    #[test]
    fn this_process_uses_cpu_time_and_memory() {
        assert!(process_seconds(std::process::id()).unwrap() > 0.0);
        assert!(resident(std::process::id()).unwrap() > 1 << 16);
        assert!(proportional(std::process::id()).unwrap() > 1 << 16);
        assert!(resident_with_children(std::process::id()).unwrap() > 1 << 16);
    }
}
