//! Writes the log lines of Python's threads to nginx's error logs, each to the log of the site that it is about, with its
//! context; and sends records to syslogs.

use nginx_sys::{ngx_log_t, ngx_syslog_add_header, ngx_syslog_send, ngx_uint_t};

use super::event_loop::{self, EventLoop};
use crate::bridge::exchange::Exchange;
use crate::bridge::log::{About, Kind, LogLine};
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
    match line.kind {
        Kind::Message => write_to_error_log(token, event_loop, line, log::write_lines),
        Kind::Output => write_to_error_log(token, event_loop, line, log::write_output),
        Kind::Syslog(number) => send(token, event_loop, line, number),
    }
}

/// A function of [`log`] that writes the lines of a text.
type Writer = unsafe fn(*mut ngx_log_t, ngx_uint_t, &str);

fn write_to_error_log(
    token: EventThread,
    event_loop: &EventLoop,
    line: &LogLine<Exchange>,
    write: Writer,
) {
    let level = log::number(line.level);
    let text = &line.text;
    match &line.about {
        // SAFETY: the cycle's log always exists.
        About::Worker => unsafe { write(event_loop.log(), level, text) },
        About::App(app) => {
            let logs = main_conf(token).map(|main| main.logs_of_app(*app)).unwrap_or_default();
            for log in logs {
                // SAFETY: the log belongs to the configuration, and this is the event loop's thread.
                unsafe { write(*log, level, text) };
            }
            if logs.is_empty() {
                // SAFETY: the cycle's log always exists.
                unsafe { write(event_loop.log(), level, text) };
            }
        }
        About::Request(exchange) => match event_loop::find(token, exchange.id) {
            // SAFETY: the request is in flight, and has a log.
            Some(request) => unsafe {
                sys::set_log_request(request.raw());
                write(request.log(), level, text);
            },
            // nginx no longer has the request: its context is added as nginx would have written it.
            None => {
                let context = exchange.head.context();
                let text = text.split('\n').map(|line| format!("{line}, {context}"));
                let text = text.collect::<Vec<_>>().join("\n");
                let log = log_of(token, event_loop, exchange);
                // SAFETY: the log is the configuration's or the cycle's, and this is the event loop's thread.
                unsafe {
                    log::of_connection(log, exchange.head.connection, |log| {
                        write(log, level, &text)
                    });
                }
            }
        },
    }
}

/// Sends a record to a syslog (`python_log syslog:…`), as one message.
fn send(token: EventThread, event_loop: &EventLoop, line: &LogLine<Exchange>, number: usize) {
    let peer = main_conf(token).map(|main| main.outputs.syslog_peer(number));
    // SAFETY: a peer lives as long as its configuration, and only this thread uses it.
    let Some(peer) = peer.and_then(|peer| unsafe { peer.as_mut() }) else { return };
    // As ngx_syslog_writer does.
    peer.severity = log::number(line.level).saturating_sub(1);
    let text = line.text.trim_end_matches('\n');
    let mut message = vec![0; SYSLOG_HEADER + text.len()];
    // SAFETY: there is room for the longest header; it ends at what is returned. The peer is nginx's own.
    let sent = unsafe {
        let begin = message.as_mut_ptr();
        let end = ngx_syslog_add_header(peer, begin);
        let header = usize::try_from(end.offset_from(begin)).unwrap_or(0);
        message.truncate(header);
        message.extend_from_slice(text.as_bytes());
        ngx_syslog_send(peer, message.as_mut_ptr(), message.len())
    };
    let is_sent = usize::try_from(sent).is_ok_and(|sent| sent == message.len());
    event_loop.count_syslog(is_sent);
}

/// A syslog message's priority, time, host and tag, at most: `ngx_syslog_parse_args` allows a tag of 32 bytes.
const SYSLOG_HEADER: usize = 512;

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
