//! The files that a configuration needs, and whether the workers' user can use them.

use std::path::{Path, PathBuf};

use super::checks::access::{Need, User};
use super::checks::needed::{self, Needed};
use super::error::ConfError;
use super::groups::Group;
use super::main::{MainConf, Module};

impl MainConf {
    /// Checks that the workers' user can use all files that the directives name.
    pub(in crate::nginx) fn check_files(&self, user: Option<User>) -> Result<(), ConfError> {
        let mut all = Vec::new();
        for named in &self.needed {
            let Needed { directive, path, .. } = named;
            all.push(named.clone());
            let more = match directive.as_str() {
                "python_home" if path.is_dir() => needed_of_home(path, self.executable.is_some()),
                "python_path" if needed::is_site(path) => needed::installed(path),
                _ => Vec::new(),
            };
            all.extend(more.into_iter().map(|(path, need)| Needed { path, need, ..named.clone() }));
        }
        for group in self.groups.all() {
            let of_home = |home: &PathBuf| needed_of_home(home, group.executable.is_some());
            let home = group.home.iter().flat_map(of_home);
            all.extend(home.map(|(path, need)| group.needed("home", path, need)));
            let sites = group.path.iter().filter(|path| needed::is_site(path));
            let installed = sites.flat_map(|site| needed::installed(site));
            all.extend(installed.map(|(path, need)| group.needed("path", path, need)));
            for (name, _) in group.imports.iter().flatten() {
                let parts = self.of_module(name, Some(group)).into_iter();
                all.extend(parts.map(|(path, need)| group.needed("import", path, need)));
            }
        }
        for Module { name, group, directive, place } in &self.modules {
            let group = group.and_then(|at| self.groups.all().get(at));
            let parts = self.of_module(name, group).into_iter();
            all.extend(parts.map(|(path, need)| Needed {
                directive: directive.clone(),
                path,
                need,
                place: place.clone(),
            }));
        }
        needed::check(user, &all)
    }

    /// The folders and files of a module's packages, where a process of that group, or a worker, finds them.
    fn of_module(&self, name: &str, group: Option<&Group>) -> Vec<(PathBuf, Need)> {
        let path = group.map_or(&self.path, |group| group.path_or(&self.path));
        let home = group.and_then(|group| group.home.as_ref()).or(self.home.as_ref());
        let mut folders = path.clone();
        folders.extend(home.map(|home| needed::site_packages(home)));
        needed::of_module(name, &folders)
    }
}

/// What of a virtual environment or prefix is needed. With an executable of another place, its own is not run.
fn needed_of_home(home: &Path, has_executable: bool) -> Vec<(PathBuf, Need)> {
    let mut all = Vec::new();
    let config = home.join("pyvenv.cfg");
    if config.exists() {
        all.push((config, Need::Read));
        if !has_executable {
            all.push((home.join("bin/python3"), Need::Execute));
        }
    }
    let site = needed::site_packages(home);
    if site.exists() {
        all.extend(needed::installed(&site));
    }
    all
}
