//! A small shell process that outlives the agent by a moment: when the agent is gone, however it went, it kills the process
//! groups that are still listed. The kernel ends only direct children with their parent; this ends their children too.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};

use parking_lot::Mutex;

/// Reads `+ GROUP` and `- GROUP` until its input ends, which is when the agent has ended.
const SCRIPT: &str = r#"
trap '' INT TERM HUP
groups=' '
while read -r sign group; do
    case $sign in
        +) groups="$groups$group " ;;
        -) groups="${groups%%" $group "*} ${groups#*" $group "}" ;;
    esac
done
for group in $groups; do kill -KILL "-$group" 2>/dev/null; done
"#;

/// The list of process groups that must not outlive the agent.
#[derive(Debug)]
pub(super) struct Guardian {
    child: Child,
    list: Mutex<Option<ChildStdin>>,
}

impl Guardian {
    /// Starts the shell.
    ///
    /// # Errors
    /// There is no `/bin/sh`, or no process can be started.
    pub(super) fn start() -> std::io::Result<Self> {
        let mut child = Command::new("/bin/sh")
            .args(["-c", SCRIPT])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        let list = Mutex::new(child.stdin.take());
        Ok(Self { child, list })
    }

    /// Lists a group.
    pub(super) fn watch(&self, group: u32) {
        self.write('+', group);
    }

    /// Takes a group that has ended, and was listed, off the list: its number may come again.
    pub(super) fn forget(&self, group: u32) {
        self.write('-', group);
    }

    fn write(&self, sign: char, group: u32) {
        if let Some(list) = self.list.lock().as_mut()
            && let Err(error) = writeln!(list, "{sign} {group}")
        {
            tracing::debug!(%error, "the guardian does not listen");
        }
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        // The end of its input is its cue; it kills what is left and ends at once.
        self.list.lock().take();
        if let Err(error) = self.child.wait() {
            tracing::debug!(%error, "could not wait for the guardian");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper() -> Child {
        Command::new("/bin/sh")
            .args(["-c", "sleep 1000 & wait"])
            .process_group(0)
            .spawn()
            .expect("a child")
    }

    #[test]
    fn listed_groups_end_with_the_guardian_and_forgotten_ones_do_not() {
        let guardian = Guardian::start().expect("a guardian");
        let (mut first, mut second, mut third) = (sleeper(), sleeper(), sleeper());
        for child in [&first, &second, &third] {
            guardian.watch(child.id());
        }
        guardian.forget(second.id());
        drop(guardian);
        first.wait().expect("it has ended");
        third.wait().expect("it has ended");
        assert!(second.try_wait().expect("an answer").is_none());
        super::super::process::signal_group(second.id(), nix::sys::signal::Signal::SIGKILL);
        second.wait().expect("it has ended");
    }
}
