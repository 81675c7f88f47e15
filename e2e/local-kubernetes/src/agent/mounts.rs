//! Volumes are not mounted, so that no rights are needed: where a container's text names a mount path, the real directory is put. Pure.

use std::path::{Path, PathBuf};

/// Mount paths of a container and the directories or files that they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mounts {
    /// Longest mount path first, so that the most specific one wins.
    pairs: Vec<(String, PathBuf)>,
}

impl Mounts {
    /// Mounts from pairs of mount path and real path.
    #[must_use]
    pub fn new(pairs: impl IntoIterator<Item = (String, PathBuf)>) -> Self {
        let trimmed =
            |(path, real): (String, PathBuf)| (path.trim_end_matches('/').to_string(), real);
        let mut pairs: Vec<_> = pairs
            .into_iter()
            .map(trimmed)
            .filter(|(path, _)| path.starts_with('/'))
            .collect();
        pairs.sort_by_key(|(path, _)| std::cmp::Reverse(path.len()));
        Self { pairs }
    }

    /// The text with every mount path replaced that stands as a path, or begins one, on its own.
    #[must_use]
    pub fn rewrite(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(letter) = rest.chars().next() {
            let boundary = out
                .chars()
                .next_back()
                .is_none_or(|before| !is_path(before));
            let mount = self
                .pairs
                .iter()
                .filter(|_| boundary && letter == '/')
                .find(|(path, _)| {
                    rest.strip_prefix(path.as_str()).is_some_and(|after| {
                        after
                            .chars()
                            .next()
                            .is_none_or(|next| next == '/' || !is_path(next))
                    })
                });
            if let Some((path, real)) = mount {
                out.push_str(&real.to_string_lossy());
                rest = &rest[path.len()..];
            } else {
                out.push(letter);
                rest = &rest[letter.len_utf8()..];
            }
        }
        out
    }

    /// The real place of a path inside the container, if it is in a mount.
    #[must_use]
    pub fn real(&self, path: &str) -> Option<PathBuf> {
        let path = Path::new(path);
        self.pairs.iter().find_map(|(mount, real)| {
            path.strip_prefix(mount).ok().map(|rest| {
                if rest.as_os_str().is_empty() {
                    real.clone()
                } else {
                    real.join(rest)
                }
            })
        })
    }
}

/// Whether a letter goes on with a path, so that `/data` is not found in `/my/data` or `/database`.
fn is_path(letter: char) -> bool {
    letter.is_alphanumeric() || matches!(letter, '/' | '.' | '-' | '_' | '~')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn mounts() -> Mounts {
        Mounts::new([
            ("/data".into(), "/pods/1/data".into()),
            ("/data/deep/".into(), "/pods/1/deep".into()),
            ("/etc/cache-node".into(), "/pods/1/config".into()),
        ])
    }

    #[test]
    fn mount_paths_are_replaced_where_they_stand_alone() {
        for (text, expected) in [
            ("/data", "/pods/1/data"),
            ("--dir=/data", "--dir=/pods/1/data"),
            (
                "/etc/cache-node/cache-node.conf",
                "/pods/1/config/cache-node.conf",
            ),
            ("/data/deep/x:/data/x", "/pods/1/deep/x:/pods/1/data/x"),
            (
                "cat '/data/x'; ls /data",
                "cat '/pods/1/data/x'; ls /pods/1/data",
            ),
            (
                "/database /my/data /data.old ./data",
                "/database /my/data /data.old ./data",
            ),
        ] {
            assert_eq!(mounts().rewrite(text), expected, "{text}");
        }
        assert_eq!(mounts().real("/data/sub"), Some("/pods/1/data/sub".into()));
        assert_eq!(mounts().real("/"), None);
    }

    proptest! {
        #[test]
        fn text_without_mount_paths_stays_as_it_is(text in "[a-z =:,é/]{0,40}") {
            prop_assume!(!text.contains("/data") && !text.contains("/etc"));
            prop_assert_eq!(mounts().rewrite(&text), text);
        }
    }
}
