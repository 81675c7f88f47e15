//! How a new base comes into force: the incremental file that goes with it, the manifest that names both, and what is removed then.
//!
//! Whatever happens in between, a manifest on the disk names a whole set.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use tracing::warn;

use super::super::Kind;
use super::super::manifest::{Manifest, Part};
use super::super::segment::Segment;
use super::Writer;

impl Writer {
    /// Begins the incremental file that goes with a new base. An error that has to do with this file alone is the end of the rewrite.
    pub(super) fn switch(&mut self, kind: Kind) -> io::Result<()> {
        if kind == Kind::Rewrite {
            if self.segment.is_none() || self.founding.is_some() {
                self.give_up_rewrite("there is nothing to rewrite");
                return Ok(());
            }
            // What comes into the next file is never on the disk before this.
            self.sync()?;
        }
        match self.begin_increment(kind) {
            Ok(()) => self.cut = None,
            Err(error) => {
                warn!(%error, "no new file for the rewrite of the append-only file");
                self.give_up_rewrite(&error.to_string());
            }
        }
        Ok(())
    }

    fn begin_increment(&mut self, kind: Kind) -> io::Result<()> {
        let number = self.manifest.as_ref().map_or(1, Manifest::next_increment);
        let name = self.layout.increment(number);
        let disk = Arc::clone(&self.disk);
        if kind == Kind::Found {
            let path = self.layout.temporary(&name);
            self.segment = Some(Segment::create(disk.as_ref(), &path)?);
            self.founding = Some(number);
            self.switched = Some(number);
            return Ok(());
        }
        let Some(mut manifest) = self.manifest.clone() else {
            return Err(io::Error::other("there is no manifest"));
        };
        let path = self.layout.path(&name);
        let created = Segment::create(disk.as_ref(), &path).and_then(|segment| {
            disk.sync_folder(&self.layout.folder)?;
            manifest.increments.push(Part { name, number });
            self.store_manifest(&manifest)?;
            Ok(segment)
        });
        let segment = created.inspect_err(|_| {
            // What cannot be removed is removed at the next start, and is written over before.
            let _ = disk.remove(&path);
        })?;
        self.earlier += self.segment.as_ref().map_or(0, Segment::length);
        self.segment = Some(segment);
        self.switched = Some(number);
        Ok(())
    }

    /// Puts a manifest in the place of the one before. It is on the disk when the folder is.
    pub(super) fn store_manifest(&mut self, manifest: &Manifest) -> io::Result<()> {
        let name = self.layout.manifest();
        let temporary = self.layout.temporary(&name);
        self.write_manifest(manifest)?;
        self.disk.rename(&temporary, &self.layout.path(&name))?;
        self.manifest = Some(manifest.clone());
        self.folder_unsynced = true;
        Ok(())
    }

    /// Writes a manifest under another name.
    fn write_manifest(&self, manifest: &Manifest) -> io::Result<()> {
        let temporary = self.layout.temporary(&self.layout.manifest());
        let mut file = self.disk.create(&temporary)?;
        file.write(manifest.text().as_bytes())?;
        file.sync()
    }

    /// Makes sure that the names in the folder are on the disk, and removes files that are then of no more use.
    pub(super) fn sync_folder(&mut self) -> io::Result<()> {
        if self.folder_unsynced {
            self.disk.sync_folder(&self.layout.folder)?;
            self.folder_unsynced = false;
        }
        for name in self.obsolete.drain(..) {
            if let Err(error) = self.disk.remove(&self.layout.path(&name)) {
                warn!(file = name, %error, "a file of no more use is not removed before the next start");
            }
        }
        Ok(())
    }

    /// Puts the base in force that was written.
    pub(super) fn place(&mut self) -> io::Result<()> {
        let Some(first) = self.switched else {
            self.give_up_rewrite("the rewrite was given up");
            return Ok(());
        };
        if self.founding.is_some() {
            self.sync()?;
        }
        let Some(base) = self.base.take() else {
            return Ok(());
        };
        match self.bring_in(first) {
            Ok(()) => {
                let length = self.segment.as_ref().map_or(0, Segment::length);
                self.earlier = base.bytes;
                self.switched = None;
                let aof = self.aof();
                aof.base_size.store(base.bytes + length, Relaxed);
                if self.founding.take().is_some() {
                    self.lost = false;
                    self.come_into_force();
                }
                let _ = base.done.send(Ok(()));
                self.sync_folder()
            }
            Err(error) => {
                self.base = Some(base);
                self.give_up_rewrite(&error.to_string());
                Ok(())
            }
        }
    }

    /// Gives the new base its name, and has the manifest name it with the incremental files from number `first` on.
    fn bring_in(&mut self, first: u64) -> io::Result<()> {
        let old = self.manifest.clone().unwrap_or_default();
        let number = old.next_base();
        let name = self.layout.base(number);
        let increments = match self.founding {
            Some(number) => vec![Part {
                name: self.layout.increment(number),
                number,
            }],
            None => {
                let parts = old.increments.iter();
                parts.filter(|part| part.number >= first).cloned().collect()
            }
        };
        let manifest = Manifest {
            base: Some(Part { name, number }),
            increments,
        };
        // Under another name, it says that files without a manifest are not in force yet, and nothing is missing.
        self.write_manifest(&manifest)?;
        self.disk.sync_folder(&self.layout.folder)?;
        let base = self.layout.path(&self.layout.base(number));
        self.disk.rename(&self.layout.new_base(), &base)?;
        if let Some(number) = self.founding {
            let name = self.layout.increment(number);
            let increment = self.layout.path(&name);
            self.disk
                .rename(&self.layout.temporary(&name), &increment)?;
        }
        self.disk.sync_folder(&self.layout.folder)?;
        let file = self.layout.manifest();
        self.disk
            .rename(&self.layout.temporary(&file), &self.layout.path(&file))?;
        self.folder_unsynced = true;
        let gone = old.parts().filter(|part| !manifest.names(&part.name));
        self.obsolete.extend(gone.map(|part| part.name.clone()));
        self.manifest = Some(manifest);
        Ok(())
    }
}
