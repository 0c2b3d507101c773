//! The applications' imports: one after another on Python's main thread, where libraries that insist on it
//! find it. One that takes long, or never ends, holds up only itself: the others are then imported on
//! threads beside.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use pyo3::prelude::*;

use super::fork;
use super::runtime::Runtime;
use super::signals;
use super::spawn::{self, STACK, spawn};
use crate::bridge::log::{About, Level, LogLine};
use crate::bridge::panics;
use crate::bridge::pipe::output::End;

/// How long an import may hold up those behind it.
const PATIENCE: Duration = Duration::from_secs(1);

/// What the main thread does after the first imports: those that are tried again.
#[derive(Default)]
pub(super) struct Imports {
    queue: Mutex<Queue>,
    runtime: OnceLock<Weak<Runtime>>,
}

#[derive(Default)]
struct Queue {
    apps: VecDeque<usize>,
    /// The main thread has nothing to do.
    idle: bool,
}

/// Imports all applications; comes back when this thread has none left to do.
pub(super) fn run(runtime: &Arc<Runtime>) {
    // There is one main thread, which comes by once.
    let _first = runtime.imports.runtime.set(Arc::downgrade(runtime));
    for at in 0..runtime.apps.len() {
        put_off(runtime, at);
    }
    let next = Arc::new(AtomicUsize::new(0));
    if runtime.apps.len() > 1 {
        let (own_runtime, own_next) = (Arc::clone(runtime), Arc::clone(&next));
        beside(runtime, move || help(&own_runtime, &own_next));
    }
    import_rest(runtime, &next);
}

/// Main thread: imports what is tried again.
pub(super) fn serve(runtime: &Runtime) {
    while let Some(at) = runtime.imports.next() {
        import(runtime, at);
    }
}

/// Any thread, even the event loop's: has application `at`, whose gate is closed, imported once more. On the
/// main thread, unless that is busy with another import.
pub(super) fn import_again(runtime: &Runtime, at: usize) {
    if runtime.imports.give_to_main(at) {
        return;
    }
    let own_runtime = runtime.imports.runtime.get().and_then(Weak::upgrade);
    let started = own_runtime.is_some_and(|own| beside(runtime, move || import(&own, at)));
    if !started {
        if let Some(app) = runtime.apps.get(at) {
            app.lose("there was no thread for another attempt to import the application");
        }
        open_gate(runtime, at);
    }
}

impl Imports {
    fn give_to_main(&self, at: usize) -> bool {
        let mut queue = self.queue();
        let idle = std::mem::take(&mut queue.idle);
        if idle {
            queue.apps.push_back(at);
            signals::wake_main();
        }
        idle
    }

    /// What the main thread imports next; `None`: it has nothing to do until it is woken.
    fn next(&self) -> Option<usize> {
        let mut queue = self.queue();
        let next = queue.apps.pop_front();
        queue.idle = next.is_none();
        next
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn import_rest(runtime: &Runtime, next: &AtomicUsize) {
    loop {
        let at = next.fetch_add(1, Ordering::Relaxed);
        if at >= runtime.apps.len() {
            return;
        }
        if runtime.worker.marks.died(at).is_none() {
            import(runtime, at);
        }
    }
}

/// An import that has killed the last worker waits for a request after its pause, lest this one dies as well
/// before it has served the other applications. Until then its requests are answered 500.
fn put_off(runtime: &Runtime, at: usize) {
    let (Some(app), Some(died)) = (runtime.apps.get(at), runtime.worker.marks.died(at)) else {
        return;
    };
    let put_off = || Python::attach(|py| app.put_off(py, runtime, died));
    if let Err(panicked) = panics::catch(put_off) {
        app.lose(&panicked.to_string());
        spawn::say(&runtime.worker, &panicked);
    }
    open_gate(runtime, at);
}

/// Imports one application. Whatever happens, its requests go on afterwards.
fn import(runtime: &Runtime, at: usize) {
    let Some(app) = runtime.apps.get(at) else { return };
    let load = || {
        Python::attach(|py| {
            app.load(py, runtime);
            if fork::is_child() {
                fork::leave(py, runtime, None);
            }
        });
    };
    runtime.worker.marks.begin(at);
    let loaded = panics::catch(load);
    runtime.worker.marks.end(at);
    if let Err(panicked) = loaded {
        app.lose(&panicked.to_string());
        spawn::say(&runtime.worker, &panicked);
    }
    open_gate(runtime, at);
}

fn open_gate(runtime: &Runtime, at: usize) {
    for exchange in runtime.worker.open_gate(at) {
        // A request that has ended meanwhile wants no answer.
        let _gone = exchange.end(None, End::Refused);
    }
}

/// Starts one more importer whenever no import has begun for a while.
fn help(runtime: &Arc<Runtime>, next: &Arc<AtomicUsize>) {
    let mut before = next.load(Ordering::Relaxed);
    while before < runtime.apps.len() {
        std::thread::sleep(PATIENCE);
        let now = next.load(Ordering::Relaxed);
        if now == before && now < runtime.apps.len() {
            let (own_runtime, own_next) = (Arc::clone(runtime), Arc::clone(next));
            beside(runtime, move || import_rest(&own_runtime, &own_next));
        }
        before = now;
    }
}

/// Starts a thread; false where that fails, and is in the log.
fn beside(runtime: &Runtime, work: impl FnOnce() + Send + 'static) -> bool {
    let Err(error) = spawn(&runtime.worker, "pywsgi-import", STACK, work) else { return true };
    let text = format!("a thread for the applications' imports cannot be started: {error}");
    // Not waited for: it may be the event loop that asks.
    let _full =
        runtime.worker.events.try_log(LogLine { level: Level::Alert, about: About::Worker, text });
    false
}
