//! The threads of a pool.

use std::sync::Arc;

use pyo3::prelude::*;

use super::dispatch;
use super::main_thread::STACK;
use super::runtime::Runtime;
use crate::bridge::events::{Level, LogLine};
use crate::bridge::pool::{Next, Pool, Seat, Turn};

/// Starts a thread that [`Pool::grow`] or [`Pool::take`] has counted. All signals are blocked in the
/// caller, and so in the thread.
pub(super) fn spawn(runtime: &Arc<Runtime>, pool: &Arc<Pool>) {
    let (own_runtime, own_pool) = (Arc::clone(runtime), Arc::clone(pool));
    let spawned = std::thread::Builder::new()
        .name(format!("py-{}", pool.config.name))
        .stack_size(pool.config.stack.unwrap_or(STACK))
        .spawn(move || run(own_runtime, &own_pool));
    if let Err(error) = spawned {
        pool.shrink(&Turn::default());
        let text = format!(
            "a thread of python_thread_pool \"{}\" cannot be started: {error}",
            pool.config.name
        );
        // Not waited for: the caller may be attached. It is said again with the next try.
        let _full =
            runtime.worker.events.try_log(LogLine { level: Level::Alert, request: None, text });
    }
}

/// Takes the thread off its pool should it unwind.
struct Membership<'p> {
    pool: &'p Pool,
    turn: Turn,
    ended: bool,
}

impl Drop for Membership<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.pool.shrink(&self.turn);
        }
    }
}

fn run(runtime: Arc<Runtime>, pool: &Arc<Pool>) {
    let mut membership = Membership { pool, turn: Turn::default(), ended: false };
    Python::attach(|py| {
        let seat = Seat::new();
        // The thread keeps its Python thread state, and what the application has bound to it
        // (threading.local), until it ends.
        let ident = thread_ident(py);
        loop {
            match pool.take(&mut membership.turn) {
                Next::Run { job, grow } => {
                    if grow {
                        spawn(&runtime, pool);
                    }
                    dispatch::run(py, &runtime, &job, ident);
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
        drop(runtime);
    });
}

/// `threading.get_ident()`
fn thread_ident(py: Python<'_>) -> u64 {
    py.import("threading")
        .and_then(|threading| threading.call_method0("get_ident"))
        .and_then(|ident| ident.extract())
        .unwrap_or(0)
}
