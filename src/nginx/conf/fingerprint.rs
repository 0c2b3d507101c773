//! All that the processes of a `python_process` have of a configuration, as text: those of one configuration may go on
//! under another one that says the same (`keep=on`).

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use nginx_sys::{ngx_cycle_t, ngx_log_t, ngx_str_t};

use super::groups::Group;
use super::main::{Check, DEFAULT_CHECK, MainConf};
use super::reading::{log_folders, nginx_core_conf};
use super::settings::Settings;
use crate::bridge::changes::watch::Reload;
use crate::bridge::config::{
    AppConfig, ExecutorId, LocationConfig, OutputConfig, PoolConfig, Role, WorkerConfig,
};
use crate::bridge::output_log::{Destination, OutputLog};
use crate::nginx::confinement::Restriction;
use crate::nginx::sys;

impl MainConf {
    /// That of a group. `None`: it cannot be compared, because something in it goes to a syslog.
    ///
    /// # Safety
    ///
    /// `cycle` is that of this configuration.
    pub(in crate::nginx) unsafe fn fingerprint(
        &self,
        cycle: *mut ngx_cycle_t,
        at: usize,
    ) -> Option<String> {
        let group = self.groups.all().get(at)?;
        let role = Role::Application { group: at, slot: 0 };
        let config = self.worker_config(role);
        let locations = self.groups.locations(role);
        let outputs = locations.iter().map(|location| &location.output);
        let outputs = outputs.chain([&config.output.worker]);
        let mut text = String::new();
        for output in outputs {
            add(&mut text, output_log(output)?);
        }
        // SAFETY: as the caller says; the logs of a configuration live as long as it.
        unsafe {
            for location in &locations {
                add(&mut text, log(self.log_of_location(location.id)?)?);
            }
            add(&mut text, log(&raw const (*cycle).new_log)?);
            add(&mut text, nginxs(cycle));
            if group.confinement.restrictions.contains(&Restriction::Write) {
                add(&mut text, format!("{:?}", self.groups.writable(role, log_folders(cycle))));
            }
        }
        add(&mut text, self.of_group(group, &self.settings(role)));
        add(&mut text, self.environment.describe(Group::environment(group)));
        for location in locations {
            add(&mut text, of_location(&config, &location));
        }
        add(&mut text, of_process(config));
        Some(text)
    }

    /// What `python_*` sets of a process, beside its configuration.
    fn of_group(&self, group: &Group, settings: &Settings) -> String {
        let Check { timeout, .. } = self.check.unwrap_or(DEFAULT_CHECK);
        let Group { name, processes, ring, lazy, confinement, .. } = group;
        let homes = group.home.iter().chain(&self.home);
        let paths = homes.chain(group.path.iter()).chain(self.path.iter()).chain(&group.directory);
        let paths: Vec<_> = paths.chain(&self.directory).map(|path| real(path)).collect();
        format!(
            "{name} {processes} {ring} {lazy:?} {confinement:?} {paths:?} {timeout:?} {settings:?}"
        )
    }
}

/// One more part, which ends where no other one has a line.
fn add(text: &mut String, part: impl AsRef<str>) {
    // Writing to a string does not fail.
    let _infallible = writeln!(text, "{}\n", part.as_ref());
}

/// Without what says which of the groups it is, and with its own applications and pools alone.
fn of_process(config: WorkerConfig) -> String {
    let reload = match &config.reload {
        Reload::Touch(touched) => touched.path().display().to_string(),
        other => format!("{other:?} {}", config.renews_groups()),
    };
    let own = own_apps(&config).map(|app| {
        let on = app.event_loop().and_then(|at| config.loops.get(at));
        let app = AppConfig { group: None, ..app.clone() };
        format!("{app:?} {:?} {on:?}", real(Path::new(&app.resolved)))
    });
    let own: Vec<_> = own.collect();
    let rest = WorkerConfig {
        role: Role::Web,
        apps: Vec::new(),
        groups: Vec::new(),
        pools: Vec::new(),
        loops: Vec::new(),
        output: OutputConfig::default(),
        reload: Reload::Off,
        ..config
    };
    format!("{own:?} {reload} {rest:?}")
}

fn own_apps(config: &WorkerConfig) -> impl Iterator<Item = &AppConfig> {
    config.apps.iter().zip(0..).filter(|(_, at)| config.runs(*at)).map(|(app, _)| app)
}

/// A location, with what its numbers name.
fn of_location(config: &WorkerConfig, location: &LocationConfig) -> String {
    let app = config.apps.get(location.app).map(|app| (&app.target, &app.callables));
    let pool: Option<&PoolConfig> = match location.executor {
        ExecutorId::Pool(at) => config.pools.get(at),
        _ => None,
    };
    let own = LocationConfig {
        id: 0,
        app: 0,
        group: None,
        executor: ExecutorId::Inline,
        ..location.clone()
    };
    format!("{app:?} {pool:?} {own:?}")
}

/// `None` if it is a syslog.
fn output_log(output: &OutputLog) -> Option<String> {
    match &output.to {
        Destination::Syslog(_) => None,
        Destination::File(file) => Some(format!("{} {}", file.name(), output.json)),
        other => Some(format!("{other:?} {} {:?}", output.json, output.level)),
    }
}

/// An `error_log`, and those that follow it. `None` if one is no file.
///
/// # Safety
///
/// The log is valid, or null.
unsafe fn log(mut log: *const ngx_log_t) -> Option<String> {
    let mut text = String::new();
    // SAFETY: as the caller says, and nginx's logs are a list.
    while let Some(found) = unsafe { log.as_ref() } {
        if found.writer.is_some() {
            return None;
        }
        // SAFETY: the file of a log lives as long as it.
        let name = unsafe { found.file.as_ref().map(|file| sys::bytes(file.name)) };
        let name = name.map(String::from_utf8_lossy);
        add(&mut text, format!("{name:?} {}", found.log_level));
        log = found.next;
    }
    Some(text)
}

/// What nginx's own directives set of a process.
///
/// # Safety
///
/// `cycle` is valid.
unsafe fn nginxs(cycle: *mut ngx_cycle_t) -> String {
    // SAFETY: as the caller says; the elements of `env` are strings.
    unsafe {
        let core = nginx_core_conf(cycle);
        let env = core.env.as_slice::<ngx_str_t>().iter();
        let env: Vec<_> = env.map(|name| String::from_utf8_lossy(sys::bytes(*name))).collect();
        let directory = String::from_utf8_lossy(sys::bytes(core.working_directory));
        format!(
            "{:?} {env:?} {directory} {}",
            (core.user, core.group, core.rlimit_nofile, core.rlimit_core, core.priority),
            core.shutdown_timeout,
        ) + &format!(" {}", (*cycle).connection_n)
    }
}

/// Where the links of a path lead.
fn real(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}
