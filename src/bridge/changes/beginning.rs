//! Whether the files of a process are those that it began with, which is asked when nginx is reloaded
//! (`python_process … keep=on`).
//!
//! What counts is what `python_reload watch` would see: a file whose content or place has changed since the process began.
//! The system notes that moment itself, and nobody can set it back (`st_ctime`). Besides, no file of a module may have
//! gone, and the virtual environment must have the packages that it had.

use std::collections::{BTreeSet, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::change::milliseconds;
use super::folders::{changed_at, has_code};
use super::names::{self, Kind};
use super::watch::Reload;

/// A process as it began, before it imported anything.
#[derive(Debug)]
pub(crate) struct Beginning {
    when: SystemTime,
    home: Option<PathBuf>,
    packages: BTreeSet<PathBuf>,
}

/// All that has been imported.
#[derive(Debug, Default)]
pub(crate) struct Modules {
    pub(crate) files: Vec<PathBuf>,
    /// The files' folders, and those of packages that have no file.
    pub(crate) folders: Vec<(PathBuf, Kind)>,
}

/// Whether a process is as it began: the answer to a question of the master's.
#[derive(Debug)]
pub(crate) struct Compared {
    pub(crate) question: u64,
    /// An error: what has changed, as a sentence.
    pub(crate) result: Result<(), String>,
}

/// File systems note the time of the last tick of the system's clock.
const TICK: Duration = Duration::from_millis(10);

impl Beginning {
    /// `home`: its virtual environment.
    pub(crate) fn now(home: Option<&Path>) -> Self {
        let now = SystemTime::now();
        let packages = home.map(packages).unwrap_or_default();
        let when = now.checked_sub(TICK).unwrap_or(now);
        Self { when, home: home.map(Path::to_path_buf), packages }
    }

    /// Whether the process has begun before that moment, in milliseconds of the system's time.
    pub(crate) fn is_before(&self, when: u64) -> bool {
        milliseconds(self.when) < when
    }

    /// What has changed since.
    pub(crate) fn first_change(&self, modules: &Modules, reload: &Reload) -> Option<PathBuf> {
        let mut folders = Folders { since: self.when, seen: HashSet::new() };
        let changed = |file: &PathBuf| match place(file) {
            Place::File => None,
            Place::InArchive(archive) => is_new(archive, self.when).then(|| archive.to_path_buf()),
            Place::Gone => Some(file.clone()),
        };
        self.changed_home()
            .or_else(|| folders.named(reload))
            .or_else(|| modules.files.iter().find_map(changed))
            .or_else(|| {
                let mut all = modules.folders.iter();
                all.find_map(|(folder, kind)| folders.changed(folder, *kind, false))
            })
    }

    fn changed_home(&self) -> Option<PathBuf> {
        let home = self.home.as_deref()?;
        let settings = home.join("pyvenv.cfg");
        if self.is_new(&settings) {
            return Some(settings);
        }
        let packages = packages(home);
        if let Some(other) = packages.symmetric_difference(&self.packages).next() {
            return Some(other.clone());
        }
        // In the folder of a package Python may have made one for its bytecode.
        let counts = |path: &PathBuf| is_description(path) || !path.is_dir();
        packages.into_iter().find(|path| counts(path) && self.is_new(path))
    }

    fn is_new(&self, path: &Path) -> bool {
        is_new(path, self.when)
    }
}

/// Looks at each folder once.
struct Folders {
    since: SystemTime,
    seen: HashSet<(PathBuf, Kind)>,
}

impl Folders {
    /// The file, and those of the folders, that `python_reload` names.
    fn named(&mut self, reload: &Reload) -> Option<PathBuf> {
        match reload {
            Reload::Off => None,
            Reload::Touch(touched) => {
                let path = touched.path();
                is_new(path, self.since).then(|| path.to_path_buf())
            }
            Reload::Watch(folders) => {
                folders.iter().find_map(|folder| self.changed(folder, Kind::Named, true))
            }
        }
    }

    /// A file of that folder, or below, that counts and has changed. `all`: folders without code count as well.
    fn changed(&mut self, folder: &Path, kind: Kind, all: bool) -> Option<PathBuf> {
        if !self.seen.insert((folder.to_path_buf(), kind)) {
            return None;
        }
        fs::read_dir(folder).into_iter().flatten().flatten().find_map(|entry| {
            let (name, path) = (entry.file_name(), entry.path());
            if !entry.file_type().ok()?.is_dir() {
                let counts = names::file_counts(kind, name.as_bytes());
                return (counts && is_new(&path, self.since)).then_some(path);
            }
            let counts = names::folder_counts(kind, name.as_bytes()) && (all || has_code(&path));
            if counts { self.changed(&path, kind, all) } else { None }
        })
    }
}

fn is_new(path: &Path, since: SystemTime) -> bool {
    // A link counts, and what it leads to.
    let both = [path.symlink_metadata(), path.metadata()];
    both.into_iter().flatten().any(|it| changed_at(&it) >= since)
}

/// Where a module is.
enum Place<'a> {
    File,
    InArchive(&'a Path),
    Gone,
}

fn place(file: &Path) -> Place<'_> {
    match file.symlink_metadata() {
        Ok(_) => Place::File,
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            let archive = file.ancestors().skip(1).find(|path| path.is_file());
            archive.map_or(Place::Gone, Place::InArchive)
        }
        Err(_) => Place::Gone,
    }
}

/// What is in the folders of a virtual environment's packages.
fn packages(home: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for library in ["lib", "lib64"] {
        for version in fs::read_dir(home.join(library)).into_iter().flatten().flatten() {
            let entries = fs::read_dir(version.path().join("site-packages"));
            let paths = entries.into_iter().flatten().flatten().map(|entry| entry.path());
            found.extend(paths.filter(|path| path.file_name().is_some_and(is_package)));
        }
    }
    found
}

fn is_package(name: &OsStr) -> bool {
    name != OsStr::new("__pycache__") && !name.as_bytes().starts_with(b".")
}

/// Whether that is the folder in which an installer describes a package.
fn is_description(path: &Path) -> bool {
    let described = [OsString::from("dist-info"), OsString::from("egg-info")];
    path.extension().is_some_and(|it| described.iter().any(|known| known == it))
}

#[cfg(test)]
#[cfg(not(feature = "loom"))]
mod tests {
    use std::thread;

    use super::*;

    struct Site {
        root: PathBuf,
        modules: Modules,
    }

    impl Site {
        fn new(name: &str) -> Self {
            let root = std::env::temp_dir()
                .join(format!("pywsgi-beginning-{name}-{}", std::process::id()));
            fs::create_dir_all(root.join("app/parts")).unwrap();
            fs::create_dir_all(root.join("venv/lib/python3/site-packages/six")).unwrap();
            for file in ["app/app.py", "app/page.html", "app/parts/one.py", "venv/pyvenv.cfg"] {
                fs::write(root.join(file), "").unwrap();
            }
            let modules = Modules {
                files: vec![root.join("app/app.py")],
                folders: vec![(root.join("app"), Kind::Code)],
            };
            Self { root, modules }
        }

        /// After what has been written so far.
        fn begin(&self) -> Beginning {
            thread::sleep(3 * TICK);
            Beginning::now(Some(&self.root.join("venv")))
        }

        fn changed(&self, beginning: &Beginning) -> Option<String> {
            let found = beginning.first_change(&self.modules, &Reload::Off)?;
            Some(found.strip_prefix(&self.root).unwrap().to_str().unwrap().to_owned())
        }
    }

    impl Drop for Site {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.root).unwrap();
        }
    }

    #[test]
    fn code_that_has_changed_or_gone() {
        let site = Site::new("code");
        let beginning = site.begin();
        assert_eq!(site.changed(&beginning), None);
        fs::write(site.root.join("app/page.html"), "new").unwrap();
        assert_eq!(site.changed(&beginning), None, "it is no code");
        fs::write(site.root.join("app/parts/one.py"), "new").unwrap();
        assert_eq!(site.changed(&beginning).unwrap(), "app/parts/one.py");
        let beginning = site.begin();
        fs::remove_file(site.root.join("app/app.py")).unwrap();
        assert_eq!(site.changed(&beginning).unwrap(), "app/app.py");
    }

    #[test]
    fn a_time_that_is_set_back_changes_nothing() {
        let site = Site::new("time");
        let beginning = site.begin();
        let file = fs::File::options().write(true).open(site.root.join("app/app.py")).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!(site.changed(&beginning).unwrap(), "app/app.py");
    }

    #[test]
    fn what_is_named_counts_whatever_it_is() {
        let site = Site::new("named");
        let beginning = site.begin();
        fs::write(site.root.join("app/page.html"), "new").unwrap();
        let named = Reload::Watch(vec![site.root.clone()]);
        let found = beginning.first_change(&site.modules, &named).unwrap();
        assert!(found.ends_with("app/page.html"));
    }

    #[test]
    fn a_virtual_environment() {
        let site = Site::new("venv");
        let packages = site.root.join("venv/lib/python3/site-packages");
        let beginning = site.begin();
        fs::create_dir(packages.join("__pycache__")).unwrap();
        fs::create_dir(packages.join("six/__pycache__")).unwrap();
        assert_eq!(site.changed(&beginning), None, "bytecode does not count");
        fs::create_dir(packages.join("six-2.dist-info")).unwrap();
        assert!(site.changed(&beginning).unwrap().ends_with("six-2.dist-info"));
        let beginning = site.begin();
        assert_eq!(site.changed(&beginning), None);
        fs::remove_dir(packages.join("six-2.dist-info")).unwrap();
        fs::create_dir(packages.join("six-2.dist-info")).unwrap();
        assert!(site.changed(&beginning).unwrap().ends_with("six-2.dist-info"), "again");
        let beginning = site.begin();
        fs::write(site.root.join("venv/pyvenv.cfg"), "new").unwrap();
        assert_eq!(site.changed(&beginning).unwrap(), "venv/pyvenv.cfg");
    }

    #[test]
    fn a_module_in_an_archive() {
        let site = Site::new("zip");
        fs::write(site.root.join("all.zip"), "").unwrap();
        let inside = site.root.join("all.zip/one.py");
        let beginning = site.begin();
        let folders = vec![(site.root.join("all.zip"), Kind::Installed)];
        let modules = Modules { files: vec![inside], folders };
        assert_eq!(beginning.first_change(&modules, &Reload::Off), None);
        fs::write(site.root.join("all.zip"), "new").unwrap();
        assert_eq!(beginning.first_change(&modules, &Reload::Off), Some(site.root.join("all.zip")));
    }
}
