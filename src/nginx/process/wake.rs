//! The other side's bell: nginx reads the eventfd, and what waits is dealt with.

use std::cell::Cell;

use nginx_sys::{
    ngx_close_connection, ngx_connection_t, ngx_cycle_t, ngx_get_connection, ngx_handle_read_event,
};

use super::Process;
use crate::bridge::events::Event;
use crate::bridge::exchange::Exchange;
use crate::bridge::id::RequestId;
use crate::bridge::panics;
use crate::nginx::entry;
use crate::nginx::request::body;
use crate::nginx::request::finalize;
use crate::nginx::request::inline;
use crate::nginx::request::lines;
use crate::nginx::request::output;
use crate::nginx::sys::{self, EventThread};

/// Makes an nginx connection of the bell, with a descriptor of its own.
///
/// # Safety
///
/// In `init_process`, with that worker's cycle.
pub(in crate::nginx) unsafe fn listen(
    cycle: *mut ngx_cycle_t,
    bell: i32,
) -> Option<*mut ngx_connection_t> {
    // SAFETY: the caller's; the descriptor is the connection's, and is closed with it.
    unsafe {
        let fd = libc::fcntl(bell, libc::F_DUPFD_CLOEXEC, 0);
        if fd < 0 {
            return None;
        }
        let connection = ngx_get_connection(fd, (*cycle).log);
        if connection.is_null() {
            libc::close(fd);
            return None;
        }
        let event = (*connection).read;
        (*event).handler = Some(entry::wake);
        (*event).log = (*cycle).log;
        (*(*connection).write).log = (*cycle).log;
        // Not a client's: a graceful exit neither waits for it nor reports it as an open socket
        // (ngx_worker_process_exit).
        (*event).set_channel(1);
        // A graceful exit begins with ngx_close_idle_connections, which calls the handler: this is how
        // the worker is told.
        (*connection).set_idle(1);
        if ngx_handle_read_event(event, 0) != sys::OK {
            ngx_close_connection(connection);
            return None;
        }
        Some(connection)
    }
}

/// The bell was rung, or the worker is to exit.
///
/// # Safety
///
/// nginx calls the handler of `connection`, which [`listen`] made.
pub(in crate::nginx) unsafe fn rung(
    token: EventThread,
    connection: *mut ngx_connection_t,
    process: &Process,
) {
    process.worker().events.hush();
    // SAFETY: the caller's.
    unsafe {
        if (*connection).close() != 0 {
            (*connection).set_close(0);
            process.drain(token);
            // It is not one of the turn's events: nginx may wait for the next ones at once.
            process.end_turn(token);
            return;
        }
    }
    process.end_turn_later(token);
}

/// Deals with all that waits. A panic at one message ends its request, and no other's.
pub(in crate::nginx) fn deal(token: EventThread, process: &Process) {
    let mut batch = process.take_batch();
    process.worker().events.take(&mut batch);
    lines::write_all(token, process);
    let request = Cell::new(None);
    panics::for_each(
        batch.drain(..),
        |event| {
            request.set(None);
            deal_with(token, process, event, &request);
        },
        |panicked| entry::end_after_panic(token, process, request.take(), &panicked),
    );
    process.give_batch_back(batch);
}

/// Deals with one message; `request` is set to the one that it is about.
fn deal_with(
    token: EventThread,
    process: &Process,
    event: Event<Exchange>,
    request: &Cell<Option<RequestId>>,
) {
    match event {
        Event::Output(id) => {
            if let Some(context) = process.find(id) {
                request.set(Some(id));
                // SAFETY: the table holds contexts of requests in flight alone.
                unsafe {
                    finalize::from_outside(token, context, |context| output::pump(token, context))
                };
            }
        }
        Event::ReadBody(id) => {
            if let Some(context) = process.find(id) {
                request.set(Some(id));
                // SAFETY: as above.
                unsafe {
                    finalize::from_outside(token, context, |context| body::wanted(token, context))
                };
            }
        }
        // At the worker's exit nobody has the time for it.
        Event::Run(_) if process.is_stopping() => {}
        Event::Run(exchange) => process.call_later(token, exchange),
        Event::Resume(suspended) => {
            let left = if process.is_stopping() {
                Some(suspended)
            } else {
                inline::call(token, process.worker(), || suspended.resume())
            };
            // Where the application is not to know that its client is gone it goes on, a block in each
            // turn.
            if let Some(suspended) = left {
                process.end(suspended);
            }
        }
    }
}
