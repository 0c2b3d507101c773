//! The stacks of all workers: how one worker asks the others, and how each has its Python threads answer.
//!
//! The answers go by the shared memory ([`zone`](crate::metrics::zone)). A worker learns that it is asked by a message on
//! the channel that nginx has between its processes, with a command that nginx's own handler does not know and ignores.

use std::fmt::Write as _;
use std::sync::Arc;

use nginx_sys::{ngx_channel_t, ngx_cycle, ngx_processes, ngx_uint_t, ngx_write_channel};

use crate::bridge::exchange::{Exchange, Progress};
use crate::bridge::in_flight::{heading, oldest_first};
use crate::bridge::tasks::{Asked, Task};
use crate::nginx::request::event_loop::{self, EventLoop};
use crate::nginx::trampoline::EventThread;

/// None of nginx's commands (ngx_process_cycle.h), and none that it may get soon.
const COMMAND: ngx_uint_t = 0x7079;

/// This worker may have been asked for its stacks: has the attendant answer. `others`: the requests in flight that nginx
/// does not have in this process.
pub(in crate::nginx) fn look(
    token: EventThread,
    event_loop: &EventLoop,
    others: Vec<Arc<Exchange>>,
) {
    let worker = event_loop.worker();
    let Some(own) = worker.meters.own() else { return };
    let Some(ticket) = own.board.zone().asked(&own.area) else { return };
    let clients = event_loop.ids().into_iter();
    let clients = clients.filter_map(|id| event_loop::find(token, id)?.exchange().cloned());
    // What a process has, it shows itself.
    let is_here = |exchange: &Arc<Exchange>| {
        exchange.place().is_none() || exchange.progress() == Progress::Done
    };
    let own_clients = clients.filter(is_here);
    let requests: Vec<_> = own_clients.chain(others).collect();
    if !worker.config.runs_python() {
        return own.area.answer(ticket, &without_python(&requests));
    }
    if worker.tasks.are_unattended() {
        return own
            .area
            .answer(ticket, "no Python runs in this process until it has a request (start=lazy)");
    }
    worker.tasks.push(Task::Answer(Asked::<Exchange> { ticket, requests }));
}

/// What a worker shows that has no Python: the requests that no process has got.
fn without_python(requests: &[Arc<Exchange>]) -> String {
    let mut text = "no Python runs in this worker (wsgi_process, asgi_process)\n".to_owned();
    for exchange in oldest_first(requests) {
        let _infallible = writeln!(text, "{}", heading(exchange));
    }
    text
}

/// Tells another worker to look. If that fails it does not answer, which is said to whoever wants to know.
pub(super) fn wake(_token: EventThread, process: u32) {
    // SAFETY: nginx's thread. A channel that this process does not have is -1. All entries are looked at: a worker's
    // `ngx_last_process` does not know of those that came after it (ngx_channel_handler).
    unsafe {
        let processes = &raw const ngx_processes;
        let processes = &*processes;
        let found = processes.iter().find(|known| u32::try_from(known.pid) == Ok(process));
        if let Some(channel) = found.map(|known| known.channel[0]).filter(|fd| *fd >= 0) {
            let mut message: ngx_channel_t = std::mem::zeroed();
            message.command = COMMAND;
            message.fd = -1;
            let size = size_of::<ngx_channel_t>();
            let _not_told = ngx_write_channel(channel, &raw mut message, size, (*ngx_cycle).log);
        }
    }
}
