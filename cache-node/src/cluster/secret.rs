//! What all nodes of a cluster know and others must not (`cluster-secret`).

use std::fmt;
use std::sync::Arc;

use crate::config::{SECRET_BYTES, Settings};

/// The secret. It shows itself to nobody.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<[u8]>);

impl Secret {
    /// These bytes are the secret.
    pub fn new(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }

    /// The secret that the settings name; `None`: the bus is open to whoever reaches it.
    ///
    /// # Errors
    ///
    /// When both options name one, or the file holds none that can be used.
    pub fn of(settings: &Settings) -> Result<Option<Self>, SecretError> {
        let (text, path) = (&settings.cluster_secret, &settings.cluster_secret_file);
        match (text.is_empty(), path.is_empty()) {
            (true, true) => Ok(None),
            (false, true) => Ok(Some(Self::new(text.as_bytes()))),
            (true, false) => read(path).map(Some),
            (false, false) => Err(SecretError::Both),
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(not shown)")
    }
}

fn read(path: &str) -> Result<Secret, SecretError> {
    let contents = std::fs::read(path).map_err(|error| SecretError::File {
        path: path.to_owned(),
        reason: error.to_string(),
    })?;
    let secret = contents.trim_ascii();
    if secret.len() < SECRET_BYTES {
        let length = secret.len();
        return Err(SecretError::File {
            path: path.to_owned(),
            reason: format!("it must hold at least {SECRET_BYTES} bytes, and holds {length}"),
        });
    }
    Ok(Secret::new(secret))
}

/// Why there is no telling the secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// Two options name one.
    #[error("'cluster-secret' and 'cluster-secret-file': only one of them may be given")]
    Both,
    /// The file is not there, or holds too little.
    #[error("'cluster-secret-file' {path}: {reason}")]
    File {
        /// Its path.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "sixteen bytes !!";

    fn of(text: &str, file: &str) -> Result<Option<Secret>, String> {
        let settings = Settings {
            cluster_secret: text.to_owned(),
            cluster_secret_file: file.to_owned(),
            ..Settings::default()
        };
        Secret::of(&settings).map_err(|error| error.to_string())
    }

    fn file(contents: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), contents).unwrap();
        file
    }

    #[test]
    fn it_is_given_as_text_or_in_a_file_round_which_white_space_does_not_count() {
        let file = file(format!(" {TEXT}\n\n").as_bytes());
        let path = file.path().to_str().unwrap();
        assert_eq!(of("", ""), Ok(None));
        assert_eq!(of(TEXT, ""), Ok(Some(Secret::new(TEXT.as_bytes()))));
        assert_eq!(of("", path), of(TEXT, ""));
        let both = of(TEXT, path).unwrap_err();
        assert!(both.contains("only one of them"), "{both}");
    }

    #[test]
    fn a_file_that_holds_none_is_an_error_that_names_option_path_and_what_is_wanted() {
        for contents in [b"".as_slice(), b" \n ", b"  fifteen bytes !\n"] {
            let file = file(contents);
            let path = file.path().to_str().unwrap();
            let error = of("", path).unwrap_err();
            for part in ["'cluster-secret-file'", path, "at least 16 bytes"] {
                assert!(error.contains(part), "{error}");
            }
            assert!(!error.contains("fifteen"), "{error}");
        }
        let error = of("", "/nowhere/at.all").unwrap_err();
        assert!(error.contains("'cluster-secret-file' /nowhere/at.all: No such file"));
    }

    #[test]
    fn it_is_not_shown() {
        let shown = format!("{:?}", Secret::new(TEXT.as_bytes()));
        assert!(!shown.contains(TEXT), "{shown}");
    }
}
