//! What a worker process starts with, as the directives of `http` and of its `python_process` say it.

use std::path::PathBuf;
use std::time::Duration;

use nginx_sys::ngx_msec_t;

use super::groups::Group;
use super::links::Links;
use super::main::{DEFAULT_POOL, MainConf};
use crate::bridge::changes::watch::Reload;
use crate::bridge::config::{AppConfig, PoolConfig, Purpose, PythonConfig, Role, WorkerConfig};
use crate::bridge::log::Level;
use crate::nginx::signals;

impl MainConf {
    /// That of a worker that starts now: links lead where they do at this moment (`python_resolve_symlinks`).
    pub(in crate::nginx) fn worker_config(&self, role: Role) -> WorkerConfig {
        let group = self.groups.of(role);
        let settings = self.settings(role);
        let (finalize, finalize_timeout) = settings.finalize.unwrap_or((true, FINALIZE_TIMEOUT));
        let links = match self.resolve_symlinks {
            Some(false) => Links::Kept,
            Some(true) | None => Links::Resolved,
        };
        let own_home = group.and_then(|group| group.home.as_ref());
        let home = own_home.or(self.home.as_ref()).map(|home| links.folder(home));
        // That of `http` starts another Python than a group with a home of its own.
        let executable = self.executable.as_ref().filter(|_| own_home.is_none());
        let executable = group.and_then(|group| group.executable.as_ref()).or(executable);
        let executable = executable.map(|file| links.file(file)).or_else(|| {
            let of_home = home.as_ref().map(|home| home.join("bin/python3"));
            of_home.or_else(|| option_env!("PYWSGI_PYTHON_EXECUTABLE").map(PathBuf::from))
        });
        let deadlock_timeout = settings.deadlock_timeout.unwrap_or(DEADLOCK_TIMEOUT);
        let resolved =
            |app: &AppConfig| AppConfig { resolved: links.target(&app.target), ..app.clone() };
        let stall_warning = self.stall_warning.unwrap_or(STALL_WARNING);
        let is_own = |app: &&AppConfig| app.group == role.group();
        let looping = self.apps.iter().filter(is_own).any(|app| app.event_loop().is_some());
        let path = group.map_or(&self.path, |group| group.path_or(&self.path));
        let directory = group.and_then(|group| group.directory.as_ref());
        let umask = group.and_then(|group| group.confinement.umask);
        let pool = |pool: &PoolConfig| match group {
            Some(group) if pool.name == DEFAULT_POOL => group.pool(pool),
            _ => pool.clone(),
        };
        let default = self.pools.iter().find(|pool| pool.name == DEFAULT_POOL);
        WorkerConfig {
            purpose: Purpose::Serve,
            role,
            python: PythonConfig {
                home,
                path: path.iter().map(|it| links.folder(it)).collect(),
                executable,
                directory: directory.or(self.directory.as_ref()).cloned(),
                imports: self.imports(role).iter().map(|(name, _)| name.clone()).collect(),
                interpreter: settings.interpreter,
                umask: umask.unwrap_or(self.umask),
                signals: signals::of_applications(),
                stdout_level: self.stdout_level(),
                stderr_level: self.stderr_level(),
                finalize,
                finalize_timeout,
            },
            apps: self.apps.iter().map(resolved).collect(),
            groups: self.groups.configs(default),
            pools: self.pools.iter().map(pool).collect(),
            loops: if looping { self.loops.clone() } else { Vec::new() },
            stall_warning: (stall_warning > 0).then(|| Duration::from_millis(stall_warning as u64)),
            deadlock_timeout: (deadlock_timeout > 0)
                .then(|| Duration::from_millis(deadlock_timeout as u64)),
            max_stuck_threads: settings.max_stuck_threads.unwrap_or(MAX_STUCK_THREADS),
            output: self.outputs.config(),
            measures_cpu: self.measures_cpu,
            reload: self.reload.clone().unwrap_or(Reload::Off),
        }
    }

    /// Sets the environment of this process, which is a worker of that role.
    ///
    /// # Safety
    ///
    /// Nothing else reads or writes the environment meanwhile.
    pub(in crate::nginx) unsafe fn set_environment(&self, role: Role) {
        let own = self.groups.of(role).into_iter().flat_map(Group::environment);
        // SAFETY: as the caller says.
        unsafe { self.environment.set(own) };
    }

    /// Where what applications print is left out, and what to do about it.
    pub(super) fn hidden_output(&self) -> impl Iterator<Item = String> {
        self.outputs.hidden(self.stdout_level(), self.stderr_level())
    }

    fn stdout_level(&self) -> Level {
        self.stdout_level.unwrap_or(Level::Info)
    }

    fn stderr_level(&self) -> Level {
        self.stderr_level.unwrap_or(Level::Error)
    }
}

const MAX_STUCK_THREADS: usize = 2;
/// Milliseconds.
const STALL_WARNING: ngx_msec_t = 1000;
const DEADLOCK_TIMEOUT: ngx_msec_t = 300_000;
const FINALIZE_TIMEOUT: Duration = Duration::from_secs(2);
