//! What the worker's process has in `os.environ`: `python_env`, `python_env_file`, and what is kept from nginx's start.

use std::collections::HashMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use super::checks::access::User;
use super::error::Place;

/// The variables that `os.environ` keeps from nginx's start (`HOME`: if the workers' user is who starts it).
const KEPT: [&str; 3] = ["PATH", "LANG", "HOME"];

/// A variable of `python_env` or `python_env_file`.
#[derive(Debug)]
pub(in crate::nginx) struct Variable {
    pub(in crate::nginx) name: OsString,
    /// `None`: as nginx was started with.
    pub(in crate::nginx) value: Option<OsString>,
    pub(in crate::nginx) place: Place,
}

#[derive(Debug)]
pub(in crate::nginx) struct Environment {
    named: Vec<Variable>,
    /// Those of `python_env_file`, which `named` overrides.
    of_files: Vec<Variable>,
    /// The environment with which nginx was started; its workers no longer have it.
    started_with: HashMap<OsString, OsString>,
    /// `HOME` by default, if the workers run as another user than who starts nginx.
    home_of_user: Option<Option<OsString>>,
}

impl Environment {
    pub(super) fn new() -> Self {
        let started_with = std::env::vars_os().collect();
        Self { named: Vec::new(), of_files: Vec::new(), started_with, home_of_user: None }
    }

    /// One environment serves all applications: a variable with a second value is an error, which names the
    /// place of the first.
    pub(in crate::nginx) fn add(&mut self, variable: Variable) -> Result<(), Place> {
        add(&mut self.named, variable)
    }

    /// The same for a variable of a file.
    pub(in crate::nginx) fn add_of_file(&mut self, variable: Variable) -> Result<(), Place> {
        add(&mut self.of_files, variable)
    }

    /// The user that the workers will run as; `None`: who starts nginx.
    pub(super) fn set_user(&mut self, user: Option<User>) {
        // SAFETY: a plain system call.
        let other = user.filter(|user| user.uid != unsafe { libc::geteuid() });
        self.home_of_user = other.map(User::home);
    }

    /// The same as text.
    pub(super) fn describe<'a>(&'a self, own: impl Iterator<Item = &'a Variable>) -> String {
        format!("{:?}", self.variables(own))
    }

    /// All variables and their values; `own` are those of a `python_process`, which override the others.
    fn variables<'a>(
        &'a self,
        own: impl Iterator<Item = &'a Variable>,
    ) -> Vec<(OsString, OsString)> {
        let started_with = |name: &OsString| self.started_with.get(name).cloned();
        let by_default = |name: &OsString| match &self.home_of_user {
            Some(home) if name == "HOME" => home.clone(),
            _ => started_with(name),
        };
        let kept = KEPT.map(OsString::from).map(|name| (by_default(&name), name));
        let named = self.of_files.iter().chain(&self.named).chain(own).map(
            |Variable { name, value, .. }| {
                (value.clone().or_else(|| started_with(name)), name.clone())
            },
        );
        let mut environment: Vec<(OsString, OsString)> = Vec::new();
        for (value, name) in kept.into_iter().chain(named) {
            if let Some(value) = value {
                environment.retain(|(known, _)| *known != name);
                environment.push((name, value));
            }
        }
        environment
    }

    /// Sets all variables in this process: nginx cleared the environment of its workers, except TZ and the variables that
    /// `env` names.
    ///
    /// # Safety
    ///
    /// Nothing else reads or writes the environment meanwhile.
    pub(in crate::nginx) unsafe fn set<'a>(&'a self, own: impl Iterator<Item = &'a Variable>) {
        for (name, value) in self.variables(own) {
            // SAFETY: as the caller says.
            unsafe { std::env::set_var(name, value) };
        }
    }

    /// The variables that come from nginx's start. A binary upgrade hands on only what nginx's own `env`
    /// names (ngx_exec_new_binary), so these must be among them.
    pub(super) fn inherited<'a>(
        &'a self,
        of_groups: impl Iterator<Item = &'a Variable>,
    ) -> Vec<Vec<u8>> {
        let kept = KEPT.iter().map(|name| name.as_bytes().to_vec());
        let named = self.named.iter().chain(of_groups).filter(|variable| variable.value.is_none());
        kept.chain(named.map(|variable| variable.name.as_bytes().to_vec())).collect()
    }
}

/// Adds a variable; an error is the place of another value of it.
pub(super) fn add(all: &mut Vec<Variable>, variable: Variable) -> Result<(), Place> {
    match all.iter().find(|known| known.name == variable.name) {
        Some(known) if known.value != variable.value => Err(known.place.clone()),
        Some(_) => Ok(()),
        None => {
            all.push(variable);
            Ok(())
        }
    }
}
