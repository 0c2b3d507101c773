//! Symbolic links in the paths that a worker imports from (`python_resolve_symlinks`).
//!
//! Many deploys put each release into a folder of its own, and move a link such as `current` to the newest. What a
//! worker imports by way of that link after it has moved is of another release than the rest of the worker. So a
//! worker replaces these paths by those that they lead to, once, as it starts.

use std::path::{Path, PathBuf};

use super::checks::target::Target;

/// What becomes of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Links {
    Kept,
    Resolved,
}

impl Links {
    /// A folder's path. If it cannot be resolved, Python's own error for it says more.
    pub(super) fn folder(self, path: &Path) -> PathBuf {
        match self {
            Self::Kept => path.to_path_buf(),
            Self::Resolved => path.canonicalize().unwrap_or_else(|_| path.to_path_buf()),
        }
    }

    /// A file's path. Only its folder is resolved: the modules of an application's file are beside it, even if it is
    /// itself a link, and `bin/python3` is a link that leads out of its virtual environment.
    pub(super) fn file(self, path: &Path) -> PathBuf {
        match (path.parent(), path.file_name()) {
            (Some(folder), Some(name)) => self.folder(folder).join(name),
            _ => path.to_path_buf(),
        }
    }

    /// The target of `…_app`: a file's path is resolved.
    pub(super) fn target(self, target: &str) -> String {
        let Target { place, callable } = Target::split(target);
        if !place.starts_with('/') {
            return target.to_owned();
        }
        // What is not UTF-8 stays as it is.
        let Ok(file) = self.file(Path::new(place)).into_os_string().into_string() else {
            return target.to_owned();
        };
        match callable {
            Some(callable) => format!("{file}:{callable}"),
            None => file,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_path_leads_to_the_release() {
        let root = std::env::temp_dir().join(format!("pywsgi-links-{}", std::process::id()));
        std::fs::create_dir_all(root.join("releases/42/bin")).unwrap();
        let root = root.canonicalize().unwrap();
        let release = root.join("releases/42");
        std::fs::write(release.join("wsgi.py"), "").unwrap();
        symlink("wsgi.py", release.join("other.py")).unwrap();
        symlink("/usr/bin/env", release.join("bin/python3")).unwrap();
        symlink("releases/42", root.join("current")).unwrap();
        let current = root.join("current");

        assert_eq!(Links::Resolved.folder(&current), release);
        assert_eq!(Links::Kept.folder(&current), current);
        let missing = current.join("not-there");
        assert_eq!(Links::Resolved.folder(&missing), missing);

        for name in ["wsgi.py", "other.py", "bin/python3", "not-there.py"] {
            assert_eq!(Links::Resolved.file(&current.join(name)), release.join(name));
            assert_eq!(Links::Kept.file(&current.join(name)), current.join(name));
        }

        let (current, release) = (current.display(), release.display());
        for (end, target) in [
            ("", "wsgi.py"),
            (":app", "wsgi.py"),
            (":create('a/b:c')", "wsgi.py"),
            (":app", "not-there.py"),
        ] {
            let given = format!("{current}/{target}{end}");
            assert_eq!(Links::Resolved.target(&given), format!("{release}/{target}{end}"));
            assert_eq!(Links::Kept.target(&given), given);
        }
        for module in ["shop.wsgi", "shop.wsgi:create('/srv/current')"] {
            assert_eq!(Links::Resolved.target(module), module);
        }
        std::fs::remove_dir_all(&root).unwrap();
    }
}
