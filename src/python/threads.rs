//! The threads of a pool.

use std::io;
use std::sync::Arc;

use pyo3::prelude::*;

use super::dispatch;
use super::main_thread::STACK;
use super::runtime::Runtime;
use super::wsgi::Kit;
use crate::bridge::events::{Level, LogLine};
use crate::bridge::pool::{Next, Pool, Seat, Turn};
use crate::bridge::tasks::Tasks;

/// Starts a thread that [`Pool::grow`] or [`Pool::take`] has counted. All signals are blocked in the
/// caller, and so in the thread.
pub(super) fn spawn(runtime: &Arc<Runtime>, pool: &Arc<Pool>) {
    if let Err(error) = start(runtime, pool) {
        let none_left = pool.shrink(&Turn::default());
        let text = format!(
            "a thread of python_thread_pool \"{}\" cannot be started: {error}{}",
            pool.config.name,
            if none_left { "; it has none, and this is tried again every second" } else { "" },
        );
        // Not waited for: the caller may be attached.
        let _full =
            runtime.worker.events.try_log(LogLine { level: Level::Alert, request: None, text });
        if none_left {
            runtime.worker.tasks.grow_later(Arc::clone(pool));
        }
    }
}

/// Attendant: tries again to start the first thread of a pool. It has been said that there is none.
pub(super) fn spawn_again(runtime: &Arc<Runtime>, pool: &Arc<Pool>) {
    if !pool.grow() {
        return;
    }
    match start(runtime, pool) {
        Ok(()) => {
            let text = format!("python_thread_pool \"{}\" has a thread now", pool.config.name);
            runtime.worker.events.log(LogLine { level: Level::Notice, request: None, text });
        }
        Err(_) => {
            if pool.shrink(&Turn::default()) {
                runtime.worker.tasks.grow_later(Arc::clone(pool));
            }
        }
    }
}

fn start(runtime: &Arc<Runtime>, pool: &Arc<Pool>) -> io::Result<()> {
    let (own_runtime, own_pool) = (Arc::clone(runtime), Arc::clone(pool));
    std::thread::Builder::new()
        .name(format!("py-{}", pool.config.name))
        .stack_size(pool.config.stack.unwrap_or(STACK))
        .spawn(move || run(own_runtime, &own_pool))
        .map(drop)
}

/// Takes the thread off its pool should it unwind.
struct Membership<'p> {
    pool: &'p Arc<Pool>,
    tasks: &'p Tasks,
    turn: Turn,
    ended: bool,
}

impl Drop for Membership<'_> {
    fn drop(&mut self) {
        if !self.ended && self.pool.shrink(&self.turn) {
            self.tasks.grow_later(Arc::clone(self.pool));
        }
    }
}

fn run(runtime: Arc<Runtime>, pool: &Arc<Pool>) {
    let worker = Arc::clone(&runtime.worker);
    let tasks = &worker.tasks;
    let mut membership = Membership { pool, tasks, turn: Turn::default(), ended: false };
    Python::attach(|py| {
        let seat = Seat::new();
        // The thread keeps its Python thread state, and what the application has bound to it
        // (threading.local), until it ends.
        let ident = thread_ident(py);
        let mut kit = Kit::new();
        loop {
            match pool.take(&mut membership.turn) {
                Next::Run { job, grow } => {
                    if grow {
                        spawn(&runtime, pool);
                    }
                    let rest = dispatch::run(py, &runtime, &job, ident, &mut kit);
                    debug_assert!(rest.is_none(), "only inline is anything left");
                    // Its memory is given back before the thread rests.
                    drop(job);
                }
                Next::Rest => {
                    let turn = &mut membership.turn;
                    py.detach(|| pool.rest(&seat, turn));
                }
                Next::End => {
                    membership.ended = true;
                    break;
                }
            }
        }
        // Before the interpreter ends.
        drop((runtime, kit));
    });
}

/// `threading.get_ident()`
fn thread_ident(py: Python<'_>) -> u64 {
    py.import("threading")
        .and_then(|threading| threading.call_method0("get_ident"))
        .and_then(|ident| ident.extract())
        .unwrap_or(0)
}
