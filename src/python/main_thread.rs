//! Python's main thread: starts the interpreter, imports the applications, and ends the interpreter.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use pyo3::prelude::*;

use super::attendant;
use super::exit;
use super::fork;
use super::guard;
use super::imports;
use super::interp::Interpreter;
use super::libraries;
use super::logging;
use super::modules;
use super::reload;
use super::run::asyncio::LoopThread;
use super::run::inline::{self, EventLoop};
use super::run::{dispatch, loops, threads};
use super::runtime::Runtime;
use super::shim;
use super::signals::{self, Ending, Until};
use super::spawn::{STACK, spawn};
use super::{sys, thread_state, watchdog};
use crate::bridge::code::Code;
use crate::bridge::config::{Purpose, PythonConfig};
use crate::bridge::exchange::Worker;
use crate::bridge::log::{About, LogLine};
use crate::bridge::panics;
use crate::bridge::tasks::Task;
use crate::bridge::worker::Stopped;

/// Starts the main thread of a worker, which starts all others. The caller has blocked the signals that nginx uses.
pub(crate) fn start(worker: &Arc<Worker>) -> io::Result<()> {
    logging::connect(worker);
    let own = Arc::clone(worker);
    spawn("pywsgi-main", STACK, move || run(&own)).map(drop)
}

/// If this thread panics no request waits for ever: the gates are opened, and requests are answered 500.
fn run(worker: &Arc<Worker>) {
    let begun = panics::catch(|| begin(worker));
    let (interpreter, runtime, main_loop) =
        match begun.unwrap_or_else(|panicked| Err(panicked.to_string())) {
            Ok(begun) => begun,
            Err(what) => return fail(worker, &what),
        };
    let mut attendant = None;
    let served = panics::catch(|| {
        let until = Arc::new(Until::default());
        attendant = attendant::start(&runtime, Ending(Arc::clone(&until)));
        if let Some(limit) = worker.config.deadlock_timeout.filter(|_| attendant.is_some()) {
            watch(&runtime, limit);
        }
        if worker.config.purpose == Purpose::Serve && attendant.is_some() {
            reload::start(worker);
        }
        modules::import(&runtime);
        imports::run(&runtime);
        if let Some(main_loop) = main_loop {
            signals::while_unblocked(&worker.config.python.signals, || {
                Python::attach(|py| {
                    main_loop.run(py);
                    drop(main_loop);
                });
            });
        }
        match attendant {
            Some(_) => {
                let signals = &worker.config.python.signals;
                until.wait(&runtime.shim, signals, || imports::serve(&runtime));
            }
            None => attendant::serve(&runtime),
        }
    });
    let broken = served.err().map(|panicked| set_broken(worker, &panicked.to_string()));
    match attendant {
        // It ends when the worker stops. If it has panicked, it has logged that, and nothing changes here.
        Some(attendant) => drop(attendant.join()),
        None if broken.is_some() => await_stop(worker),
        None => {}
    }
    if broken.is_some() {
        worker.set_stopped(Stopped::ThreadsLeft);
        return;
    }
    if guard::run(|| end(worker, interpreter, runtime)).is_err() {
        worker.set_stopped(Stopped::ThreadsLeft);
    }
}

/// Starts the watchdog, and prepares what it needs of Python.
fn watch(runtime: &Runtime, limit: Duration) {
    Python::attach(|py| {
        let prepared = shim::function(py, "pywsgi._stacks", "dump_at")
            .and_then(|dump_at| dump_at.call1((watchdog::dump_signal(),)));
        if let Err(error) = prepared {
            let what = "python_deadlock_timeout: faulthandler cannot be prepared";
            logging::exception(py, &runtime.shim, Code::WatchdogNotPrepared, what, &error);
            return;
        }
        watchdog::start(&runtime.worker, limit);
    });
}

/// The interpreter, what all threads share, and the loop that the main thread runs, if it has one.
type Begun = (Interpreter, Arc<Runtime>, Option<Arc<LoopThread>>);

/// Starts the interpreter, the first threads of the pools, and the loops. An error is a sentence for the log.
fn begin(worker: &Arc<Worker>) -> Result<Begun, String> {
    fork::watch();
    exit::watch();
    worker.on_bell_lost(exit::descriptor_lost);
    if let Err(error) = set_umask(worker.config.python.umask) {
        let text = format!(
            "the umask and the current directory of Python's threads are the whole worker's, nginx's as well: \
             unshare(CLONE_FS) failed: {error}"
        );
        worker.events.log(LogLine::new(Code::DirectoryShared, About::Worker, &text));
    }
    if let Err(what) = enter_directory(&worker.config.python) {
        worker.events.log(LogLine::new(Code::DirectoryNotEntered, About::Worker, &what));
    }
    // A `worker_priority` above the usual one (nice below 0) is for the event loop, which needs a processor for
    // short whiles and at once; applications compute as they would in a server of their own. The threads that this
    // one starts inherit it.
    sys::give_up_priority();
    let interpreter = Interpreter::start(&worker.config.python)
        .map_err(|what| format!("Python cannot be initialised: {what}"))?;
    let runtime = Python::attach(|py| {
        libraries::find_own_first(py)?;
        Runtime::new(py, worker)
    })
    .map_err(|error| format!("Python cannot be prepared: {error}"))?;
    if worker.config.purpose == Purpose::Serve {
        Python::attach(|py| introduce(py, worker));
    }
    worker.inline.set_runner(EventLoop::new(&runtime));
    for pool in &worker.pools {
        if pool.grow() {
            threads::spawn(&runtime, pool);
        }
    }
    let main_loop = loops::start(&runtime);
    if !worker.loops.is_empty() {
        worker.tasks.look_at_loops(attendant::look_period(worker.config.stall_warning));
    }
    Ok((interpreter, runtime, main_loop))
}

/// Logs the versions and the home.
fn introduce(py: Python<'_>, worker: &Worker) {
    let python = py.version_info();
    let home = match &worker.config.python.home {
        Some(home) => format!("python_home \"{}\"", home.display()),
        None => "no python_home".to_owned(),
    };
    let group = worker.config.role.group().and_then(|at| worker.config.groups.get(at));
    let group = group.map(|group| format!(", python_process \"{}\"", group.name));
    let text = format!(
        "pywsgi {} with Python {}.{}.{}{}, {home}{}",
        env!("CARGO_PKG_VERSION"),
        python.major,
        python.minor,
        python.patch,
        python.suffix.unwrap_or_default(),
        group.unwrap_or_default(),
    );
    logging::write(py, Code::Started, &text);
}

/// Gives Python's threads a umask and a current directory apart from the event loop's. nginx's umask is 0, because it
/// sets the mode of each file that it makes. The threads that this one starts share them. If a container refuses that,
/// the umask is set for the whole worker: applications must not make files that everybody may write.
fn set_umask(umask: u32) -> io::Result<()> {
    let unshared = sys::unshare_directory();
    sys::set_umask(umask);
    unshared
}

/// `python_working_directory`, for the calling thread and those that it starts. An error is a sentence for the log.
fn enter_directory(python: &PythonConfig) -> Result<(), String> {
    let Some(directory) = &python.directory else { return Ok(()) };
    std::env::set_current_dir(directory).map_err(|error| {
        format!(
            "python_working_directory \"{}\" cannot be entered: {error}; the applications run in nginx's current \
             directory",
            directory.display()
        )
    })
}

/// Python did not start. nginx continues without it, and requests are answered 500.
fn fail(worker: &Worker, what: &str) {
    set_broken(worker, what);
    await_stop(worker);
    worker.set_stopped(Stopped::ThreadsLeft);
}

fn set_broken(worker: &Worker, what: &str) {
    worker.give_up_starts(what);
    if worker.config.purpose == Purpose::Serve {
        let text = format!("{what}; the applications of this worker answer 500");
        worker.events.log(LogLine::new(Code::PythonBroken, About::Worker, &text));
    }
    for exchange in worker.set_broken() {
        dispatch::fail(&exchange);
    }
}

/// Takes the event loop's tasks, and drops them, until the worker stops: there is no attendant.
fn await_stop(worker: &Worker) {
    while !matches!(worker.tasks.next(), Task::Stop) {}
}

/// Ends Python as far as possible. The event loop waits for that only so long (`python_finalize`).
fn end(worker: &Arc<Worker>, interpreter: Interpreter, runtime: Arc<Runtime>) {
    let python = &worker.config.python;
    // Half of the time is for the threads, the other half for `atexit`.
    let patience = python.finalize_timeout / 2;
    let ended = worker.wait_ended(patience);
    if !python.finalize {
        worker.set_stopped(Stopped::ThreadsLeft);
        return;
    }
    if !ended {
        let text = format!(
            "after {} ms (half of python_finalize's timeout) applications still run; atexit's functions are \
             called, and the worker exits without the rest",
            patience.as_millis(),
        );
        logging::write_threads(&runtime.shim, Code::ApplicationsRunAtExit, &text);
    }
    let watch = Watch::start(&runtime, patience / 2);
    Python::attach(|py| {
        if let Err(error) = runtime.shim.exit.call0(py) {
            logging::exception(py, &runtime.shim, Code::ExitRaised, "atexit", &error);
        }
    });
    drop(watch);
    let alone = Python::attach(|py| {
        drop(runtime);
        thread_state::count(py) == 1 + usize::from(inline::has_thread_state())
    });
    if ended && alone {
        if !interpreter.finalize() {
            let text = "Python could not write all of its output as it ended";
            worker.events.log(LogLine::new(Code::OutputLostAtExit, About::Worker, text));
        }
        worker.set_stopped(Stopped::Finalized);
    } else {
        worker.set_stopped(Stopped::ThreadsLeft);
    }
}

/// Logs which threads Python's end waits for, if it takes long.
struct Watch {
    /// Python has ended when this is dropped.
    over: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    fn start(runtime: &Arc<Runtime>, patience: Duration) -> Self {
        let (over, ended) = mpsc::channel();
        let runtime = Arc::clone(runtime);
        let watch = move || {
            if ended.recv_timeout(patience) == Err(RecvTimeoutError::Timeout) {
                let text = "Python does not end (python_finalize): a thread that is no daemon, or a function of \
                            atexit's, is waited for";
                logging::write_threads(&runtime.shim, Code::ExitWaits, text);
            }
            Python::attach(|_| drop(runtime));
        };
        // If it cannot be started the worker still ends; only the log lines are missing.
        Self { over: Some(over), thread: spawn("pywsgi-watch", STACK, watch).ok() }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.over = None;
        // A panic is in the log.
        self.thread.take().map(JoinHandle::join);
    }
}
