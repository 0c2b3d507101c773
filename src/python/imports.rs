//! The applications' imports. They run one after another on Python's main thread, because some libraries insist on
//! it. If one takes long or never ends, the others are imported on further threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use pyo3::prelude::*;

use super::child;
use super::guard;
use super::logging;
use super::runtime::{Loop, Runtime};
use super::spawn::{STACK, spawn};
use crate::bridge::code::Code;
use crate::bridge::log::{About, LogLine};
use crate::bridge::pipe::output::parts::End;

/// How long an import may hold up those behind it.
const PATIENCE: Duration = Duration::from_secs(1);

/// Imports all applications. Returns when none is left for this thread.
pub(super) fn run(runtime: &Arc<Runtime>) {
    let own = (0..runtime.apps.len()).filter(|at| runtime.worker.config.runs(*at));
    let round = Arc::new(Round::of(own.collect()));
    for at in &round.apps {
        put_off(runtime, *at);
    }
    if round.apps.len() > 1 {
        let (own_runtime, own_round) = (Arc::clone(runtime), Arc::clone(&round));
        beside(runtime, move || help(&own_runtime, &own_round));
    }
    import_rest(runtime, &round);
}

/// The first imports of the applications that this process runs, which several threads share.
struct Round {
    apps: Vec<usize>,
    /// The place among them of the one that the next thread takes.
    next: AtomicUsize,
    /// How many have not ended.
    left: AtomicUsize,
}

impl Round {
    fn of(apps: Vec<usize>) -> Self {
        Self { next: AtomicUsize::new(0), left: AtomicUsize::new(apps.len()), apps }
    }
}

/// Main thread: imports the applications in the queue.
pub(super) fn serve(runtime: &Runtime) {
    while let Some(at) = runtime.imports.next() {
        import(runtime, at);
    }
}

/// Any thread, even the event loop's: has application `at`, whose gate is closed, imported once more. It is imported
/// on the main thread, or, if that is busy with another import, on a thread of its own.
pub(super) fn import_again(runtime: &Arc<Runtime>, at: usize) {
    if runtime.imports.give_to_main(at) {
        return;
    }
    let own_runtime = Arc::clone(runtime);
    if !beside(runtime, move || import(&own_runtime, at)) {
        if let Some(app) = runtime.apps.get(at) {
            app.lose("there was no thread for another attempt to import the application");
            runtime.worker.end_start(at, Err(app.report()));
        }
        open_gate(runtime, at);
    }
}

fn import_rest(runtime: &Runtime, round: &Round) {
    loop {
        let Some(at) = round.apps.get(round.next.fetch_add(1, Ordering::Relaxed)) else { return };
        let at = *at;
        let is_put_off = runtime.worker.marks.died(at).is_some();
        if !is_put_off {
            load(runtime, at);
        }
        // Before requests make objects that are not there to stay.
        if round.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            freeze(runtime);
        }
        if !is_put_off {
            open_gate(runtime, at);
        }
    }
}

/// All applications have been imported, or have failed: with `python_gc_freeze` the collector leaves alone what there
/// is now. What is garbage by now is freed before.
fn freeze(runtime: &Runtime) {
    if runtime.worker.config.python.interpreter.gc_freeze != Some(true) {
        return;
    }
    let frozen = guard::run(|| {
        Python::attach(|py| {
            let collector = py.import("gc")?;
            collector.call_method0("collect")?;
            collector.call_method0("freeze").map(drop)
        })
    });
    if let Ok(Err(error)) = frozen {
        Python::attach(|py| {
            logging::exception(py, &runtime.shim, Code::GcNotFrozen, "python_gc_freeze", &error)
        });
    }
}

/// An import that has killed the last worker is not run at the start: this worker would die, too, before it has
/// served the other applications. Until a request after the pause begins it, its requests are answered 500.
fn put_off(runtime: &Runtime, at: usize) {
    let (Some(app), Some(died)) = (runtime.apps.get(at), runtime.worker.marks.died(at)) else {
        return;
    };
    let put_off = || Python::attach(|py| app.put_off(py, &runtime.shim, died));
    if let Err(panicked) = guard::run(put_off) {
        app.lose(&panicked.to_string());
    }
    runtime.worker.end_start(at, Err(app.report()));
    open_gate(runtime, at);
}

/// Imports one application, and opens its gate whatever happens.
fn import(runtime: &Runtime, at: usize) {
    load(runtime, at);
    open_gate(runtime, at);
}

/// Imports one application. The caller opens its gate.
fn load(runtime: &Runtime, at: usize) {
    let Some(app) = runtime.apps.get(at) else { return };
    let load = || {
        Python::attach(|py| {
            app.load(py, &runtime.shim);
            child::end_here(py, &runtime.shim, None);
        });
    };
    runtime.worker.marks.begin(at);
    let loaded = guard::run(load);
    runtime.worker.marks.end(at);
    if let Err(panicked) = loaded {
        app.lose(&panicked.to_string());
    }
    let started = Python::attach(|py| match (app.callable(py), runtime.loop_of(at)) {
        (None, _) => Some(Err(app.report())),
        (Some(_), None) => Some(Ok(())),
        (Some(_), Some(owner)) => begin_startup(py, runtime, &**owner, at).map(Err),
    });
    if let Some(result) = started {
        runtime.worker.end_start(at, result);
    }
}

/// Has the application's loop begin its startup; it says how that ends. Gives the traceback if it cannot.
fn begin_startup(py: Python<'_>, runtime: &Runtime, owner: &dyn Loop, at: usize) -> Option<String> {
    let error = owner.imported(py, at).err()?;
    let what = "the loop cannot be told of an application";
    Some(logging::exception(py, &runtime.shim, Code::LoopFault, what, &error))
}

fn open_gate(runtime: &Runtime, at: usize) {
    for exchange in runtime.worker.open_gate(at) {
        // A request that has ended meanwhile wants no answer.
        let _gone = exchange.end(None, End::Refused);
    }
}

/// Starts a further importing thread each time that no import has begun for [`PATIENCE`].
fn help(runtime: &Arc<Runtime>, round: &Arc<Round>) {
    let mut before = round.next.load(Ordering::Relaxed);
    while before < round.apps.len() {
        std::thread::sleep(PATIENCE);
        let now = round.next.load(Ordering::Relaxed);
        if now == before && now < round.apps.len() {
            let (own_runtime, own_round) = (Arc::clone(runtime), Arc::clone(round));
            beside(runtime, move || import_rest(&own_runtime, &own_round));
        }
        before = now;
    }
}

/// Starts a thread. False if that fails, which is logged.
fn beside(runtime: &Runtime, work: impl FnOnce() + Send + 'static) -> bool {
    let Err(error) = spawn("pywsgi-import", STACK, work) else { return true };
    let text = format!("a thread for the applications' imports cannot be started: {error}");
    // Without waiting: the event loop may be the caller.
    let _full =
        runtime.worker.events.try_log(LogLine::new(Code::HelperNotStarted, About::Worker, &text));
    false
}
