//! The checker: a process that starts Python and the applications as a worker does, and reports what comes of it.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nginx_sys::{ngx_cycle_t, ngx_set_environment};

use super::record::Record;
use crate::bridge::baton::Baton;
use crate::bridge::config::{OutputConfig, Purpose, Role, WorkerConfig};
use crate::bridge::exchange::Worker;
use crate::bridge::log::Level;
use crate::bridge::panics;
use crate::bridge::starts::Start;
use crate::bridge::tasks::Task;
use crate::metrics::board::Meters;
use crate::nginx::children;
use crate::nginx::conf::checks::access::{self, User};
use crate::nginx::conf::{self, MainConf};
use crate::nginx::signals;

/// How often the lines of the log are passed on.
const SLICE: Duration = Duration::from_millis(5);

/// How long the interpreter may take to say where its threads are.
const LOOK: Duration = Duration::from_secs(2);

/// The lowest number of the descriptors that the check needs itself, if so many are allowed: an import may close what
/// it takes for its own (`os.closerange`).
const OWN_DESCRIPTORS: usize = 900;

/// What the checker has to do.
pub(super) struct Work<'a> {
    pub(super) main: &'a MainConf,
    /// What the worker is for whose start is tried.
    pub(super) role: Role,
    /// That of the configuration that nginx reads.
    pub(super) cycle: *mut ngx_cycle_t,
    pub(super) user: Option<User>,
    /// For all starts together.
    pub(super) limit: Duration,
    /// The startups of ASGI's applications are a part of their starts.
    pub(super) lifespan: bool,
}

/// Checks, and reports to `pipe`.
///
/// # Safety
///
/// The calling process has been forked for this, has one thread, and ends after it.
pub(super) unsafe fn run(work: &Work<'_>, pipe: File) {
    panics::watch();
    // SAFETY: as the caller says.
    let checked = panics::catch(|| unsafe { check(work, pipe) });
    // Who reads finds that it has ended too early, and where its standard error is that says why.
    match checked {
        Ok(Ok(())) => {}
        Ok(Err(error)) => say_last(&error.to_string()),
        Err(panicked) => say_last(&panicked.to_string()),
    }
}

fn say_last(what: &str) {
    // If that fails there is no other place for it.
    let _lost = writeln!(io::stderr(), "python_check: {what}");
}

/// # Safety
///
/// As for [`run`].
unsafe fn check(work: &Work<'_>, pipe: File) -> io::Result<()> {
    // SAFETY: this process has one thread, and does not go back to nginx's code.
    let mut pipe = unsafe {
        let pipe = keep_only(pipe)?;
        become_worker(work)?;
        pipe
    };
    if let Some(group) = work.main.groups.of(work.role) {
        // SAFETY: the cycle is that of the configuration that nginx reads.
        let logs = unsafe { conf::log_folders(work.cycle) };
        let own = work.main.groups.writable(work.role, logs);
        if let Err(what) = group.confinement.apply(&own) {
            Record::Unconfined(what).write(&mut pipe)?;
            return Record::Checked.write(&mut pipe);
        }
    }
    let config = config(work);
    // worker_rlimit_nofile may have lowered the limit. Its bell, and one for each of asyncio's event loops.
    let own = 1 + config.loops.len();
    let worker = Arc::new(Worker::new(
        config,
        work.main.marks_of_check(work.role),
        Baton::new(None, 0),
        Meters::default(),
        children::descriptor_below_limit(OWN_DESCRIPTORS, own),
    )?);
    signals::with_those_of_threads_blocked(|| crate::start_python(Arc::clone(&worker)))?;
    let in_time = wait(&worker, &mut pipe, work.limit)?;
    for (app, start) in worker.starts.all().into_iter().enumerate() {
        match start {
            Start::Started => {}
            Start::Failed(report) => Record::Failed(app, report).write(&mut pipe)?,
            Start::Starting => Record::Late(app).write(&mut pipe)?,
        }
    }
    Record::Checked.write(&mut pipe)?;
    if in_time {
        end_python(&worker);
    }
    Ok(())
}

/// That of a worker. Without `lifespan`, ASGI's applications are imported and no more.
fn config(work: &Work<'_>) -> WorkerConfig {
    let mut config = work.main.worker_config(work.role);
    config.purpose = Purpose::Check;
    // It has a time limit of its own.
    config.deadlock_timeout = None;
    // Whoever has asked is told all of it.
    config.output = OutputConfig::default();
    if !work.lifespan {
        config.apps.iter_mut().for_each(|app| app.skip_lifespan());
    }
    config
}

/// Waits until all starts have ended; says whether they have within `limit`.
fn wait(worker: &Worker, pipe: &mut File, limit: Duration) -> io::Result<bool> {
    if pass_lines_until(worker, pipe, limit, |slice| worker.starts.wait(slice))? {
        return Ok(true);
    }
    let what = format!("after {} s", limit.as_secs_f64());
    let logged = Arc::new(AtomicBool::new(false));
    worker.tasks.push(Task::LogThreads(what, Arc::clone(&logged)));
    let is_logged = |slice| {
        let before = logged.load(Ordering::Acquire);
        std::thread::sleep(slice);
        before
    };
    pass_lines_until(worker, pipe, LOOK, is_logged)?;
    Ok(false)
}

/// Ends Python, so that nothing is left that its end removes (temporary files). What is said meanwhile is about a worker's
/// exit, and of no use here: a thread that runs on is no fault of an import.
fn end_python(worker: &Worker) {
    worker.set_stopping();
    worker.stop();
    let deadline =
        Instant::now() + worker.config.python.finalize_timeout + worker.longest_shutdown();
    // If it has not ended by then, the supervisor ends it.
    while worker.wait_stopped(SLICE).is_none() && Instant::now() < deadline {
        drop(worker.events.take_lines());
    }
}

/// Passes on what is logged, until `done(slice)`, which waits for at most so long, or `limit` is over; says whether it
/// is done.
fn pass_lines_until(
    worker: &Worker,
    pipe: &mut File,
    limit: Duration,
    done: impl Fn(Duration) -> bool,
) -> io::Result<bool> {
    let deadline = Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let is_done = done(left.min(SLICE));
        for line in worker.events.take_lines() {
            // What is said of a start that succeeds would be said again by each worker.
            let level = if line.level == Level::Notice { Level::Info } else { line.level };
            Record::Line(level, line.text).write(pipe)?;
        }
        if is_done || left.is_zero() {
            return Ok(is_done);
        }
    }
}

/// Closes all descriptors but the standard ones and the pipe, which gets a number that imports do not meet; nothing
/// comes from the standard input, and the standard output goes where errors go.
///
/// # Safety
///
/// Nothing in this process uses any of nginx's descriptors any more.
unsafe fn keep_only(pipe: File) -> io::Result<File> {
    // SAFETY: as the caller says; the pipe's number is its own.
    unsafe {
        let least = children::descriptor_below_limit(OWN_DESCRIPTORS, 1);
        let moved = libc::fcntl(pipe.as_raw_fd(), libc::F_DUPFD_CLOEXEC, least);
        // There may be a lower limit of descriptors.
        let own = if moved < 0 { pipe.as_raw_fd() } else { moved };
        children::close_but(own);
        let nothing = libc::open(c"/dev/null".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
        if nothing < 0
            || libc::dup2(nothing, libc::STDIN_FILENO) < 0
            || libc::dup2(libc::STDERR_FILENO, libc::STDOUT_FILENO) < 0
        {
            return Err(io::Error::last_os_error());
        }
        libc::close(nothing);
        if moved >= 0 {
            // The original is closed already.
            std::mem::forget(pipe);
            return Ok(File::from_raw_fd(moved));
        }
    }
    Ok(pipe)
}

/// What nginx does for a worker as it starts (`ngx_worker_process_init`), as far as an import meets it.
///
/// # Safety
///
/// As for [`run`].
unsafe fn become_worker(work: &Work<'_>) -> io::Result<()> {
    // SAFETY: the cycle is that of the configuration that nginx reads, and this process has one thread.
    unsafe {
        let core = conf::nginx_core_conf(work.cycle);
        reset_signals();
        libc::setsid();
        if let Ok(files) = libc::rlim_t::try_from(core.rlimit_nofile) {
            let limit = libc::rlimit { rlim_cur: files, rlim_max: files };
            // As in a worker, which keeps the limit that it has.
            let _refused = libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
        }
        if work.user.is_some_and(|user| !access::become_user(user)) {
            return Err(io::Error::last_os_error());
        }
        let directory = core.working_directory;
        if directory.len > 0 && libc::chdir(directory.data.cast()) != 0 {
            return Err(io::Error::last_os_error());
        }
        ngx_set_environment(work.cycle, std::ptr::null_mut());
        work.main.set_environment(work.role);
    }
    Ok(())
}

/// What nginx's own process does on a signal is not the checker's.
fn reset_signals() {
    // SAFETY: all fields of a sigset_t are numbers.
    let mut none: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is this function's own; no handler of nginx's is needed in this process.
    unsafe {
        for signal in 1..=libc::SIGRTMAX() {
            // Fails for SIGKILL and SIGSTOP, and for the C library's own.
            libc::signal(signal, libc::SIG_DFL);
        }
        // As in a worker.
        libc::signal(libc::SIGPIPE, libc::SIG_IGN);
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
        libc::sigemptyset(&raw mut none);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}
