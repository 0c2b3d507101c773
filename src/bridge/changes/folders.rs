//! Folders whose changes the kernel reports (inotify(7)).
//!
//! A watch is a folder's, and not a file's: an editor that writes a new file and renames it would take a file's watch
//! away with the old one.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, SystemTime};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;

use super::names::{self, Kind};

#[derive(Debug)]
pub(super) struct Folders {
    inotify: OwnedFd,
    by_watch: HashMap<i32, PathBuf>,
    known: HashMap<PathBuf, (i32, Kind)>,
    /// Those that were there, and are not any more.
    gone: BTreeMap<PathBuf, Kind>,
    /// What is wrong, until it has been said.
    fault: Option<String>,
    /// The kernel has refused a watch for want of room, which is said once.
    is_full: bool,
    /// An application has closed its descriptor (`os.closerange`), which is said once.
    is_lost: bool,
}

/// Which of the folders below one are watched as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Below {
    /// Those that are named, and packages.
    Known,
    /// All: they are new.
    All,
}

impl Folders {
    /// `least`: its descriptor has no lower number.
    pub(super) fn new(least: RawFd) -> io::Result<Self> {
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC);
        let inotify = inotify.map_err(|error| match error {
            Errno::MFILE => io::Error::other(format!(
                "this user has no more inotify instances{}; raise this limit (sysctl)",
                limit("max_user_instances")
            )),
            error => error.into(),
        })?;
        Ok(Self {
            inotify: rustix::io::fcntl_dupfd_cloexec(inotify, least)?,
            by_watch: HashMap::new(),
            known: HashMap::new(),
            gone: BTreeMap::new(),
            fault: None,
            is_full: false,
            is_lost: false,
        })
    }

    /// Watches that folder, and those below it that its kind asks for. Gives a file in them that counts and has changed
    /// `since` then.
    pub(super) fn add(&mut self, path: &Path, kind: Kind, since: SystemTime) -> Option<PathBuf> {
        self.add_all(path, kind, Below::Known, since)
    }

    fn add_all(
        &mut self,
        path: &Path,
        kind: Kind,
        below: Below,
        since: SystemTime,
    ) -> Option<PathBuf> {
        if self.known.get(path).is_some_and(|(_, known)| *known >= kind) {
            return None;
        }
        if let Err(error) = self.watch(path, kind) {
            self.refused(path, kind, error);
            return None;
        }
        let mut changed = None;
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            let (name, file) = (entry.file_name(), entry.path());
            let Ok(of) = entry.file_type() else { continue };
            let found = if !of.is_dir() {
                let is_new = |file: &Path| file.metadata().is_ok_and(|it| changed_at(&it) >= since);
                (names::file_counts(kind, name.as_bytes()) && is_new(&file)).then_some(file)
            } else if names::folder_counts(kind, name.as_bytes())
                && (kind == Kind::Named || below == Below::All || has_code(&file))
            {
                self.add_all(&file, kind, below, since)
            } else {
                None
            };
            changed = changed.or(found);
        }
        changed
    }

    fn watch(&mut self, path: &Path, kind: Kind) -> Result<(), Errno> {
        let flags = WatchFlags::CLOSE_WRITE
            | WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVED_TO
            | WatchFlags::ONLYDIR
            | WatchFlags::EXCL_UNLINK;
        let watch = inotify::add_watch(&self.inotify, path, flags)?;
        self.gone.remove(path);
        self.known.insert(path.to_path_buf(), (watch, kind));
        self.by_watch.insert(watch, path.to_path_buf());
        Ok(())
    }

    fn refused(&mut self, path: &Path, kind: Kind, error: Errno) {
        match error {
            Errno::NOSPC if self.is_full => {}
            Errno::NOSPC => {
                self.is_full = true;
                self.fault = Some(format!(
                    "\"{}\" and what else is not watched yet cannot be: this user has no more inotify watches{}; raise \
                     this limit (sysctl), or name smaller folders",
                    path.display(),
                    limit("max_user_watches"),
                ));
            }
            Errno::NOENT => {
                self.gone.insert(path.to_path_buf(), kind);
            }
            // A folder that a module has been imported from may not be readable any more, or a file (a zip).
            _ => {}
        }
    }

    /// Waits until something has changed, for at most that time.
    pub(super) fn wait(&mut self, limit: Duration) {
        let time = Timespec {
            tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(limit.subsec_nanos()),
        };
        let mut poll_fds = [PollFd::new(&self.inotify, PollFlags::IN)];
        // A signal, and whatever else fails: the next call waits again.
        let _interrupted = poll(&mut poll_fds, Some(&time));
        let is_lost = poll_fds.iter().any(|it| it.revents().contains(PollFlags::NVAL));
        if is_lost {
            if !self.is_lost {
                self.fault = Some("an application has closed the descriptor of its watches".into());
            }
            self.is_lost = true;
            thread::sleep(limit);
        }
    }

    /// The files that count and have changed, or whose folder has gone, and when that was.
    pub(super) fn changed(&mut self) -> Vec<(PathBuf, SystemTime)> {
        let now = SystemTime::now();
        let mut changed = Vec::new();
        for Report { watch, what, name } in self.reports() {
            if what.contains(ReadFlags::QUEUE_OVERFLOW) {
                changed.extend(self.known.keys().next().cloned().map(|path| (path, now)));
            }
            let Some(folder) = self.by_watch.get(&watch).cloned() else { continue };
            let Some((_, kind)) = self.known.get(&folder).copied() else { continue };
            if what.contains(ReadFlags::IGNORED) {
                self.by_watch.remove(&watch);
                self.known.remove(&folder);
                self.gone.insert(folder, kind);
                continue;
            }
            let path = folder.join(OsStr::from_bytes(&name));
            if !what.contains(ReadFlags::ISDIR) {
                if names::file_counts(kind, &name) {
                    // All workers have the same time for it, however late they read of it. A file that has been moved
                    // here keeps its own.
                    let written =
                        what.contains(ReadFlags::CLOSE_WRITE).then(|| path.metadata().ok());
                    let when = written.flatten().map_or(now, |it| changed_at(&it));
                    changed.push((path, when));
                }
            } else if what.intersects(ReadFlags::CREATE | ReadFlags::MOVED_TO) {
                if names::folder_counts(kind, &name) {
                    let found = self.add_all(&path, kind, Below::All, SystemTime::UNIX_EPOCH);
                    changed.extend(found.map(|path| (path, now)));
                }
            } else if let Some((watch, _)) = self.known.get(&path) {
                // It may have been moved, and its watch with it. The kernel says that this has been removed.
                let _gone_already = inotify::remove_watch(&self.inotify, *watch);
                changed.push((path, now));
            }
        }
        changed
    }

    fn reports(&self) -> Vec<Report> {
        let mut buffer = [const { std::mem::MaybeUninit::uninit() }; 16 * 1024];
        let mut reader = Reader::new(&self.inotify, &mut buffer);
        let mut reports = Vec::new();
        // An error: there is no more for now.
        while let Ok(event) = reader.next() {
            let name = event.file_name().map(|name| name.to_bytes().to_vec()).unwrap_or_default();
            reports.push(Report { watch: event.wd(), what: event.events(), name });
        }
        reports
    }

    /// Looks whether folders that have gone are there again (a checkout, a deployment). Gives a file of one.
    pub(super) fn returned(&mut self) -> Option<PathBuf> {
        let mut changed = None;
        for (path, kind) in self.gone.clone() {
            if path.is_dir() {
                changed = changed.or(self.add_all(&path, kind, Below::All, SystemTime::UNIX_EPOCH));
            }
        }
        changed
    }

    pub(super) fn take_fault(&mut self) -> Option<String> {
        self.fault.take()
    }
}

/// What the kernel has reported.
struct Report {
    watch: i32,
    what: ReadFlags,
    name: Vec<u8>,
}

/// When the file's content or its place was last changed, which nobody can set.
pub(super) fn changed_at(file: &Metadata) -> SystemTime {
    let since_epoch = Duration::new(
        u64::try_from(file.ctime()).unwrap_or(0),
        u32::try_from(file.ctime_nsec()).unwrap_or(0),
    );
    SystemTime::UNIX_EPOCH + since_epoch
}

pub(super) fn has_code(folder: &Path) -> bool {
    let mut entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.any(|entry| names::is_code(entry.file_name().as_bytes()))
}

/// The name of a limit of inotify(7), and its value.
fn limit(name: &str) -> String {
    let value = fs::read_to_string(format!("/proc/sys/fs/inotify/{name}")).unwrap_or_default();
    format!(" (fs.inotify.{name} is {})", value.trim())
}

#[cfg(test)]
#[cfg(not(feature = "loom"))]
mod tests;
