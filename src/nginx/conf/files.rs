//! The files that a configuration needs, and whether the workers' user can use them.

use std::path::{Path, PathBuf};

use super::checks::access::{Need, User};
use super::checks::needed::{self, Needed};
use super::error::ConfError;
use super::main::{MainConf, Module};

impl MainConf {
    /// Checks that the workers' user can use all files that the directives name.
    pub(in crate::nginx) fn check_files(&self, user: Option<User>) -> Result<(), ConfError> {
        let mut all = Vec::new();
        for named in &self.needed {
            let Needed { directive, path, .. } = named;
            all.push(named.clone());
            let more = match directive.as_str() {
                "python_home" if path.is_dir() => self.needed_of_home(path),
                "python_path" if needed::is_site(path) => needed::installed(path),
                _ => Vec::new(),
            };
            all.extend(more.into_iter().map(|(path, need)| Needed { path, need, ..named.clone() }));
        }
        for group in self.groups.all() {
            let home = group.home.iter().flat_map(|home| self.needed_of_home(home));
            let sites = group.path.iter().filter(|path| needed::is_site(path));
            let more = home.chain(sites.flat_map(|site| needed::installed(site)));
            all.extend(more.map(|(path, need)| group.needed("home", path, need)));
        }
        for Module { name, group, directive, place } in &self.modules {
            let group = group.and_then(|at| self.groups.all().get(at));
            let path = group.map_or(&self.path, |group| group.path_or(&self.path));
            let home = group.and_then(|group| group.home.as_ref()).or(self.home.as_ref());
            let mut folders = path.clone();
            folders.extend(home.map(|home| needed::site_packages(home)));
            let parts = needed::of_module(name, &folders).into_iter();
            all.extend(parts.map(|(path, need)| Needed {
                directive: directive.clone(),
                path,
                need,
                place: place.clone(),
            }));
        }
        needed::check(user, &all)
    }

    fn needed_of_home(&self, home: &Path) -> Vec<(PathBuf, Need)> {
        let mut all = Vec::new();
        let config = home.join("pyvenv.cfg");
        if config.exists() {
            all.push((config, Need::Read));
            // With `python_executable`, that of the environment is not run.
            if self.executable.is_none() {
                all.push((home.join("bin/python3"), Need::Execute));
            }
        }
        let site = needed::site_packages(home);
        if site.exists() {
            all.extend(needed::installed(&site));
        }
        all
    }
}
