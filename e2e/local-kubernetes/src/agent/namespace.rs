//! Mount namespaces: a process sees a file of its own at a path where everybody else sees another.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};

/// A file or directory that a process sees at another path too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    /// What is seen; a file for a file, a directory for a directory.
    pub source: PathBuf,
    /// Where, in place of what is there; it must exist.
    pub target: PathBuf,
}

/// Starts a process that sees these files; the thread itself sees what it saw before.
///
/// # Errors
/// Why the process cannot be started, or cannot have a mount namespace: that takes `CAP_SYS_ADMIN`.
pub(super) fn with_binds<T>(
    binds: &[Bind],
    start: impl FnOnce() -> io::Result<T>,
) -> io::Result<T> {
    if binds.is_empty() {
        return start();
    }
    let home = File::open("/proc/thread-self/ns/mnt")?;
    // Of this thread alone. A process belongs to the namespace of the thread that forks it.
    unshare(CloneFlags::CLONE_NEWNS)?;
    let started = bind_all(binds).and_then(|()| start());
    setns(&home, CloneFlags::CLONE_NEWNS)?;
    started
}

fn bind_all(binds: &[Bind]) -> io::Result<()> {
    // What is mounted here must not appear outside, but what is unmounted outside must not be held here.
    change(None, Path::new("/"), MsFlags::MS_REC | MsFlags::MS_SLAVE)?;
    for Bind { source, target } in binds {
        change(Some(source), target, MsFlags::MS_BIND).map_err(|error| {
            let (source, target) = (source.display(), target.display());
            io::Error::new(
                error.kind(),
                format!("cannot bind {source} to {target}: {error}"),
            )
        })?;
    }
    Ok(())
}

fn change(source: Option<&Path>, target: &Path, flags: MsFlags) -> io::Result<()> {
    Ok(mount(source, target, None::<&Path>, flags, None::<&Path>)?)
}

/// Whether processes can see other files at `target`; tried on a thread that ends.
///
/// # Errors
/// Why not.
pub(super) fn may_bind_to(target: &Path) -> io::Result<()> {
    let bind = Bind {
        source: target.into(),
        target: target.into(),
    };
    std::thread::spawn(move || with_binds(&[bind], || Ok(())))
        .join()
        .map_err(|_| io::Error::other("the trial failed"))?
}
