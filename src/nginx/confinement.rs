//! The limits of a `python_process`, and how one of its processes puts them on itself, before Python starts.
//!
//! They are put on as the workers' user, because nginx gives up root before it calls a module in a new process. So
//! what only root may do is refused while the configuration is read, unless the workers run as root.
//!
//! None of them can be taken off again, and all that the process starts has them, too.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, Scope,
};

/// What the parameters of a `python_process` say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Confinement {
    /// The file mode creation mask (umask(2)) of Python's threads, which set it; `None`: that of the workers.
    pub(super) umask: Option<u32>,
    pub(super) limits: Vec<Limit>,
    pub(super) nice: Option<i32>,
    pub(super) oom_score_adj: Option<i32>,
    /// The folder of a cgroup.
    pub(super) cgroup: Option<PathBuf>,
    pub(super) no_new_privs: bool,
    pub(super) restrictions: Vec<Restriction>,
    /// `writable=`, for [`Restriction::Write`].
    pub(super) writable: Vec<PathBuf>,
}

/// A limit of setrlimit(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limit {
    pub(super) resource: &'static Resource,
    pub(super) value: libc::rlim_t,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Resource {
    /// As in `rlimit_NAME=`.
    pub(super) name: &'static str,
    number: libc::__rlimit_resource_t,
    pub(super) unit: Unit,
}

/// What a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Bytes,
    Count,
    Seconds,
}

impl Resource {
    pub(super) const ALL: [Self; 7] = [
        Self::new("as", libc::RLIMIT_AS, Unit::Bytes),
        Self::new("core", libc::RLIMIT_CORE, Unit::Bytes),
        Self::new("cpu", libc::RLIMIT_CPU, Unit::Seconds),
        Self::new("data", libc::RLIMIT_DATA, Unit::Bytes),
        Self::new("fsize", libc::RLIMIT_FSIZE, Unit::Bytes),
        Self::new("nofile", libc::RLIMIT_NOFILE, Unit::Count),
        Self::new("nproc", libc::RLIMIT_NPROC, Unit::Count),
    ];

    const fn new(name: &'static str, number: libc::__rlimit_resource_t, unit: Unit) -> Self {
        Self { name, number, unit }
    }

    pub(super) fn named(name: &str) -> Option<&'static Self> {
        const ALL: &[Resource] = &Resource::ALL;
        ALL.iter().find(|resource| resource.name == name)
    }

    /// The highest limit that this process may set, if it is not root's.
    pub(super) fn highest(&self) -> io::Result<libc::rlim_t> {
        // SAFETY: a system call on a structure that is local to this function, and all of whose values are good.
        unsafe {
            let mut limit: libc::rlimit = std::mem::zeroed();
            match libc::getrlimit(self.number, &raw mut limit) {
                0 => Ok(limit.rlim_max),
                _ => Err(io::Error::last_os_error()),
            }
        }
    }
}

/// What Landlock keeps a process from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Restriction {
    /// Changing files, apart from some.
    Write,
    /// Running programs.
    Exec,
    /// Binding TCP sockets to ports.
    Listen,
    /// Sending signals to processes that it has not started.
    Signal,
}

impl Restriction {
    pub(super) const ALL: [(&'static str, Self); 4] = [
        ("write", Self::Write),
        ("exec", Self::Exec),
        ("listen", Self::Listen),
        ("signal", Self::Signal),
    ];

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, restriction)| *restriction)
    }

    /// What is wrong if this kernel does not have it, as the end of the sentence `restrict=… …`.
    pub(super) fn check(self) -> Result<(), String> {
        let created = self.handle(ruleset()).and_then(Ruleset::create);
        created.map(drop).map_err(|error| {
            format!(
                "needs the Landlock of Linux {} or later, which this kernel does not have, or has switched off: {error}",
                self.since()
            )
        })
    }

    /// The kernel that has all of it.
    fn since(self) -> &'static str {
        match self {
            // LANDLOCK_ACCESS_FS_TRUNCATE; before, whoever cannot write to a file can still empty it.
            Self::Write => "6.2",
            Self::Exec => "5.13",
            Self::Listen => "6.7",
            Self::Signal => "6.12",
        }
    }

    fn handle(self, rules: Ruleset) -> Result<Ruleset, RulesetError> {
        match self {
            Self::Write => rules.handle_access(writing()),
            Self::Exec => rules.handle_access(AccessFs::Execute),
            Self::Listen => rules.handle_access(AccessNet::BindTcp),
            Self::Signal => rules.scope(Scope::Signal),
        }
    }
}

/// What a kernel cannot do is an error.
fn ruleset() -> Ruleset {
    Ruleset::default().set_compatibility(CompatLevel::HardRequirement)
}

fn writing() -> BitFlags<AccessFs> {
    AccessFs::from_write(ABI::V3)
}

/// What the module and nginx write to in a process whose applications may not.
#[derive(Debug, Default)]
pub(super) struct Writable {
    /// Folders of temporary files.
    pub(super) folders: Vec<PathBuf>,
    /// Folders of logs: nginx opens what is there again.
    pub(super) logs: Vec<PathBuf>,
}

impl Confinement {
    /// Puts all of it on this process, but the umask. An error says which one could not be.
    pub(super) fn apply(&self, own: &Writable) -> Result<(), String> {
        if let Some(folder) = &self.cgroup {
            let failed = |error| format!("cgroup={}: {error}", folder.display());
            fs::write(folder.join(PROCESSES), "0").map_err(failed)?;
        }
        if let Some(value) = self.oom_score_adj {
            let failed = |error| format!("oom_score_adj={value}: {error}");
            fs::write("/proc/self/oom_score_adj", value.to_string()).map_err(failed)?;
        }
        if let Some(value) = self.nice {
            // SAFETY: a plain system call.
            if unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, value) } != 0 {
                return Err(format!("nice={value}: {}", io::Error::last_os_error()));
            }
        }
        for Limit { resource, value } in &self.limits {
            let limit = libc::rlimit { rlim_cur: *value, rlim_max: *value };
            // SAFETY: a system call on a structure that is local to this function.
            if unsafe { libc::setrlimit(resource.number, &raw const limit) } != 0 {
                let error = io::Error::last_os_error();
                return Err(format!("rlimit_{}={value}: {error}", resource.name));
            }
        }
        if self.no_new_privs || !self.restrictions.is_empty() {
            alone().map_err(|what| format!("no_new_privs=, restrict=: {what}"))?;
        }
        // SAFETY: a plain system call.
        if self.no_new_privs && unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } != 0 {
            return Err(format!("no_new_privs=on: {}", io::Error::last_os_error()));
        }
        if self.restrictions.is_empty() {
            return Ok(());
        }
        self.restrict(own).map_err(|what| format!("restrict=: {what}"))
    }

    /// This sets no_new_privs as well.
    fn restrict(&self, own: &Writable) -> Result<(), String> {
        let mut rules = ruleset();
        for restriction in &self.restrictions {
            rules = restriction.handle(rules).map_err(|error| error.to_string())?;
        }
        let mut rules = rules.create().map_err(|error| error.to_string())?;
        if self.restrictions.contains(&Restriction::Write) {
            for path in &self.writable {
                rules = allow(rules, path, writing())?;
            }
            // What is not there is not written to.
            for path in own.folders.iter().filter(|path| path.exists()) {
                rules = allow(rules, path, writing())?;
            }
            let devices = DEVICES.iter().map(Path::new);
            let logs = own.logs.iter().map(PathBuf::as_path);
            for path in devices.chain(logs).filter(|path| path.exists()) {
                rules = allow(rules, path, AccessFs::WriteFile.into())?;
            }
        }
        rules.restrict_self().map(drop).map_err(|error| error.to_string())
    }
}

/// Neither holds for a thread that is there already, by which whoever writes to the memory of the process can act. nginx's own start
/// before any module is called.
fn alone() -> Result<(), String> {
    match fs::read_dir(THREADS).map(Iterator::count) {
        Ok(1) => Ok(()),
        Ok(_) => Err("nginx has threads in this process for which it would not hold (aio threads, thread_pool)".into()),
        Err(error) => Err(format!("{THREADS}: {error}")),
    }
}

const THREADS: &str = "/proc/self/task";

/// Allows that below a folder, or to a file.
fn allow(
    rules: RulesetCreated,
    path: &Path,
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, String> {
    let failed = |error: &dyn std::error::Error| format!("{}: {error}", path.display());
    let opened = PathFd::new(path).map_err(|error| failed(&error))?;
    let access = if path.is_dir() { access } else { access & AccessFs::from_file(ABI::V3) };
    rules.add_rule(PathBeneath::new(opened, access)).map_err(|error| failed(&error))
}

/// The file of a cgroup's folder that a process is moved by.
pub(super) const PROCESSES: &str = "cgroup.procs";

/// Nothing is kept of what is written to these.
const DEVICES: [&str; 4] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/tty"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_to_what_they_name() {
        for resource in &Resource::ALL {
            assert_eq!(Resource::named(resource.name), Some(resource));
        }
        assert_eq!(Resource::named("rtprio"), None);
        for (name, restriction) in Restriction::ALL {
            assert_eq!(Restriction::named(name), Some(restriction));
        }
        assert_eq!(Restriction::named("read"), None);
    }

    #[test]
    fn nothing_is_put_on_that_is_not_asked_for() {
        assert_eq!(Confinement::default().apply(&Writable::default()), Ok(()));
    }

    #[test]
    fn what_cannot_be_put_on_is_named() {
        let cgroup = Some(PathBuf::from("/nowhere/at/all"));
        let confinement = Confinement { cgroup, ..Confinement::default() };
        let what = confinement.apply(&Writable::default()).unwrap_err();
        assert!(what.starts_with("cgroup=/nowhere/at/all: "), "{what}");
    }
}
