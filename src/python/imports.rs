//! The applications' first imports: one after another on Python's main thread, where libraries that insist
//! on it find it. One that takes long, or never ends, holds up only itself: the others are then imported
//! on threads beside.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use pyo3::prelude::*;

use super::main_thread::STACK;
use super::runtime::Runtime;
use crate::bridge::events::{Level, LogLine};
use crate::bridge::output::End;

/// How long an import may hold up those behind it.
const PATIENCE: Duration = Duration::from_secs(1);

/// Imports all applications; comes back when this thread has none left to do.
pub(super) fn run(runtime: &Arc<Runtime>) {
    let next = Arc::new(AtomicUsize::new(0));
    if runtime.apps.len() > 1 {
        let (own_runtime, own_next) = (Arc::clone(runtime), Arc::clone(&next));
        beside(runtime, move || help(&own_runtime, &own_next));
    }
    import_rest(runtime, &next);
}

fn import_rest(runtime: &Runtime, next: &AtomicUsize) {
    loop {
        let at = next.fetch_add(1, Ordering::Relaxed);
        let Some(app) = runtime.apps.get(at) else { return };
        Python::attach(|py| app.load(py, runtime));
        for job in runtime.worker.open_gate(at) {
            // A request that has ended meanwhile wants no answer.
            let _gone = job.end(None, End::Refused);
        }
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

fn beside(runtime: &Runtime, work: impl FnOnce() + Send + 'static) {
    let builder = std::thread::Builder::new().name("pywsgi-import".to_owned()).stack_size(STACK);
    if let Err(error) = builder.spawn(work) {
        let text = format!("a thread for the applications' imports cannot be started: {error}");
        runtime.worker.events.log(LogLine { level: Level::Alert, request: None, text });
    }
}
