//! `python_process`: groups of processes that run applications beside the workers, each with settings of its own.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use nginx_sys::ngx_msec_t;

use super::checks::access::{Need, User};
use super::checks::needed::Needed;
use super::environment::{self, Variable};
use super::error::{ConfError, Place};
use super::settings::Settings;
use crate::bridge::code::Code;
use crate::bridge::config::{LocationConfig, PoolConfig, ProcessGroup, Role};
use crate::nginx::confinement::{Confinement, Resource, Writable};
use crate::nginx::meetings::Meetings;

/// A `python_process`. What it does not set it has from the `python_*` directives of `http`.
#[derive(Debug)]
pub(in crate::nginx) struct Group {
    pub(in crate::nginx) name: String,
    pub(in crate::nginx) place: Place,
    pub(in crate::nginx) processes: usize,
    pub(in crate::nginx) threads: Option<usize>,
    pub(in crate::nginx) max_queue: Option<usize>,
    pub(in crate::nginx) ring: usize,
    pub(in crate::nginx) home: Option<PathBuf>,
    pub(in crate::nginx) path: Vec<PathBuf>,
    pub(in crate::nginx) executable: Option<PathBuf>,
    /// `import=`; `None`: those of `python_import`.
    pub(in crate::nginx) imports: Option<Vec<(String, Place)>>,
    /// `working_directory=`
    pub(in crate::nginx) directory: Option<PathBuf>,
    /// `env=`
    named: Vec<Variable>,
    /// Those of `env_file=`, which `env=` overrides.
    of_files: Vec<Variable>,
    pub(in crate::nginx) settings: Settings,
    pub(in crate::nginx) confinement: Confinement,
    /// `start=lazy`
    pub(in crate::nginx) lazy: Option<Lazy>,
    /// `keep=on`
    pub(in crate::nginx) keep: bool,
    /// Its locations so far.
    locations: usize,
    /// A location's application runs in its processes. There are none otherwise.
    is_used: bool,
}

impl Group {
    pub(in crate::nginx) fn new(name: String, place: Place) -> Self {
        Self {
            name,
            place,
            processes: 1,
            threads: None,
            max_queue: None,
            ring: DEFAULT_RING,
            home: None,
            path: Vec::new(),
            executable: None,
            imports: None,
            directory: None,
            named: Vec::new(),
            of_files: Vec::new(),
            settings: Settings::default(),
            confinement: Confinement::default(),
            lazy: None,
            keep: false,
            locations: 0,
            is_used: false,
        }
    }

    /// How many processes it has.
    pub(in crate::nginx) fn count(&self) -> usize {
        if self.is_used { self.processes } else { 0 }
    }

    /// An error is the place of another value of that variable.
    pub(in crate::nginx) fn add_variable(&mut self, variable: Variable) -> Result<(), Place> {
        environment::add(&mut self.named, variable)
    }

    /// The same for a variable of a file.
    pub(in crate::nginx) fn add_variable_of_file(
        &mut self,
        variable: Variable,
    ) -> Result<(), Place> {
        environment::add(&mut self.of_files, variable)
    }

    /// Its variables; of two of one name the last one counts.
    pub(super) fn environment(&self) -> impl Iterator<Item = &Variable> {
        self.of_files.iter().chain(&self.named)
    }

    /// Its `path=`, or that of `http`, which is given, if it has none.
    pub(super) fn path_or<'a>(&'a self, common: &'a Vec<PathBuf>) -> &'a Vec<PathBuf> {
        if self.path.is_empty() { common } else { &self.path }
    }

    /// What the workers' user must be able to use because of that parameter.
    pub(in crate::nginx) fn needed(&self, key: &str, path: PathBuf, need: Need) -> Needed {
        let directive = format!("python_process {}: {key}", self.name);
        Needed { directive, path, need, place: self.place.clone() }
    }

    /// The pool `default` of one of its processes, of which `common` is that of the configuration.
    pub(super) fn pool(&self, common: &PoolConfig) -> PoolConfig {
        PoolConfig {
            threads: self.threads.unwrap_or(common.threads),
            max_queue: self.max_queue.unwrap_or(common.max_queue),
            ..common.clone()
        }
    }
}

/// Its processes are dormant until they have a request.
#[derive(Clone, Copy, Debug)]
pub(in crate::nginx) struct Lazy {
    /// `idle=`, in milliseconds: one that has had none for so long ends. `None`: none ends for that.
    pub(in crate::nginx) idle: Option<ngx_msec_t>,
}

/// All of a configuration.
#[derive(Debug, Default)]
pub(in crate::nginx) struct Groups {
    all: Vec<Group>,
    /// The locations of applications that run in their processes, as these see them.
    locations: Vec<Arc<LocationConfig>>,
    /// How many workers accept connections: `worker_processes`, which nginx has not settled while it reads.
    web_workers: OnceLock<usize>,
    /// The groups whose processes may go on that there are, and those whose processes do, by their indices.
    keepable: OnceLock<Vec<bool>>,
    kept: OnceLock<Vec<bool>>,
    /// What this configuration has said of each group with `keep=on` as it was read.
    said: OnceLock<Vec<Option<String>>>,
    /// What the processes behind the web workers are for, by their numbers.
    order: OnceLock<Vec<Role>>,
    pub(in crate::nginx) meetings: Meetings,
}

impl Groups {
    /// An error is the place of another group of that name.
    pub(in crate::nginx) fn add(&mut self, group: Group) -> Result<(), Place> {
        if let Some(known) = self.all.iter().find(|known| known.name == group.name) {
            return Err(known.place.clone());
        }
        self.all.push(group);
        Ok(())
    }

    /// A location whose application runs in the processes of a group, as one of them sees it.
    pub(super) fn add_location(&mut self, location: LocationConfig) {
        if let Some(group) = location.group.and_then(|at| self.all.get_mut(at)) {
            group.is_used = true;
            group.locations += 1;
        }
        self.locations.push(Arc::new(location));
    }

    /// The number of the next location of that group.
    pub(super) fn next_location(&self, group: Option<usize>) -> usize {
        group.and_then(|at| self.all.get(at)).map_or(0, |group| group.locations)
    }

    /// Those of the applications that a process of that role runs, by their numbers ([`LocationConfig::in_group`]).
    pub(in crate::nginx) fn locations(&self, role: Role) -> Vec<Arc<LocationConfig>> {
        let own = self.locations.iter().filter(|location| location.group == role.group());
        own.cloned().collect()
    }

    pub(in crate::nginx) fn all(&self) -> &[Group] {
        &self.all
    }

    pub(in crate::nginx) fn of(&self, role: Role) -> Option<&Group> {
        self.all.get(role.group()?)
    }

    /// The index of the group of that name. `directive` and `place` name it.
    pub(super) fn named(
        &self,
        name: &str,
        directive: &str,
        place: &Place,
    ) -> Result<usize, ConfError> {
        self.all.iter().position(|group| group.name == name).ok_or_else(|| {
            let known: Vec<_> = self.all.iter().map(|group| group.name.as_str()).collect();
            let others = match &known[..] {
                [] => String::new(),
                known => format!(", or use one of: {}", known.join(", ")),
            };
            let text = format!(
                "{directive} \"{name}\" is not defined; write python_process {name}; in http{others}"
            );
            ConfError::at(Code::GroupUndefined, text, place)
        })
    }

    /// Checks what shows when all of the configuration has been read. `given` is the limit that nginx gives its workers,
    /// if a directive sets that.
    pub(super) fn check(
        &self,
        has_master: bool,
        user: Option<User>,
        given: impl Fn(&Resource) -> Option<u64>,
    ) -> Result<(), ConfError> {
        let refuse = |group: &Group, what: String| {
            let text = format!("python_process \"{}\" {what}", group.name);
            ConfError::at(Code::DirectiveInvalid, text, &group.place)
        };
        if let Some(first) = self.all.iter().find(|group| group.is_used && !has_master) {
            return Err(ConfError::at(Code::GroupsWithoutMaster, NO_MASTER, &first.place));
        }
        let all = self.processes();
        if let Some(last) = self.all.last().filter(|_| all > MOST_PROCESSES) {
            let what = format!(
                "makes {all} processes of all groups together; there may be {MOST_PROCESSES}: write fewer processes="
            );
            return Err(refuse(last, what));
        }
        // Root may raise its limits.
        if user.is_some_and(|user| user.uid == 0) {
            return Ok(());
        }
        for group in &self.all {
            for limit in &group.confinement.limits {
                let resource = limit.resource;
                let highest = given(resource).or_else(|| resource.highest().ok());
                if let Some(highest) = highest.filter(|highest| limit.value > *highest) {
                    let what = format!(
                        "has rlimit_{}={}, which is above the limit that nginx has itself, {highest}; write a lower \
                         one, or raise that of nginx",
                        resource.name, limit.value
                    );
                    return Err(refuse(group, what));
                }
            }
        }
        Ok(())
    }

    /// Those that no application runs in, and so have no process; each as a line for the log.
    pub(super) fn idle(&self) -> impl Iterator<Item = String> {
        self.all.iter().filter(|group| !group.is_used).map(|group| {
            let text = format!(
                "python_process \"{0}\" has no processes, because no application runs in it; write wsgi_process {0} or \
                 asgi_process {0} beside an application, or remove it",
                group.name
            );
            ConfError::at(Code::GroupUnused, text, &group.place).text
        })
    }

    /// How many processes all of them have together.
    pub(in crate::nginx) fn processes(&self) -> usize {
        self.all.iter().map(Group::count).sum()
    }

    /// The master notes how many workers accept connections; the processes of the groups are numbered behind them.
    pub(in crate::nginx) fn set_web_workers(&self, count: usize) {
        // A configuration is taken over once.
        let _again = self.web_workers.set(count);
    }

    pub(in crate::nginx) fn web_workers(&self) -> Option<usize> {
        self.web_workers.get().copied()
    }

    /// Notes of which groups the processes may go on that there are.
    pub(in crate::nginx) fn set_keepable(&self, keepable: Vec<bool>) {
        // It is known once for a configuration.
        let _again = self.keepable.set(keepable);
    }

    /// Notes what the configuration says of each group with `keep=on`.
    pub(in crate::nginx) fn set_said(&self, said: Vec<Option<String>>) {
        // It is read once.
        let _again = self.said.set(said);
    }

    pub(in crate::nginx) fn said(&self, group: usize) -> Option<String> {
        self.said.get()?.get(group)?.clone()
    }

    pub(in crate::nginx) fn is_keepable(&self, group: usize) -> bool {
        self.keepable.get().is_some_and(|keepable| keepable.get(group) == Some(&true))
    }

    /// Notes of which groups the processes go on that there are. They are numbered behind all others, which the master starts.
    pub(in crate::nginx) fn set_kept(&self, kept: Vec<bool>) {
        // It is known once for a configuration.
        let _again = self.kept.set(kept);
    }

    /// Whether the processes of that group go on that there are.
    pub(in crate::nginx) fn is_kept(&self, group: usize) -> bool {
        self.kept.get().is_some_and(|kept| kept.get(group) == Some(&true))
    }

    /// What all of their processes are for, by their numbers.
    fn order(&self) -> &[Role] {
        self.order.get_or_init(|| {
            let all = self.all.iter().enumerate().flat_map(|(group, each)| {
                (0..each.count()).map(move |slot| Role::Application { group, slot })
            });
            let is_kept = |role: &Role| role.group().is_some_and(|group| self.is_kept(group));
            let (kept, started): (Vec<_>, Vec<_>) = all.partition(is_kept);
            [started, kept].concat()
        })
    }

    /// The number of that process (`ngx_worker`).
    pub(in crate::nginx) fn number(&self, role: Role) -> Option<usize> {
        let at = self.order().iter().position(|known| *known == role)?;
        Some(self.web_workers()? + at)
    }

    /// The numbers of all of their processes.
    pub(in crate::nginx) fn numbers(&self) -> Range<usize> {
        let first = self.web_workers().unwrap_or(0);
        first..first + self.processes()
    }

    /// What the worker of that number (`ngx_worker`) is for.
    pub(in crate::nginx) fn role(&self, worker: usize) -> Role {
        let Some(at) = self.web_workers().and_then(|web| worker.checked_sub(web)) else {
            return Role::Web;
        };
        self.order().get(at).copied().unwrap_or(Role::Web)
    }

    /// That of the web workers first, and that of the first process of each group.
    pub(in crate::nginx) fn roles(&self) -> impl Iterator<Item = Role> {
        let applications = (0..self.all.len()).map(|group| Role::Application { group, slot: 0 });
        [Role::Web].into_iter().chain(applications)
    }

    /// What the module and nginx write to in a process of that role.
    pub(in crate::nginx) fn writable(&self, role: Role, logs: Vec<PathBuf>) -> Writable {
        let own = self.locations.iter().filter(|location| location.group == role.group());
        let mut folders: Vec<_> =
            own.map(|location| location.buffering.directory.to_path_buf()).collect();
        folders.retain(|folder| folder.is_absolute());
        folders.sort();
        folders.dedup();
        Writable { folders, logs }
    }

    /// As other processes need them; `default` is the pool of that name.
    pub(super) fn configs(&self, default: Option<&PoolConfig>) -> Vec<ProcessGroup> {
        let by_default = default.map_or(0, |pool| pool.max_queue);
        let threads = default.map_or(1, |pool| pool.threads);
        let web_workers = self.web_workers().unwrap_or(1).max(1);
        let config = |group: &Group| ProcessGroup {
            name: group.name.clone(),
            processes: group.count(),
            max_queue: group.max_queue.unwrap_or(by_default),
            ring: group.ring,
            // A process that runs is busy if its threads are, to which each web worker contributes its share.
            wakes_at: group
                .lazy
                .map(|_| group.threads.unwrap_or(threads).div_ceil(web_workers).max(1)),
            keep: group.keep,
        };
        self.all.iter().map(config).collect()
    }
}

pub(in crate::nginx) const NO_MASTER: &str = "python_process needs nginx's master, which starts its processes: remove \"master_process off\"";

/// nginx has room for 1024 processes, and needs twice as many while it is reloaded.
pub(in crate::nginx) const MOST_PROCESSES: usize = 400;

const DEFAULT_RING: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn groups(processes: &[usize]) -> Groups {
        let mut groups = Groups::default();
        for (at, processes) in processes.iter().enumerate() {
            let place = Place { file: "nginx.conf".to_owned(), line: at };
            let mut group = Group { processes: *processes, ..Group::new(format!("g{at}"), place) };
            group.is_used = true;
            groups.add(group).unwrap();
        }
        groups
    }

    #[test]
    fn processes_are_numbered_behind_the_workers() {
        let groups = groups(&[2, 1]);
        assert_eq!(groups.role(5), Role::Web, "it is not known yet");
        groups.set_web_workers(3);
        let application = |group, slot| Role::Application { group, slot };
        assert_eq!(
            [0, 2, 3, 4, 5].map(|worker| groups.role(worker)),
            [Role::Web, Role::Web, application(0, 0), application(0, 1), application(1, 0)]
        );
        assert_eq!(groups.processes(), 3);
        assert_eq!(
            groups.roles().collect::<Vec<_>>(),
            [Role::Web, application(0, 0), application(1, 0)]
        );
    }

    #[test]
    fn those_that_are_kept_are_numbered_last() {
        let groups = groups(&[2, 1]);
        groups.set_kept(vec![true, false]);
        groups.set_web_workers(3);
        let application = |group, slot| Role::Application { group, slot };
        assert_eq!(
            [3, 4, 5].map(|worker| groups.role(worker)),
            [application(1, 0), application(0, 0), application(0, 1)]
        );
        assert_eq!(groups.number(application(0, 1)), Some(5));
        assert_eq!(groups.numbers(), 3..6);
    }

    #[test]
    fn without_an_application_there_is_no_process() {
        let mut groups = groups(&[2, 1]);
        groups.all[0].is_used = false;
        groups.set_web_workers(1);
        assert_eq!(groups.processes(), 1);
        assert_eq!(groups.role(1), Role::Application { group: 1, slot: 0 });
        assert_eq!(groups.role(2), Role::Web);
        assert_eq!(groups.idle().count(), 1);
    }

    #[test]
    fn a_name_is_given_once() {
        let mut groups = groups(&[1]);
        let place = Place { file: "other.conf".to_owned(), line: 7 };
        let first = groups.add(Group::new("g0".to_owned(), place.clone())).unwrap_err();
        assert_eq!((first.file.as_str(), first.line), ("nginx.conf", 0));
        assert_eq!(groups.named("g0", "wsgi_process", &place).unwrap(), 0);
        let error = groups.named("other", "wsgi_process", &place).unwrap_err();
        assert!(error.text.contains("use one of: g0"), "{}", error.text);
    }
}
