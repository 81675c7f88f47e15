//! Logs of containers: one file a run, a line an entry (`TIME STREAM TEXT`), rotated; served to `pods/log`.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{self, StreamExt};
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::clock::Clock;
use crate::logs::{LogError, LogRequest, LogSource, LogStream};

/// A file that grows beyond this is set aside; one such older file is kept.
const MAX_FILE: u64 = 10 * 1024 * 1024;

/// How far a run's log has come, counted from its first byte.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    /// Where the older file begins.
    older: u64,
    /// Where the present file begins.
    current: u64,
    /// The end.
    end: u64,
    ended: bool,
}

#[derive(Clone, Debug)]
struct Run {
    path: PathBuf,
    progress: watch::Receiver<Progress>,
}

/// The runs of one container, newest last; two are enough for `--previous`.
type Runs = Vec<Run>;

/// All logs of an agent. Clones share them.
#[derive(Clone, Debug)]
pub struct LogStore {
    directory: PathBuf,
    clock: Clock,
    runs: Arc<Mutex<HashMap<(String, String), Runs>>>,
}

/// Appends to one run's log. Clones append to the same.
#[derive(Clone, Debug)]
pub struct LogWriter {
    inner: Arc<Mutex<Writer>>,
}

#[derive(Debug)]
struct Writer {
    file: File,
    path: PathBuf,
    clock: Clock,
    progress: watch::Sender<Progress>,
    unfinished: HashMap<&'static str, Vec<u8>>,
}

fn older(path: &Path) -> PathBuf {
    path.with_extension("log.1")
}

impl LogStore {
    /// Logs below a directory.
    #[must_use]
    pub fn new(directory: PathBuf, clock: Clock) -> Self {
        Self {
            directory,
            clock,
            runs: Arc::default(),
        }
    }

    /// Begins the log of a run.
    ///
    /// # Errors
    /// The file cannot be created.
    pub fn begin(&self, pod_uid: &str, container: &str, run: u64) -> std::io::Result<LogWriter> {
        let directory = self.directory.join(pod_uid).join(container);
        std::fs::create_dir_all(&directory)?;
        let path = directory.join(format!("{run}.log"));
        let file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .open(&path)?;
        let (sender, progress) = watch::channel(Progress::default());
        let mut runs = self.runs.lock();
        let runs = runs.entry((pod_uid.into(), container.into())).or_default();
        runs.push(Run {
            path: path.clone(),
            progress,
        });
        while runs.len() > 2 {
            let old = runs.remove(0);
            // A file that cannot be removed is removed with the pod.
            drop(std::fs::remove_file(&old.path));
            drop(std::fs::remove_file(older(&old.path)));
        }
        let writer = Writer {
            file,
            path,
            clock: self.clock.clone(),
            progress: sender,
            unfinished: HashMap::new(),
        };
        Ok(LogWriter {
            inner: Arc::new(Mutex::new(writer)),
        })
    }

    /// Forgets a pod's logs and removes their files.
    pub fn forget(&self, pod_uid: &str) {
        self.runs.lock().retain(|(uid, _), _| uid != pod_uid);
        drop(std::fs::remove_dir_all(self.directory.join(pod_uid)));
    }

    fn find(&self, request: &LogRequest) -> Result<Run, LogError> {
        let runs = self.runs.lock();
        let runs = runs
            .get(&(request.uid.clone(), request.container.clone()))
            .map(Vec::as_slice)
            .unwrap_or_default();
        let (pod, container) = (request.pod.clone(), request.container.clone());
        if request.previous {
            let before = runs.len().checked_sub(2).and_then(|index| runs.get(index));
            return before
                .cloned()
                .ok_or(LogError::NoPrevious { pod, container });
        }
        runs.last().cloned().ok_or(LogError::Waiting {
            pod,
            container,
            reason: "ContainerCreating".into(),
        })
    }
}

impl LogWriter {
    /// Appends output of a stream (`stdout`, `stderr`); a line is written when it is complete.
    pub fn append(&self, stream: &'static str, output: &[u8]) {
        let mut inner = self.inner.lock();
        let mut pending = inner.unfinished.remove(stream).unwrap_or_default();
        pending.extend_from_slice(output);
        let complete = pending
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        let rest = pending.split_off(complete);
        inner.write_lines(stream, &pending);
        inner.unfinished.insert(stream, rest);
    }

    /// The run has ended: writes incomplete lines and lets followers go.
    pub fn end(&self) {
        let mut inner = self.inner.lock();
        for stream in ["stdout", "stderr"] {
            if let Some(rest) = inner
                .unfinished
                .remove(stream)
                .filter(|rest| !rest.is_empty())
            {
                inner.write_lines(stream, &rest);
            }
        }
        inner.progress.send_modify(|progress| progress.ended = true);
    }
}

impl Writer {
    fn write_lines(&mut self, stream: &str, lines: &[u8]) {
        if lines.is_empty() {
            return;
        }
        let time = self.clock.now();
        let mut out = Vec::with_capacity(lines.len() + 64);
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            out.extend_from_slice(format!("{time} {stream} ").as_bytes());
            out.extend_from_slice(line);
            if line.last() != Some(&b'\n') {
                out.push(b'\n');
            }
        }
        if let Err(error) = self.file.write_all(&out) {
            tracing::debug!(%error, path = %self.path.display(), "could not write a log");
            return;
        }
        let written = out.len() as u64;
        self.progress
            .send_modify(|progress| progress.end += written);
        let progress = *self.progress.borrow();
        if progress.end - progress.current > MAX_FILE {
            self.rotate();
        }
    }

    fn rotate(&mut self) {
        let moved =
            std::fs::rename(&self.path, older(&self.path)).and_then(|()| File::create(&self.path));
        match moved {
            Ok(file) => {
                self.file = file;
                self.progress.send_modify(|progress| {
                    (progress.older, progress.current) = (progress.current, progress.end);
                });
            }
            Err(error) => {
                tracing::debug!(%error, path = %self.path.display(), "could not rotate a log");
            }
        }
    }
}

/// Reads a run's log from a position; returns what there is and the position after it.
fn read_from(path: &Path, progress: Progress, position: u64) -> std::io::Result<(Vec<u8>, u64)> {
    let mut position = position.max(progress.older);
    let mut text = Vec::new();
    for (path, from, to) in [
        (older(path), progress.older, progress.current),
        (path.to_path_buf(), progress.current, progress.end),
    ] {
        if position < to {
            let mut file = File::open(path)?;
            file.seek(SeekFrom::Start(position - from))?;
            position += file.take(to - position).read_to_end(&mut text)? as u64;
        }
    }
    Ok((text, position))
}

/// Picks and shows lines: `since`, the last so many, with or without their times.
fn select(text: &[u8], since: Option<Timestamp>, tail: Option<u64>, timestamps: bool) -> Vec<u8> {
    let mut lines: Vec<_> = text
        .split_inclusive(|byte| *byte == b'\n')
        .filter_map(parse)
        .filter(|(time, _)| since.is_none_or(|since| moment(time) >= since))
        .collect();
    if let Some(tail) = tail.and_then(|tail| usize::try_from(tail).ok()) {
        lines.drain(..lines.len().saturating_sub(tail));
    }
    let mut out = Vec::with_capacity(text.len());
    for (time, line) in lines {
        if timestamps {
            out.extend_from_slice(time.as_bytes());
            out.push(b' ');
        }
        out.extend_from_slice(line);
    }
    out
}

fn moment(time: &str) -> Timestamp {
    time.parse().unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Splits an entry into its time and its text.
fn parse(entry: &[u8]) -> Option<(&str, &[u8])> {
    let mut parts = entry.splitn(3, |byte| *byte == b' ');
    let time = std::str::from_utf8(parts.next()?).ok()?;
    parts.next()?;
    Some((time, parts.next()?))
}

impl LogSource for LogStore {
    fn open(&self, request: LogRequest) -> BoxFuture<'static, Result<LogStream, LogError>> {
        let found = self.find(&request);
        let since = request
            .since_seconds
            .and_then(|seconds| i64::try_from(seconds).ok())
            .and_then(|seconds| {
                self.clock
                    .now()
                    .checked_sub(SignedDuration::from_secs(seconds))
                    .ok()
            });
        Box::pin(async move {
            let run = found?;
            let progress = *run.progress.borrow();
            let (text, position) = read_from(&run.path, progress, 0)
                .map_err(|error| LogError::Failed(error.to_string()))?;
            let first = Ok(Bytes::from(select(
                &text,
                since,
                request.tail_lines,
                request.timestamps,
            )));
            let first = stream::iter([first]).filter(|chunk| {
                futures::future::ready(!matches!(chunk, Ok(bytes) if bytes.is_empty()))
            });
            if request.follow {
                Ok(first
                    .chain(follow(run, position, request.timestamps))
                    .boxed())
            } else {
                Ok(first.boxed())
            }
        })
    }
}

fn follow(
    run: Run,
    position: u64,
    timestamps: bool,
) -> impl futures::Stream<Item = std::io::Result<Bytes>> + Send {
    stream::unfold(Some((run, position)), move |state| async move {
        let (mut run, position) = state?;
        let seen = run
            .progress
            .wait_for(|progress| progress.end > position || progress.ended)
            .await
            .map(|progress| *progress);
        let progress = seen.unwrap_or_else(|_| Progress {
            ended: true,
            ..*run.progress.borrow()
        });
        if progress.end <= position {
            return None;
        }
        match read_from(&run.path, progress, position) {
            Ok((text, position)) => Some((
                Ok(Bytes::from(select(&text, None, None, timestamps))),
                Some((run, position)),
            )),
            Err(error) => Some((Err(error), None)),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, LogStore) {
        let directory = tempfile::tempdir().expect("a directory");
        let store = LogStore::new(directory.path().into(), Clock::start());
        (directory, store)
    }

    fn request() -> LogRequest {
        LogRequest {
            pod: "db-0".into(),
            uid: "u".into(),
            container: "c".into(),
            ..LogRequest::default()
        }
    }

    async fn text(store: &LogStore, request: LogRequest) -> String {
        let chunks: Vec<_> = store.open(request).await.expect("a log").collect().await;
        chunks
            .into_iter()
            .map(|chunk| String::from_utf8(chunk.expect("readable").to_vec()).expect("text"))
            .collect()
    }

    #[tokio::test]
    async fn lines_are_tailed_timed_and_followed_to_the_end_of_the_run() {
        let (_directory, store) = store();
        let writer = store.begin("u", "c", 0).expect("a log");
        writer.append("stdout", b"one\ntw");
        writer.append("stderr", b"err\n");
        writer.append("stdout", b"o\n");
        assert_eq!(text(&store, request()).await, "one\nerr\ntwo\n");
        assert_eq!(
            text(
                &store,
                LogRequest {
                    tail_lines: Some(1),
                    ..request()
                }
            )
            .await,
            "two\n"
        );
        let timed = text(
            &store,
            LogRequest {
                timestamps: true,
                tail_lines: Some(1),
                ..request()
            },
        )
        .await;
        assert!(
            timed.ends_with("Z two\n") && timed.starts_with("20"),
            "{timed}"
        );
        let following = tokio::spawn({
            let store = store.clone();
            async move {
                text(
                    &store,
                    LogRequest {
                        follow: true,
                        tail_lines: Some(0),
                        ..request()
                    },
                )
                .await
            }
        });
        tokio::task::yield_now().await;
        writer.append("stdout", b"three\nrest");
        writer.end();
        assert_eq!(following.await.expect("followed"), "three\nrest\n");
    }

    #[tokio::test]
    async fn the_previous_run_is_kept() {
        let (_directory, store) = store();
        assert!(matches!(
            store.open(request()).await,
            Err(LogError::Waiting { .. })
        ));
        for run in 0..3 {
            let writer = store.begin("u", "c", run).expect("a log");
            writer.append("stdout", format!("run {run}\n").as_bytes());
            writer.end();
        }
        assert_eq!(
            text(
                &store,
                LogRequest {
                    previous: true,
                    ..request()
                }
            )
            .await,
            "run 1\n"
        );
        assert_eq!(text(&store, request()).await, "run 2\n");
        store.forget("u");
        assert!(store.open(request()).await.is_err());
    }

    #[tokio::test]
    async fn a_big_log_is_rotated_and_still_read_in_order() {
        let (_directory, store) = store();
        let writer = store.begin("u", "c", 0).expect("a log");
        let line = [b'x'; 1023];
        for _ in 0..11_000 {
            writer.append("stdout", &line);
            writer.append("stdout", b"\n");
        }
        writer.append("stdout", b"last\n");
        let all = text(&store, request()).await;
        assert!(all.ends_with("x\nlast\n") && all.len() > 10 * 1024 * 1024);
    }
}
