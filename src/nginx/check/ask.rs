//! nginx's side of the check: forks the supervisor, logs what is reported, and says what is wrong.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use nginx_sys::{NGX_PROCESS_MASTER, NGX_PROCESS_SIGNALLER, ngx_cycle_t, ngx_process};

use super::checker::{self, Work};
use super::record::{Record, Records};
use super::supervisor;
use crate::bridge::code::Code;
use crate::bridge::config::Role;
use crate::nginx::conf::{Check, ConfError, DEFAULT_CHECK, MainConf, Reading};
use crate::nginx::log::{self, HasLog};

/// How often nginx looks whether it has been told to end, or the supervisor has.
const LOOK: libc::c_int = 100;

/// Starts all applications in children, as workers and the processes of each `python_process` would, apart from those
/// whose processes go on. An error if one cannot be started.
pub(in crate::nginx) fn check_applications(reading: &Reading) -> Result<(), ConfError> {
    // SAFETY: the configuration's cycle, and no setter of it runs any more.
    let Some(main) = (unsafe { MainConf::of_cycle(reading.cycle()) }) else { return Ok(()) };
    let Check { enabled, timeout, lifespan } = main.check.unwrap_or(DEFAULT_CHECK);
    // SAFETY: nginx writes it as it starts a process, and nothing else does meanwhile.
    let process = unsafe { ngx_process };
    // `nginx -s reload` reads the configuration as well, and so does the master that it tells to.
    if !enabled || process == NGX_PROCESS_SIGNALLER as usize {
        return Ok(());
    }
    let (cycle, user) = (reading.cycle(), reading.workers_user());
    let is_kept = |role: Role| role.group().is_some_and(|group| main.groups.is_keepable(group));
    let roles = main.groups.roles().filter(|role| main.runs_python(*role) && !is_kept(*role));
    let roles: Vec<_> = roles.collect();
    let mut failures = Vec::new();
    for some in roles.chunks(at_once()) {
        let work = |role| Work { main, role, cycle, user, limit: timeout, lifespan };
        let begun: Vec<_> = some.iter().map(|role| (*role, Child::fork(&work(*role)))).collect();
        for (role, child) in begun {
            let mut outcome = Outcome::new(role);
            let asked = child.and_then(|child| {
                child.read(|record| match record {
                    Record::Line(level, text) => {
                        reading.pass_on(level, &passed_on(main, role, &text));
                    }
                    record => outcome.note(record),
                })
            });
            let asked = asked.map_err(|error| {
                ConfError::new(
                    Code::CheckImpossible,
                    format!(
                        "the applications cannot be checked: {error}; mend this, or write python_check off"
                    ),
                )
            })?;
            if let Asked::Abandoned = asked {
                return Err(ConfError::new(
                    Code::CheckCut,
                    "python_check was cut short, because nginx is told to end",
                ));
            }
            failures.extend(outcome.failures(main, timeout));
        }
    }
    if failures.is_empty() {
        return Ok(());
    }
    for failure in &failures {
        reading.log(Code::CheckFinding, failure);
    }
    let then = if process == NGX_PROCESS_MASTER as usize {
        "the configuration is refused, and the workers go on with the old one"
    } else {
        "the configuration is refused"
    };
    Err(ConfError::new(
        Code::CheckRefused,
        format!(
            "{then}: an application cannot be started (python_check); mend it, or write python_check off to \
             start without it"
        ),
    ))
}

/// A check of the applications of one role, beside other things.
pub(in crate::nginx) struct Running {
    child: Child,
    records: Records,
    outcome: Outcome,
}

impl Running {
    /// Begins it for a process of the configuration that runs, in a process in which no Python runs. `None` if
    /// `python_check` is off.
    ///
    /// # Safety
    ///
    /// The cycle is that of this process, whose configuration is `main`.
    pub(in crate::nginx) unsafe fn begin(
        cycle: *mut ngx_cycle_t,
        main: &MainConf,
        role: Role,
    ) -> io::Result<Option<Self>> {
        let Check { enabled, timeout, lifespan } = main.check.unwrap_or(DEFAULT_CHECK);
        if !enabled {
            return Ok(None);
        }
        // This is the workers' user already.
        let work = Work { main, role, cycle, user: None, limit: timeout, lifespan };
        let child = Child::fork(&work)?;
        Ok(Some(Self { child, records: Records::default(), outcome: Outcome::new(role) }))
    }

    /// Writes what has been reported to a log. When it has ended it says what is wrong.
    pub(in crate::nginx) fn look(
        &mut self,
        main: &MainConf,
        of: &impl HasLog,
    ) -> io::Result<Option<Vec<String>>> {
        let Self { child, records, outcome } = self;
        let role = outcome.role;
        let is_over = child.take(records, 0, |record| match record {
            Record::Line(level, text) => {
                let text = passed_on(main, role, &text);
                // SAFETY: `HasLog` gives a valid log, on nginx's thread.
                unsafe { log::write(of.log(), log::number(level), &text) }
            }
            record => outcome.note(record),
        })?;
        let Check { timeout, .. } = main.check.unwrap_or(DEFAULT_CHECK);
        Ok(is_over.then(|| self.outcome.failures(main, timeout)))
    }
}

/// How many children run at a time.
fn at_once() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// What the checker's module, or an application there, has said: each line says whose it is.
fn passed_on(main: &MainConf, role: Role, text: &str) -> String {
    let (code, text) = match text.strip_prefix("pywsgi[").and_then(|text| text.split_once("]: ")) {
        Some((number, text)) => (format!("pywsgi[{number}]"), text),
        None => (Code::CheckOutput.to_string(), text),
    };
    let whose = main.groups.of(role).map(|group| format!("python_process {}: ", group.name));
    let whose = whose.as_deref().unwrap_or_default();
    let text = text.replace('\n', &format!("\npython_check: {whose}"));
    format!("{code}: python_check: {whose}{text}")
}

/// How the check itself has ended.
enum Asked {
    Answered,
    /// nginx has been told to end meanwhile.
    Abandoned,
}

/// A supervisor, and the pipe that it and the checker write to. Dropped before it has been read, it is ended.
struct Child {
    reader: File,
    supervisor: libc::pid_t,
    /// It has said that it ends, or has ended.
    done: bool,
}

impl Child {
    /// Forks the supervisor.
    fn fork(work: &Work<'_>) -> io::Result<Self> {
        let (reader, writer) = pipe()?;
        // SAFETY: nginx has one thread while it reads its configuration. The child never returns.
        let (nginx, supervisor) = unsafe { (libc::getpid(), libc::fork()) };
        match supervisor {
            0 => {
                drop(reader);
                let check = |pipe| {
                    // SAFETY: the supervisor has forked this process for it.
                    unsafe { checker::run(work, pipe) }
                };
                // SAFETY: this process has just been forked.
                unsafe { supervisor::run(writer, work.limit, nginx, check) }
            }
            -1 => Err(io::Error::last_os_error()),
            supervisor => Ok(Self { reader, supervisor, done: false }),
        }
    }

    /// Gives each record to `take`. The last one is `Ended`, unless the supervisor was killed.
    fn read(mut self, mut take: impl FnMut(Record)) -> io::Result<Asked> {
        let mut records = Records::default();
        let mut asked = Asked::Answered;
        while !self.take(&mut records, LOOK, &mut take)? {
            if is_told_to_end() {
                asked = Asked::Abandoned;
                end(self.supervisor);
            }
        }
        Ok(asked)
    }

    /// Gives the records that there are to `take`, for the first of which it waits so many milliseconds. Says whether the
    /// last one was among them.
    fn take(
        &mut self,
        records: &mut Records,
        wait: libc::c_int,
        mut take: impl FnMut(Record),
    ) -> io::Result<bool> {
        // Asked before the pipe is read for the last time.
        let gone = wait_readable(&self.reader, wait)? == 0 && has_ended(self.supervisor);
        let closed = read_all(&mut self.reader, records)?;
        let mut ended = false;
        while let Some(record) = records.next()? {
            ended |= matches!(record, Record::Ended(_));
            take(record);
        }
        self.done |= ended || gone || closed;
        Ok(self.done)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if !self.done {
            end(self.supervisor);
        }
        // It has ended, or is about to. An error: nginx's handler of SIGCHLD was first.
        // SAFETY: a child of this process, and no status is asked for.
        unsafe { libc::waitpid(self.supervisor, std::ptr::null_mut(), 0) };
    }
}

/// Has the supervisor end the checker, and then itself.
fn end(supervisor: libc::pid_t) {
    // SAFETY: a plain system call. Nobody but nginx's handler of SIGCHLD may have waited for it.
    unsafe { libc::kill(supervisor, libc::SIGTERM) };
}

/// A pipe whose reading end never waits.
fn pipe() -> io::Result<(File, File)> {
    let mut ends = [0; 2];
    // SAFETY: room for two descriptors, which the files own from here on.
    unsafe {
        if libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) != 0 {
            return Err(io::Error::last_os_error());
        }
        let [reader, writer] = ends.map(|end| File::from(OwnedFd::from_raw_fd(end)));
        if libc::fcntl(reader.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok((reader, writer))
    }
}

/// Waits for a while until there is something to read; 0 if there is nothing.
fn wait_readable(reader: &File, milliseconds: libc::c_int) -> io::Result<libc::c_int> {
    let mut poll = libc::pollfd { fd: reader.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one structure, which is this function's own.
    let ready = unsafe { libc::poll(&raw mut poll, 1, milliseconds) };
    let error = io::Error::last_os_error();
    if ready < 0 && error.kind() != ErrorKind::Interrupted {
        return Err(error);
    }
    Ok(ready.max(0))
}

/// Reads what there is; says whether nobody is left who could write more.
fn read_all(reader: &mut File, records: &mut Records) -> io::Result<bool> {
    let mut buffer = [0; 16 * 1024];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(true),
            Ok(length) => records.push(buffer.get(..length).unwrap_or_default()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Whether the supervisor has ended, which is then waited for.
fn has_ended(supervisor: libc::pid_t) -> bool {
    // SAFETY: a child of this process, and no status is asked for. An error: nginx's handler of SIGCHLD was first.
    unsafe { libc::waitpid(supervisor, std::ptr::null_mut(), libc::WNOHANG) != 0 }
}

/// Whether nginx has been told to end. The master blocks these signals while it reads a configuration; otherwise they
/// end it at once.
fn is_told_to_end() -> bool {
    // SAFETY: all fields of a sigset_t are numbers; the set is this function's own.
    unsafe {
        let mut pending: libc::sigset_t = mem::zeroed();
        libc::sigpending(&raw mut pending);
        [libc::SIGTERM, libc::SIGINT, libc::SIGQUIT]
            .into_iter()
            .any(|signal| libc::sigismember(&raw const pending, signal) == 1)
    }
}

/// What has been reported of the applications of a role.
#[derive(Debug)]
struct Outcome {
    role: Role,
    unconfined: Option<String>,
    failed: Vec<(usize, String)>,
    late: Vec<usize>,
    checked: bool,
    /// The checker's status (wait(2)).
    status: Option<i32>,
}

impl Outcome {
    fn new(role: Role) -> Self {
        Self {
            role,
            unconfined: None,
            failed: Vec::new(),
            late: Vec::new(),
            checked: false,
            status: None,
        }
    }

    fn note(&mut self, record: Record) {
        match record {
            Record::Unconfined(what) => self.unconfined = Some(what),
            Record::Failed(app, report) => self.failed.push((app, report)),
            Record::Late(app) => self.late.push(app),
            Record::Checked => self.checked = true,
            Record::Ended(status) => self.status = Some(status),
            Record::Line(..) => {}
        }
    }

    /// What is wrong, each with the directive and its place.
    fn failures(&self, main: &MainConf, timeout: Duration) -> Vec<String> {
        // The modules of python_import first: the applications may fail because of one.
        let mut failed: Vec<_> = self.failed.iter().collect();
        failed.sort_by_key(|(number, _)| main.is_app(*number));
        let failed = failed.into_iter().map(|(app, report)| {
            let done = if main.is_app(*app) { "started" } else { "imported" };
            let what = format!("cannot be {done}, as the workers' user; its traceback follows");
            format!("{}\n{report}", main.error_of(self.role, *app, &what))
        });
        // All that comes after a module of python_import waits for it.
        let module = self.late.iter().find(|number| !main.is_app(**number));
        let late = module.map_or(&self.late[..], std::slice::from_ref);
        let late = late.iter().map(|app| {
            let what = format!(
                "has not started within {} s (python_check timeout); where its threads are is said above",
                timeout.as_secs_f64()
            );
            main.error_of(self.role, *app, &what)
        });
        let unconfined = self.unconfined.iter().map(|what| main.unconfined(self.role, what));
        unconfined.chain(failed).chain(late).chain(self.lost(main)).collect()
    }

    /// What has become of a checker that ended before its time.
    fn lost(&self, main: &MainConf) -> Vec<String> {
        if self.checked {
            return Vec::new();
        }
        let how = match self.status {
            Some(status) if libc::WIFEXITED(status) => {
                format!(
                    "ends the process that imports it, with exit code {}",
                    libc::WEXITSTATUS(status)
                )
            }
            Some(status) if status >= 0 && libc::WTERMSIG(status) == libc::SIGKILL => {
                "hangs, or was killed (signal 9)".to_owned()
            }
            Some(status) if status >= 0 => {
                format!("ends the process that imports it, by signal {}", libc::WTERMSIG(status))
            }
            _ => "ends all processes that check it".to_owned(),
        };
        match &*main.imported_by_check(self.role) {
            [] => {
                vec![main.error_of(self.role, usize::MAX, &format!("Python, as it starts, {how}"))]
            }
            [app] => vec![main.error_of(self.role, *app, &how)],
            several => {
                let how = format!("or another one that was imported at the same time, {how}");
                several.iter().map(|app| main.error_of(self.role, *app, &how)).collect()
            }
        }
    }
}
