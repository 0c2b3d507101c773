//! Where the applications of all requests are at this moment, for `python_status threads`.

use std::fmt::Write as _;
use std::sync::Arc;

use pyo3::prelude::*;

use super::runtime::{Late, Runtime};
use crate::bridge::exchange::{Exchange, Progress};
use crate::bridge::in_flight::{heading, oldest_first};
use crate::bridge::tasks::Asked;

/// Attendant: writes it to the memory that all processes share.
pub(super) fn answer(runtime: &Runtime, asked: &Asked<Exchange>) {
    let Some(own) = runtime.worker.meters.own() else { return };
    let text = Python::attach(|py| text(py, runtime, &asked.requests));
    own.area.answer(asked.ticket, &text);
}

fn text(py: Python<'_>, runtime: &Runtime, requests: &[Arc<Exchange>]) -> String {
    let mut text = String::new();
    let mut known = Vec::new();
    for exchange in oldest_first(requests) {
        known.extend(exchange.thread());
        let _infallible = writeln!(text, "{}", heading(exchange));
        if let Progress::Running(_) = exchange.progress() {
            let stack = stack(py, runtime, exchange);
            let _infallible = writeln!(text, "{}", stack.trim_end());
        }
    }
    let others = runtime.shim.format_others.call1(py, (known,));
    let others = others.map_or_else(
        |error| format!("(the other threads cannot be shown: {error})"),
        |others| others.to_string(),
    );
    if !others.is_empty() {
        let _infallible = writeln!(text, "threads without a request:\n{others}");
    }
    text
}

fn stack(py: Python<'_>, runtime: &Runtime, exchange: &Exchange) -> String {
    let found = match runtime.loop_of(exchange.location.app) {
        Some(owner) => owner.stack(py, exchange, Late::Slow),
        None => {
            let stack =
                exchange.thread().map(|thread| runtime.shim.format_stack.call1(py, (thread,)));
            stack.transpose().map(|stack| stack.map(|stack| stack.to_string()))
        }
    };
    match found {
        Ok(Some(stack)) if !stack.is_empty() => stack,
        Ok(_) => "  (it is not running at this moment)".to_owned(),
        Err(error) => format!("  (its stack cannot be shown: {error})"),
    }
}
