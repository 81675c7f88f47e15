//! A disk in memory that fails when it is told to, and loses power: what was not synchronized may be gone, or there in part.

use std::collections::BTreeMap;
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::disk::{Disk, DiskFile};

#[derive(Clone, Debug)]
enum Renamed {
    Created(PathBuf, usize),
    Moved(PathBuf, PathBuf, usize),
    Removed(PathBuf),
}

#[derive(Clone, Debug, Default)]
struct Content {
    /// As processes see it.
    data: Vec<u8>,
    /// As it is on the disk for sure.
    synced: Vec<u8>,
    /// What an fsync that failed did not bring there, and no later one will: the system takes it for written.
    doomed: Vec<std::ops::Range<usize>>,
}

#[derive(Clone)]
struct State {
    names: BTreeMap<PathBuf, usize>,
    synced_names: BTreeMap<PathBuf, usize>,
    renamed: Vec<Renamed>,
    files: Vec<Content>,
    random: StdRng,
    /// Of so many calls one fails; 0: none.
    fails_one_in: u32,
    /// After so many more calls, none does anything any more.
    dies_after: Option<u32>,
}

/// The disk; a clone is the same.
#[derive(Clone)]
pub(super) struct Simulated(Arc<Mutex<State>>);

impl Simulated {
    pub(super) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            names: BTreeMap::new(),
            synced_names: BTreeMap::new(),
            renamed: Vec::new(),
            files: Vec::new(),
            random: StdRng::seed_from_u64(seed),
            fails_one_in: 0,
            dies_after: None,
        })))
    }

    /// A file that was there before.
    pub(super) fn put(&self, path: &Path, data: Vec<u8>) {
        let state = &mut *self.0.lock();
        let file = state.files.len();
        state.files.push(Content {
            synced: data.clone(),
            data,
            doomed: Vec::new(),
        });
        state.names.insert(path.to_owned(), file);
        state.synced_names.insert(path.to_owned(), file);
    }

    /// All files.
    pub(super) fn all(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let state = self.0.lock();
        let names = state.names.iter();
        names
            .map(|(path, file)| (path.clone(), state.files[*file].data.clone()))
            .collect()
    }

    /// One call in so many fails from now on; 0: none.
    pub(super) fn fail_one_in(&self, calls: u32) {
        self.0.lock().fails_one_in = calls;
    }

    /// The power fails at the call after so many.
    pub(super) fn die_after(&self, calls: u32) {
        self.0.lock().dies_after = Some(calls);
    }

    /// Whether the power has failed.
    pub(super) fn is_dead(&self) -> bool {
        self.0.lock().dies_after == Some(0)
    }

    /// A disk on which this one's files are as they may be found after the power has failed now.
    pub(super) fn after_power_loss(&self, seed: u64) -> Self {
        let mut state = self.0.lock().clone();
        state.random = StdRng::seed_from_u64(seed);
        let disk = Self(Arc::new(Mutex::new(state)));
        disk.lose_power();
        disk
    }

    /// The power is back.
    pub(super) fn lose_power(&self) {
        let state = &mut *self.0.lock();
        state.dies_after = None;
        state.fails_one_in = 0;
        let mut names = std::mem::take(&mut state.synced_names);
        for renamed in left_of_names(&mut state.renamed, &mut state.random) {
            apply(&mut names, renamed);
        }
        state.names.clone_from(&names);
        state.synced_names = names;
        for content in &mut state.files {
            content.data = left_of(content, &mut state.random);
            content.synced.clone_from(&content.data);
            content.doomed.clear();
        }
    }
}

/// What of changes to a folder is found after the power has failed: those up to some moment, or any, for only an fsync makes an order.
fn left_of_names(renamed: &mut Vec<Renamed>, random: &mut StdRng) -> Vec<Renamed> {
    if random.random_bool(0.5) {
        renamed.truncate(random.random_range(0..=renamed.len()));
    } else {
        renamed.retain(|_| random.random_bool(0.5));
    }
    std::mem::take(renamed)
}

fn apply(names: &mut BTreeMap<PathBuf, usize>, renamed: Renamed) {
    match renamed {
        Renamed::Created(path, file) => {
            names.insert(path, file);
        }
        Renamed::Moved(from, to, file) => {
            names.remove(&from);
            names.insert(to, file);
        }
        Renamed::Removed(path) => {
            names.remove(&path);
        }
    }
}

/// What is found of a file after the power has failed.
fn left_of(content: &Content, random: &mut StdRng) -> Vec<u8> {
    let on_disk = with_holes(content);
    let common = on_disk
        .iter()
        .zip(&content.synced)
        .take_while(|(left, right)| left == right)
        .count();
    if common < content.synced.len() && random.random_bool(0.5) {
        // Not even that it was cut has come to the disk.
        return content.synced.clone();
    }
    let end = random.random_range(common..=on_disk.len().max(common));
    let mut left = on_disk[..end].to_vec();
    if random.random_bool(0.3) {
        // Room was made on the disk, and nothing written there.
        left.resize(on_disk.len().max(end), 0);
    }
    left
}

/// The data as they would come to the disk.
fn with_holes(content: &Content) -> Vec<u8> {
    let mut data = content.data.clone();
    for range in &content.doomed {
        let end = range.end.min(data.len());
        if let Some(hole) = data.get_mut(range.start..end) {
            hole.fill(0);
        }
    }
    data
}

impl State {
    /// Whether the call does nothing and fails, or does a part and fails.
    fn call(&mut self) -> io::Result<()> {
        if let Some(left) = &mut self.dies_after {
            let Some(less) = left.checked_sub(1) else {
                return Err(io::Error::other("no power"));
            };
            *left = less;
        }
        if self.fails_one_in > 0 && self.random.random_range(0..self.fails_one_in) == 0 {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        Ok(())
    }

    fn file(&self, path: &Path) -> io::Result<usize> {
        let file = self.names.get(path).copied();
        file.ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// A file on it.
struct File {
    disk: Simulated,
    file: usize,
}

impl DiskFile for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let state = &mut *self.disk.0.lock();
        let result = state.call();
        let part = match &result {
            Ok(()) => bytes,
            Err(_) if state.dies_after == Some(0) => &[],
            Err(_) => &bytes[..state.random.random_range(0..bytes.len())],
        };
        state.files[self.file].data.extend_from_slice(part);
        result
    }

    fn sync(&mut self) -> io::Result<()> {
        let state = &mut *self.disk.0.lock();
        let result = state.call();
        let content = &mut state.files[self.file];
        if result.is_ok() {
            content.synced = with_holes(content);
        } else {
            let lost = content.synced.len()..content.data.len();
            if !lost.is_empty() {
                content.doomed.push(lost);
            }
        }
        result
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        let state = &mut *self.disk.0.lock();
        state.call()?;
        let content = &mut state.files[self.file];
        let length = length as usize;
        content.data.truncate(length);
        for range in &mut content.doomed {
            range.end = range.end.min(length);
        }
        content.doomed.retain(|range| !range.is_empty());
        Ok(())
    }
}

impl Disk for Simulated {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.0.lock();
        state.call()?;
        let file = state.files.len();
        state.files.push(Content::default());
        state.names.insert(path.to_owned(), file);
        state.renamed.push(Renamed::Created(path.to_owned(), file));
        let disk = self.clone();
        Ok(Box::new(File { disk, file }))
    }

    fn append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.0.lock();
        state.call()?;
        let file = state.file(path)?;
        let disk = self.clone();
        Ok(Box::new(File { disk, file }))
    }

    fn read(&self, path: &Path, from: u64) -> io::Result<Box<dyn Read + Send>> {
        let state = self.0.lock();
        let file = state.file(path)?;
        let data = state.files[file].data[from as usize..].to_vec();
        Ok(Box::new(Cursor::new(data)))
    }

    fn length(&self, path: &Path) -> io::Result<Option<u64>> {
        let state = self.0.lock();
        let file = state.names.get(path);
        Ok(file.map(|file| state.files[*file].data.len() as u64))
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let state = self.0.lock();
        let inside = state
            .names
            .keys()
            .filter(|path| path.parent() == Some(folder));
        Ok(inside
            .filter_map(|path| path.file_name())
            .map(|name| name.to_string_lossy().into_owned())
            .collect())
    }

    fn create_folder(&self, _: &Path) -> io::Result<()> {
        self.0.lock().call()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        state.call()?;
        let file = state.file(from)?;
        let renamed = Renamed::Moved(from.to_owned(), to.to_owned(), file);
        apply(&mut state.names, renamed.clone());
        state.renamed.push(renamed);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        state.call()?;
        state.file(path)?;
        let renamed = Renamed::Removed(path.to_owned());
        apply(&mut state.names, renamed.clone());
        state.renamed.push(renamed);
        Ok(())
    }

    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        let state = &mut *self.0.lock();
        state.call()?;
        state.renamed.clear();
        state.synced_names.clone_from(&state.names);
        Ok(())
    }
}
