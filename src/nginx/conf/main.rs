//! Context `http`: what a worker process has once (`python_*`).

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use nginx_sys::{ngx_cycle_t, ngx_log_t, ngx_msec_t};

use super::checks::access::Need;
use super::checks::needed::Needed;
use super::checks::target::Target;
use super::environment::Environment;
use super::error::{ConfError, Place};
use super::groups::Groups;
use super::handlers::Handlers;
use super::output::{Output, Outputs};
use super::reading::{self, Reading};
use super::settings::Settings;
use super::shared::{BatonMemory, Shared};
use crate::bridge::baton::{Baton, Word};
use crate::bridge::changes::watch::Reload;
use crate::bridge::code::Code;
use crate::bridge::config::{AppConfig, LoopConfig, LoopKind, PoolConfig, Role};
use crate::bridge::log::Level;
use crate::bridge::marks::Marks;
use crate::bridge::memory::Memory;
use crate::nginx::log;

/// Context `http`: what a worker process has once.
#[derive(Debug)]
pub(in crate::nginx) struct MainConf {
    pub(in crate::nginx) home: Option<PathBuf>,
    pub(in crate::nginx) path: Vec<PathBuf>,
    pub(in crate::nginx) executable: Option<PathBuf>,
    /// `python_working_directory`
    pub(in crate::nginx) directory: Option<PathBuf>,
    pub(in crate::nginx) resolve_symlinks: Option<bool>,
    /// Those of the workers, and of a group that does not set them.
    pub(in crate::nginx) settings: Settings,
    pub(in crate::nginx) environment: Environment,
    pub(in crate::nginx) pools: Vec<PoolConfig>,
    pub(in crate::nginx) loops: Vec<LoopConfig>,
    /// `python_process`
    pub(in crate::nginx) groups: Groups,
    /// 0: no warning.
    pub(in crate::nginx) stall_warning: Option<ngx_msec_t>,
    pub(in crate::nginx) stdout_level: Option<Level>,
    pub(in crate::nginx) stderr_level: Option<Level>,
    pub(in crate::nginx) check: Option<Check>,
    /// `python_status_zone`, in bytes.
    pub(in crate::nginx) status_zone: Option<usize>,
    /// The configuration has `$python_cpu_time`.
    pub(in crate::nginx) measures_cpu: bool,
    /// A location shows the status.
    pub(in crate::nginx) has_status: bool,
    pub(in crate::nginx) reload: Option<Reload>,
    /// `python_import`, and where each module is named first.
    pub(super) imports: Vec<(String, Place)>,
    pub(super) apps: Vec<AppConfig>,
    /// Where each of them is named first.
    app_places: Vec<Place>,
    /// What the workers' user must be able to use, as the directives name it.
    pub(super) needed: Vec<Needed>,
    /// The modules that directives name.
    pub(super) modules: Vec<Module>,
    /// What a worker leaves for its successor.
    shared: Option<Arc<Shared>>,
    pub(in crate::nginx) outputs: Outputs,
    /// The `error_log` of each location.
    location_logs: Vec<*mut ngx_log_t>,
    /// Those of each application's locations.
    app_logs: Vec<Vec<*mut ngx_log_t>>,
    /// Which reading of the configuration this is.
    pub(in crate::nginx) configuration: usize,
    pub(in crate::nginx) handlers: Handlers,
    pub(super) umask: u32,
}

/// `python_check`
#[derive(Clone, Copy, Debug)]
pub(in crate::nginx) struct Check {
    pub(in crate::nginx) enabled: bool,
    /// For all applications together.
    pub(in crate::nginx) timeout: Duration,
    /// The startups of ASGI's applications are run as well.
    pub(in crate::nginx) lifespan: bool,
}

pub(in crate::nginx) const DEFAULT_CHECK: Check =
    Check { enabled: true, timeout: Duration::from_secs(60), lifespan: false };

/// The logs of a location.
#[derive(Debug)]
pub(super) struct Logs {
    pub(super) error: *mut ngx_log_t,
    pub(super) output: Output,
}

/// A module, and the directive that names it.
#[derive(Debug)]
pub(super) struct Module {
    pub(super) name: String,
    /// The `python_process` that imports it; `None`: the workers do.
    pub(super) group: Option<usize>,
    pub(super) directive: String,
    pub(super) place: Place,
}

impl MainConf {
    /// That of the `http` block that nginx is reading.
    ///
    /// # Safety
    ///
    /// There is no other reference to it meanwhile: not in a setter of it.
    pub(in crate::nginx) unsafe fn of(reading: &mut Reading) -> &mut MainConf {
        // SAFETY: `create_main_conf` makes a MainConf, and this is the only reference.
        unsafe { reading.main_conf() }
    }

    /// That of a cycle; `None` if the cycle has no `http`.
    ///
    /// # Safety
    ///
    /// `cycle` is valid.
    pub(in crate::nginx) unsafe fn of_cycle<'a>(cycle: *mut ngx_cycle_t) -> Option<&'a MainConf> {
        // SAFETY: `create_main_conf` makes a MainConf.
        unsafe { reading::main_conf_of_cycle(cycle) }
    }

    pub(in crate::nginx) fn new(configuration: usize, handlers: Handlers) -> Self {
        Self {
            home: None,
            path: Vec::new(),
            executable: None,
            directory: None,
            resolve_symlinks: None,
            settings: Settings::default(),
            environment: Environment::new(),
            pools: Vec::new(),
            loops: Vec::new(),
            groups: Groups::default(),
            stall_warning: None,
            stdout_level: None,
            stderr_level: None,
            check: None,
            status_zone: None,
            measures_cpu: false,
            has_status: false,
            reload: None,
            imports: Vec::new(),
            apps: Vec::new(),
            app_places: Vec::new(),
            needed: Vec::new(),
            modules: Vec::new(),
            shared: None,
            outputs: Outputs::default(),
            location_logs: Vec::new(),
            app_logs: Vec::new(),
            configuration,
            handlers,
            umask: umask(),
        }
    }

    /// Fills in what no directive has set.
    pub(in crate::nginx) fn set_defaults(&mut self) {
        if !self.pools.iter().any(|pool| pool.name == DEFAULT_POOL) {
            self.pools.push(PoolConfig {
                name: DEFAULT_POOL.to_owned(),
                threads: 8,
                max_queue: DEFAULT_MAX_QUEUE,
                stack: None,
            });
        }
        // `main` is always the first.
        let main = self.loops.iter().position(|known| known.name == DEFAULT_LOOP);
        let main = main.map(|at| self.loops.remove(at));
        let by_default = || LoopConfig { name: DEFAULT_LOOP.to_owned(), kind: LoopKind::Auto };
        self.loops.insert(0, main.unwrap_or_else(by_default));
    }

    pub(in crate::nginx) fn has_apps(&self) -> bool {
        !self.apps.is_empty()
    }

    /// Maps the memory in which a worker leaves marks for its successor. All applications must be known.
    pub(in crate::nginx) fn share(&mut self) -> Result<(), ConfError> {
        let modules = self.groups.roles().map(|role| self.imports(role).len()).max();
        let imports = self.apps.len() + modules.unwrap_or_default();
        let shared = Shared::new(imports, 1 + self.groups.all().len(), self.groups.all().len())
            .map_err(|error| {
                ConfError::new(
                    Code::MemoryForConfiguration,
                    format!("memory to share with the workers cannot be mapped (mmap): {error}"),
                )
            })?;
        self.shared = Some(shared);
        Ok(())
    }

    /// The marks of the worker of that number, which is this process.
    pub(in crate::nginx) fn marks(&self, worker: usize) -> Marks {
        let memory = self.shared.as_ref().and_then(|shared| shared.of_worker(worker));
        Marks::take_over(memory, std::process::id())
    }

    /// The marks of this process, which checks the applications of that role.
    pub(in crate::nginx) fn marks_of_check(&self, role: Role) -> Marks {
        Marks::take_over(self.memory_of_check(role), std::process::id())
    }

    /// The applications that the process is importing that checks those of that role.
    pub(in crate::nginx) fn imported_by_check(&self, role: Role) -> Vec<usize> {
        Marks::of_another(self.memory_of_check(role)).importing()
    }

    fn memory_of_check(&self, role: Role) -> Option<Box<dyn Memory>> {
        let check = role.group().map_or(0, |group| 1 + group);
        self.shared.as_ref().map(|shared| shared.of_check(check))
    }

    /// Whether that is the number of an application, and not of a module of `python_import`: these come behind.
    pub(in crate::nginx) fn is_app(&self, number: usize) -> bool {
        number < self.apps.len()
    }

    /// What is wrong with an application or a module in a process of that role, with the directive that names it, and
    /// its place.
    pub(in crate::nginx) fn error_of(&self, role: Role, number: usize, what: &str) -> String {
        let group = self.groups.of(role);
        let group = group.map(|group| format!(" (python_process {})", group.name));
        let group = group.as_deref().unwrap_or_default();
        if let (Some(app), Some(place)) = (self.apps.get(number), self.app_places.get(number)) {
            let text = format!("{}_app \"{}\"{group} {what}", app.protocol, app.target);
            return ConfError::at(Code::CheckFinding, text, place).text;
        }
        let module = number.checked_sub(self.apps.len()).and_then(|at| self.imports(role).get(at));
        match module {
            Some((name, place)) => {
                let text = format!("python_import \"{name}\"{group} {what}");
                ConfError::at(Code::CheckFinding, text, place).text
            }
            None => format!("{what}{group}"),
        }
    }

    /// That the processes of a group cannot have one of its limits.
    pub(in crate::nginx) fn unconfined(&self, role: Role, what: &str) -> String {
        self.groups.of(role).map_or_else(String::new, |group| {
            let text = format!("python_process \"{}\": {what}", group.name);
            ConfError::at(Code::CheckFinding, text, &group.place).text
        })
    }

    /// The modules that a process of that role imports before its applications, and what names them.
    pub(super) fn imports(&self, role: Role) -> &[(String, Place)] {
        let own = self.groups.of(role).and_then(|group| group.imports.as_ref());
        own.unwrap_or(&self.imports)
    }

    /// How Python starts, lives and ends in a process of that role.
    pub(in crate::nginx) fn settings(&self, role: Role) -> Settings {
        let group = self.groups.of(role);
        group.map_or_else(|| self.settings.clone(), |group| group.settings.or(&self.settings))
    }

    /// Whether a process of that role has an interpreter.
    pub(in crate::nginx) fn runs_python(&self, role: Role) -> bool {
        self.apps.iter().any(|app| app.group == role.group())
    }

    /// The baton for the worker of that number: the web workers of this configuration have one, and the processes of each group.
    pub(in crate::nginx) fn baton(&self, worker: usize) -> Baton {
        let role = self.groups.role(worker);
        // A process that goes on is its group's as before, whatever its number is among the workers.
        let number = match role {
            Role::Application { slot, .. } => slot,
            Role::Web => worker,
        };
        let word = self.baton_memory(role.group()).map(|memory| Box::new(memory) as Box<dyn Word>);
        Baton::new(word, u32::try_from(number).unwrap_or_default())
    }

    /// The memory of the baton of the web workers, or of the processes of a group.
    pub(in crate::nginx) fn baton_memory(&self, group: Option<usize>) -> Option<BatonMemory> {
        self.shared.as_ref().map(|shared| shared.baton(group))
    }

    /// The batons of these groups are those of the configuration before, whose processes go on. Before anybody has asked for
    /// one.
    pub(in crate::nginx) fn take_over_batons(&self, batons: Vec<Option<BatonMemory>>) {
        if let Some(shared) = &self.shared {
            shared.take_over(batons);
        }
    }

    /// Notes that the workers' user must be able to use that file or folder.
    pub(in crate::nginx) fn need(
        &mut self,
        directive: impl Into<String>,
        path: PathBuf,
        need: Need,
        place: &Place,
    ) {
        self.need_as(Needed { directive: directive.into(), path, need, place: place.clone() });
    }

    pub(in crate::nginx) fn need_as(&mut self, needed: Needed) {
        self.needed.push(needed);
    }

    /// The number of one more location of that application, which has these logs.
    pub(super) fn add_location(&mut self, app: usize, logs: &Logs) -> usize {
        let log = logs.error;
        self.outputs.add_location(app, &logs.output);
        self.location_logs.push(log);
        if self.app_logs.len() <= app {
            self.app_logs.resize_with(app + 1, Vec::new);
        }
        if let Some(logs) = self.app_logs.get_mut(app) {
            // SAFETY: nginx's merge has given each location a log of the configuration.
            if !logs.iter().any(|known| unsafe { log::is_same(*known, log) }) {
                logs.push(log);
            }
        }
        self.location_logs.len() - 1
    }

    /// The `error_log` of the location of that id.
    pub(in crate::nginx) fn log_of_location(&self, id: usize) -> Option<*const ngx_log_t> {
        self.location_logs.get(id).map(|log| log.cast_const())
    }

    /// The `error_log` of each location of an application, each once.
    pub(in crate::nginx) fn logs_of_app(&self, app: usize) -> &[*mut ngx_log_t] {
        self.app_logs.get(app).map_or(&[], Vec::as_slice)
    }

    /// Adds a module of `python_import`. All applications have the same ones, so that it may be named more than once.
    pub(in crate::nginx) fn add_import(&mut self, name: String, directive: &str, place: &Place) {
        if !self.imports.iter().any(|(known, _)| *known == name) {
            self.imports.push((name.clone(), place.clone()));
            self.modules.push(Module {
                name,
                group: None,
                directive: directive.to_owned(),
                place: place.clone(),
            });
        }
    }

    /// The application's index. Locations that name the same application share it, and must agree on what a worker
    /// has once of it. `place` names it.
    pub(super) fn add_app(&mut self, app: AppConfig, place: &Place) -> Result<usize, ConfError> {
        let directive = format!("{}_app", app.protocol);
        let mut known = self.apps.iter().zip(&self.app_places).enumerate();
        if let Some((at, (same, first))) = known.find(|(_, (known, _))| known.is_same(&app)) {
            let Some(contradiction) = same.contradiction(&app) else { return Ok(at) };
            let text = format!(
                "{directive} \"{}\" has another {contradiction} than in {}:{}; a worker runs an application once: \
                 give both locations the same {contradiction}",
                app.target, first.file, first.line
            );
            return Err(ConfError::at(Code::ApplicationTwice, text, place));
        }
        let target = Target::split(&app.target);
        match target.file() {
            Some(file) => self.need(directive, file.to_path_buf(), Need::Read, place),
            None => {
                let name = target.place.to_owned();
                let group = app.group;
                self.modules.push(Module { name, group, directive, place: place.clone() });
            }
        }
        self.apps.push(app);
        self.app_places.push(place.clone());
        Ok(self.apps.len() - 1)
    }

    /// The index of the `python_thread_pool` of that name; the names that there are if it is none of them.
    pub(super) fn pool_named(&self, name: &str) -> Result<usize, Vec<&str>> {
        position(name, self.pools.iter().map(|pool| &*pool.name))
    }

    /// The index of the `python_event_loop` of that name; the names that there are if it is none of them.
    pub(super) fn loop_named(&self, name: &str) -> Result<usize, Vec<&str>> {
        position(name, self.loops.iter().map(|each| &*each.name))
    }
}

fn position<'a>(
    name: &str,
    mut names: impl Iterator<Item = &'a str> + Clone,
) -> Result<usize, Vec<&'a str>> {
    names.clone().position(|known| known == name).ok_or_else(|| names.by_ref().collect())
}

/// The umask with which nginx was started. nginx sets its umask to 0 as it becomes a daemon (`ngx_daemon`), so only the
/// first reading of the configuration is sure to see it. A later one, or that of a new binary (USR2), may see 0; then
/// the default is taken, lest everybody can write to an application's files.
fn umask() -> u32 {
    static STARTED_WITH: OnceLock<u32> = OnceLock::new();
    let first = *STARTED_WITH.get_or_init(|| {
        // SAFETY: a plain system call, which can be read only by setting it; nginx has one thread here.
        unsafe {
            let now = libc::umask(0);
            libc::umask(now);
            now
        }
    });
    if first == 0 { DEFAULT_UMASK } else { first }
}

const DEFAULT_UMASK: u32 = 0o022;

pub(super) const DEFAULT_POOL: &str = "default";
pub(super) const DEFAULT_LOOP: &str = "main";
pub(in crate::nginx) const DEFAULT_MAX_QUEUE: usize = 1024;
