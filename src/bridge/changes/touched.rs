//! `python_reload touch FILE`: a file, or a link, that says by its own change that something has changed.
//!
//! It is looked at now and then: a report of the kernel's would not come from another machine's file system, nor after
//! one of the folders above it has been moved.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::change::Change;
use super::folders::changed_at;

/// The file as it was when it was last looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Touched {
    path: PathBuf,
    seen: Option<State>,
    looked: SystemTime,
}

/// What tells a file from another one, or from itself before a write: of the link, and of what it leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    link: Identity,
    file: Option<Identity>,
}

/// Device and inode, and the time of the last write. Not that of the last change of state: permissions and hard links do
/// not count.
type Identity = (u64, u64, i64, i64);

impl Touched {
    /// From now on.
    pub(crate) fn new(path: PathBuf) -> Self {
        let looked = SystemTime::now();
        let seen = State::of(&path);
        Self { path, seen, looked }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Says whether it has changed since it was last looked at, or appeared. One that disappears has not.
    pub(super) fn look(&mut self) -> Option<Change> {
        let before = std::mem::replace(&mut self.looked, SystemTime::now());
        let now = State::of(&self.path)?;
        let seen = self.seen.replace(now);
        (seen != Some(now)).then(|| Change {
            path: self.path.clone(),
            more: 0,
            // By the clock of the file's system, which may be behind; but not before it was last looked at.
            when: changed_at_last(&self.path).max(before),
        })
    }
}

impl State {
    fn of(path: &Path) -> Option<Self> {
        let link = path.symlink_metadata().ok()?;
        Some(Self { link: identity(&link), file: path.metadata().ok().as_ref().map(identity) })
    }
}

fn identity(of: &Metadata) -> Identity {
    (of.dev(), of.ino(), of.mtime(), of.mtime_nsec())
}

/// When the link, or what it leads to, has changed last.
fn changed_at_last(path: &Path) -> SystemTime {
    let both = [path.symlink_metadata(), path.metadata()].into_iter().flatten();
    both.map(|it| changed_at(&it)).max().unwrap_or_else(SystemTime::now)
}

#[cfg(test)]
#[cfg(not(feature = "loom"))]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_file_and_a_link_to_a_release() {
        let root = std::env::temp_dir().join(format!("pywsgi-touched-{}", std::process::id()));
        for release in ["releases/1", "releases/2"] {
            fs::create_dir_all(root.join(release)).unwrap();
        }
        let file = root.join("reload");
        let mut touched = Touched::new(file.clone());
        assert_eq!(touched.look(), None, "it is not there");
        fs::write(&file, "").unwrap();
        let change = touched.look().unwrap();
        assert_eq!((&change.path, change.more), (&file, 0));
        assert_eq!(touched.look(), None);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(touched.look(), None, "its permissions do not count");
        let handle = fs::File::open(&file).unwrap();
        handle.set_modified(SystemTime::now() + Duration::from_secs(5)).unwrap();
        assert!(touched.look().is_some());
        fs::remove_file(&file).unwrap();
        assert_eq!(touched.look(), None);
        fs::write(&file, "").unwrap();
        assert!(touched.look().is_some(), "it is there again");

        let link = root.join("current");
        symlink("releases/1", &link).unwrap();
        let mut touched = Touched::new(link.clone());
        assert_eq!(touched.look(), None);
        symlink("releases/2", root.join("next")).unwrap();
        fs::rename(root.join("next"), &link).unwrap();
        assert!(touched.look().is_some());
        assert_eq!(touched.look(), None);
        fs::remove_dir_all(&root).unwrap();
    }
}
