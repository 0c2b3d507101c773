//! Writes the log lines of Python's threads to nginx's error logs. Each line goes to the log of the site that it is
//! about, with its context.

use nginx_sys::ngx_log_t;

use super::event_loop::{self, EventLoop};
use crate::bridge::exchange::Exchange;
use crate::bridge::log::{About, LogLine};
use crate::bridge::panics;
use crate::nginx::conf::MainConf;
use crate::nginx::log::{self, HasLog};
use crate::nginx::sys;
use crate::nginx::trampoline::{self, EventThread};

/// Writes the waiting lines, if this process runs Python. Called before a response ends, so that a client that has
/// seen the end finds the lines in the log.
pub(in crate::nginx) fn write_waiting(token: EventThread) {
    if let Some(event_loop) = event_loop::current(token) {
        write_all(token, event_loop);
    }
}

/// Writes the waiting lines, if there are any.
#[inline]
pub(in crate::nginx) fn write_all(token: EventThread, event_loop: &EventLoop) {
    if event_loop.worker().events.has_lines() {
        write_each(token, event_loop);
    }
}

/// Writes each line. If one line causes a panic, the panic is logged and the other lines are written.
#[cold]
fn write_each(token: EventThread, event_loop: &EventLoop) {
    panics::for_each(
        event_loop.worker().events.take_lines().into_iter(),
        |line| write(token, event_loop, &line),
        // SAFETY: the cycle's log always exists.
        |panicked| unsafe { trampoline::say_panic(event_loop.log(), &panicked) },
    );
}

fn write(token: EventThread, event_loop: &EventLoop, line: &LogLine<Exchange>) {
    let level = log::number(line.level);
    let text = &line.text;
    match &line.about {
        About::Worker => log::line(event_loop, level, text),
        About::App(app) => {
            let logs = main_conf(token).map(|main| main.logs_of_app(*app)).unwrap_or_default();
            for log in logs {
                // SAFETY: the log belongs to the configuration, and this is the event loop's thread.
                unsafe { log::write(*log, level, text) };
            }
            if logs.is_empty() {
                log::line(event_loop, level, text);
            }
        }
        About::Request(exchange) => match event_loop::find(token, exchange.id) {
            Some(request) => {
                // SAFETY: the request is in flight.
                unsafe { sys::set_log_request(request.raw()) };
                log::line(&request, level, text);
            }
            // nginx no longer has the request: its context is added as nginx would have written it.
            None => {
                let text = format!("{text}, {}", exchange.head.context());
                let log = log_of(token, event_loop, exchange);
                // SAFETY: the log is the configuration's or the cycle's, and this is the event loop's thread.
                unsafe { log::write_of_connection(log, exchange.head.connection, level, &text) };
            }
        },
    }
}

/// The `error_log` of the location of a request that nginx no longer has.
fn log_of(token: EventThread, event_loop: &EventLoop, exchange: &Exchange) -> *const ngx_log_t {
    let log = main_conf(token).and_then(|main| main.log_of_location(exchange.location.id));
    log.unwrap_or(event_loop.log())
}

/// The configuration that this process runs Python for. `None` if a single process has read another one since.
fn main_conf<'a>(token: EventThread) -> Option<&'a MainConf> {
    // SAFETY: there is always a cycle.
    let main = unsafe { MainConf::of_cycle(nginx_sys::ngx_cycle) };
    main.filter(|main| event_loop::running(token, main.configuration).is_some())
}
