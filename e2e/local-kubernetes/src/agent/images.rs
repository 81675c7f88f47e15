//! Which programs an image stands for: there is no registry, an image is a directory of programs on this machine.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// What a container runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Program {
    /// A process: the program's path. It is executed under the path's last component, which is what `ps` shows.
    Path(PathBuf),
    /// No process: the container is running and healthy until it is stopped.
    Hollow,
}

#[derive(Clone, Debug)]
enum Image {
    Directory {
        directory: PathBuf,
        entrypoint: Option<String>,
    },
    Hollow,
}

/// Image repositories (names without tag and digest) and what they stand for.
#[derive(Clone, Debug, Default)]
pub struct ImageTable {
    images: BTreeMap<String, Image>,
    others_are_hollow: bool,
}

/// Why a container has no program.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// The table has no such image.
    #[error("failed to pull and unpack image \"{0}\": not found")]
    NoImage(String),
    /// The image has no such program.
    #[error("exec: \"{0}\": executable file not found in $PATH")]
    NoProgram(String),
}

impl ImageTable {
    /// A table in which every image stands for no process at all: pods become ready at once.
    #[must_use]
    pub fn hollow() -> Self {
        Self {
            images: BTreeMap::new(),
            others_are_hollow: true,
        }
    }

    /// Adds an image: its programs are the files of `directory` (symbolic links are fine); `entrypoint` is the one that runs
    /// when the container names no command.
    #[must_use]
    pub fn with(
        mut self,
        repository: &str,
        directory: impl Into<PathBuf>,
        entrypoint: Option<&str>,
    ) -> Self {
        let image = Image::Directory {
            directory: directory.into(),
            entrypoint: entrypoint.map(str::to_string),
        };
        self.images.insert(repository.into(), image);
        self
    }

    /// Adds an image that stands for no process, such as `registry.k8s.io/pause`.
    #[must_use]
    pub fn with_hollow(mut self, repository: &str) -> Self {
        self.images.insert(repository.into(), Image::Hollow);
        self
    }

    /// The program of a container.
    ///
    /// # Errors
    /// The image is not in the table, or has no such program.
    pub fn program(&self, image: &str, command: Option<&str>) -> Result<Program, ImageError> {
        match self.images.get(repository(image)) {
            Some(Image::Hollow) => Ok(Program::Hollow),
            Some(Image::Directory {
                directory,
                entrypoint,
            }) => {
                let name = command.or(entrypoint.as_deref()).unwrap_or_default();
                let file = Path::new(name).file_name().map(|file| directory.join(file));
                file.filter(|path| path.is_file())
                    .map(Program::Path)
                    .ok_or_else(|| ImageError::NoProgram(name.into()))
            }
            None if self.others_are_hollow => Ok(Program::Hollow),
            None => Err(ImageError::NoImage(image.into())),
        }
    }
}

/// An image's name without tag and digest.
fn repository(image: &str) -> &str {
    let name = image.split('@').next().unwrap_or(image);
    match name.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => name,
    }
}

/// The id that a container's status shows for its image.
pub fn image_id(image: &str) -> String {
    format!("sha256:{}", hex(&Sha256::digest(image.as_bytes())))
}

/// The id of a container's run.
pub fn container_id(pod_uid: &str, container: &str, run: u64) -> String {
    format!(
        "local://{}",
        hex(&Sha256::digest(
            format!("{pod_uid}/{container}/{run}").as_bytes()
        ))
    )
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_found_without_tag_and_digest() {
        for image in [
            "ghcr.io/x/y",
            "ghcr.io/x/y:1.2",
            "ghcr.io/x/y@sha256:ab",
            "ghcr.io/x/y:1@sha256:ab",
        ] {
            assert_eq!(repository(image), "ghcr.io/x/y");
        }
        assert_eq!(repository("localhost:5000/y"), "localhost:5000/y");
        assert_eq!(repository("localhost:5000/y:1"), "localhost:5000/y");
    }

    #[test]
    fn a_command_is_looked_up_by_its_last_component() {
        let table = ImageTable::default()
            .with("tools", "/bin", Some("true"))
            .with_hollow("pause");
        assert_eq!(
            table.program("tools:1", Some("/usr/local/bin/sh")),
            Ok(Program::Path("/bin/sh".into()))
        );
        assert_eq!(
            table.program("tools", None),
            Ok(Program::Path("/bin/true".into()))
        );
        assert_eq!(table.program("pause", None), Ok(Program::Hollow));
        assert!(matches!(
            table.program("tools", Some("no-such-program")),
            Err(ImageError::NoProgram(_))
        ));
        assert!(matches!(
            table.program("other", Some("sh")),
            Err(ImageError::NoImage(_))
        ));
        assert_eq!(
            ImageTable::hollow().program("other", None),
            Ok(Program::Hollow)
        );
    }
}
