//! Writes the lines of Python's threads to nginx's error logs: each to the log of the site that it is about, with
//! its context.

use nginx_sys::ngx_log_t;

use crate::bridge::exchange::Exchange;
use crate::bridge::log::{About, LogLine};
use crate::bridge::panics;
use crate::nginx::conf::{self, MainConf};
use crate::nginx::log;
use crate::nginx::process::{self, Process};
use crate::nginx::sys::{self, EventThread};

/// Writes the lines that wait, if this process runs Python. Before a response's end: whoever has seen that can
/// look into the log.
pub(in crate::nginx) fn write_waiting(token: EventThread) {
    if let Some(process) = process::current(token) {
        write_all(token, process);
    }
}

/// The same.
#[inline]
pub(in crate::nginx) fn write_all(token: EventThread, process: &Process) {
    if process.worker().events.has_lines() {
        write_each(token, process);
    }
}

/// A panic at one line is said, and the others are written.
#[cold]
fn write_each(token: EventThread, process: &Process) {
    panics::for_each(
        process.worker().events.take_lines().into_iter(),
        |line| write(token, process, &line),
        // SAFETY: the cycle's log is always there.
        |panicked| unsafe { sys::say_panic(process.log(), &panicked) },
    );
}

fn write(token: EventThread, process: &Process, line: &LogLine<Exchange>) {
    let level = log::number(line.level);
    let text = &line.text;
    // SAFETY: the logs are the configuration's or a live request's, and this is the event loop's thread.
    unsafe {
        match &line.about {
            About::Worker => log::write(process.log(), level, text),
            About::App(app) => {
                let logs = main_conf(token).map(|main| main.logs_of_app(*app)).unwrap_or_default();
                for log in logs {
                    log::write(*log, level, text);
                }
                if logs.is_empty() {
                    log::write(process.log(), level, text);
                }
            }
            About::Request(exchange) => match process.find(exchange.id) {
                // The table holds contexts of requests in flight alone.
                Some(context) => {
                    let r = (*context).request;
                    sys::set_log_request(r);
                    log::write((*(*r).connection).log, level, text);
                }
                // nginx has the request no more: its context as nginx would have said it.
                None => {
                    let text = format!("{text}, {}", exchange.head.context());
                    let log = log_of(token, process, exchange);
                    log::write_of_connection(log, exchange.head.connection, level, &text);
                }
            },
        }
    }
}

/// The `error_log` of the location of a request that nginx no longer has.
fn log_of(token: EventThread, process: &Process, exchange: &Exchange) -> *const ngx_log_t {
    let log = main_conf(token).and_then(|main| main.log_of_location(exchange.location.id));
    log.unwrap_or(process.log())
}

/// The configuration that this process runs Python for: a single process may have read another one since.
fn main_conf<'a>(token: EventThread) -> Option<&'a MainConf> {
    // SAFETY: there is always a cycle.
    let main = unsafe { conf::main_conf_of_cycle(nginx_sys::ngx_cycle) };
    main.filter(|main| process::running(token, main.configuration).is_some())
}
