//! What the operating system says about this process.

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;

/// Bytes of memory that are resident; 0 when the system does not tell.
pub(crate) fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kilobytes = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|value| value.trim().strip_suffix(" kB")?.parse::<usize>().ok());
    kilobytes.unwrap_or(0) * 1024
}

/// Seconds of processor time used in the system and in the process itself.
pub(crate) fn cpu_seconds() -> (f64, f64) {
    let seconds = |time: TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    match getrusage(UsageWho::RUSAGE_SELF) {
        Ok(usage) => (seconds(usage.system_time()), seconds(usage.user_time())),
        Err(_) => (0.0, 0.0),
    }
}

/// Bytes that the container of this process uses, files that can be dropped left out, and its limit; `None` without a limit.
pub(crate) fn container_memory() -> Option<(usize, usize)> {
    // The second version's files, or the first's; inside of a container they are its own.
    let (used, limit, stat) = [
        ("memory.current", "memory.max", "memory.stat"),
        (
            "memory/memory.usage_in_bytes",
            "memory/memory.limit_in_bytes",
            "memory/memory.stat",
        ),
    ]
    .into_iter()
    .find_map(|(used, limit, stat)| Some((cgroup(used)?, cgroup(limit)?, cgroup(stat)?)))?;
    let limit: usize = limit.trim().parse().ok()?;
    let used: usize = used.trim().parse().ok()?;
    let droppable = stat.lines().find_map(|line| {
        line.strip_prefix("inactive_file ")
            .or_else(|| line.strip_prefix("total_inactive_file "))
    });
    let droppable: usize = droppable.and_then(|bytes| bytes.parse().ok()).unwrap_or(0);
    // The first version writes a number near the end of the address space where there is no limit.
    (limit < isize::MAX as usize / 2).then_some((used.saturating_sub(droppable), limit))
}

fn cgroup(file: &str) -> Option<String> {
    std::fs::read_to_string(format!("/sys/fs/cgroup/{file}")).ok()
}
