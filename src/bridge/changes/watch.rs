//! Waits for changes.

use std::io;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use super::change::Change;
use super::folders::{Folders, changed_at};
use super::imported::{self, Imported};
use super::names::Kind;
use super::quiet::Untold;
use super::touched::Touched;

/// `python_reload`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reload {
    Off,
    Touch(Touched),
    /// The modules that are imported, and the files of these folders.
    Watch(Vec<PathBuf>),
}

/// How often the file is looked at, and how often Python is asked for what is imported.
const TOUCH_LOOK: Duration = Duration::from_millis(500);
const IMPORTS_LOOK: Duration = Duration::from_secs(1);

/// The same until the applications have started.
const EARLY_LOOK: Duration = Duration::from_millis(100);

/// What is waited for.
#[derive(Debug)]
pub(crate) enum Changes {
    OfFile(Touched),
    OfFolders(Box<Watch>),
}

#[derive(Debug)]
pub(crate) struct Watch {
    folders: Folders,
    untold: Option<Untold>,
    /// Files of folders that are watched from now on may have been imported before, if they have changed since then.
    since: SystemTime,
    asked: Option<Asked>,
}

/// When it was last asked what is imported.
#[derive(Clone, Copy, Debug)]
struct Asked {
    at: Instant,
    when: SystemTime,
    /// The applications had started.
    started: bool,
}

impl Changes {
    /// `None` if nothing is waited for. `least`: no descriptor has a lower number.
    pub(crate) fn new(reload: &Reload, least: RawFd) -> io::Result<Option<Self>> {
        let named = match reload {
            Reload::Off => return Ok(None),
            Reload::Touch(touched) => return Ok(Some(Self::OfFile(touched.clone()))),
            Reload::Watch(named) => named,
        };
        let folders = Folders::new(least)?;
        let mut watch = Watch { folders, untold: None, since: SystemTime::now(), asked: None };
        named.iter().for_each(|folder| watch.add(folder, Kind::Named));
        Ok(Some(Self::OfFolders(Box::new(watch))))
    }

    /// Waits for a while for a change. `ask` asks what is imported, and says whether the applications have started.
    pub(crate) fn wait(
        &mut self,
        imported: &Imported,
        ask: impl FnOnce() -> bool,
    ) -> Option<Change> {
        match self {
            Self::OfFile(touched) => {
                thread::sleep(TOUCH_LOOK);
                touched.look()
            }
            Self::OfFolders(watch) => {
                if watch.asked.is_none_or(|asked| asked.at.elapsed() >= watch.look()) {
                    watch.look_at(imported.take());
                    let (at, when) = (Instant::now(), SystemTime::now());
                    watch.asked = Some(Asked { at, when, started: ask() });
                }
                watch.wait()
            }
        }
    }

    /// What is wrong, once.
    pub(crate) fn take_fault(&mut self) -> Option<String> {
        match self {
            Self::OfFile(_) => None,
            Self::OfFolders(watch) => watch.folders.take_fault(),
        }
    }
}

impl Watch {
    fn look_at(&mut self, imported: Option<imported::Folders>) {
        for (folder, kind) in imported.iter().flatten() {
            self.add(folder, *kind);
        }
        if let Some(asked) = self.asked.filter(|asked| asked.started && imported.is_some()) {
            // What is told next is imported after that.
            self.since = asked.when;
        }
        if let Some(path) = self.folders.returned() {
            self.note(path, SystemTime::now());
        }
    }

    /// How long it waits until it asks what is imported.
    fn look(&self) -> Duration {
        if self.asked.is_some_and(|asked| asked.started) { IMPORTS_LOOK } else { EARLY_LOOK }
    }

    fn add(&mut self, folder: &Path, kind: Kind) {
        if let Some(path) = self.folders.add(folder, kind, self.since) {
            let when = path.metadata().map_or_else(|_| SystemTime::now(), |it| changed_at(&it));
            self.note(path, when);
        }
    }

    fn note(&mut self, path: PathBuf, when: SystemTime) {
        Untold::add(&mut self.untold, path, Instant::now(), when);
    }

    fn wait(&mut self) -> Option<Change> {
        let left = self.untold.as_ref().map(|untold| untold.left(Instant::now()));
        self.folders.wait(left.unwrap_or(self.look()));
        for (path, when) in self.folders.changed() {
            self.note(path, when);
        }
        let untold = self.untold.take_if(|untold| untold.left(Instant::now()).is_zero());
        untold.map(Untold::tell)
    }
}
