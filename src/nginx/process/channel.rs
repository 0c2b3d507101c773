//! nginx's master tells a worker to end by a message on its channel, whose handler sets `ngx_quit`; the worker's loop
//! looks at that after each turn. [`on_channel`] stands in front of that handler, so that the end can be put off. Another
//! worker may send one to ask where the applications are ([`stacks`]).

use nginx_sys::{ngx_channel, ngx_cycle, ngx_event_t, ngx_quit};

use super::application;
use super::state::{self, Handler, Process};
use super::{departure, others};
use crate::nginx::own_event::EventHandler;
use crate::nginx::status::stacks;
use crate::nginx::trampoline::{EventThread, OfEventThread, guard};

/// nginx's own handler of the channel.
static HANDLER: OfEventThread<Option<EventHandler>> = OfEventThread::new(None);

/// In the title of a process that is.
const DORMANT: &str = " (dormant)";

/// The worker's first turn: from now on the channel's event exists.
pub(super) struct FirstTurn;

impl Handler for FirstTurn {
    fn call(token: EventThread, process: &'static Process) {
        let stage = if process.dormancy.is_dormant() { DORMANT } else { "" };
        application::set_title(&process.event_loop.worker().config, stage);
        give_up_others(token, process);
        // What the start has for others is shown to them.
        process.event_loop.end_turn_later(token);
        // SAFETY: nginx's thread; the cycle's connections are there as long as the worker. The descriptor of one that is
        // not in use is -1.
        unsafe {
            let cycle = ngx_cycle;
            let connections =
                std::slice::from_raw_parts((*cycle).connections, (*cycle).connection_n);
            let channel = connections.iter().find(|connection| connection.fd == ngx_channel);
            if let Some(event) = channel.and_then(|connection| connection.read.as_mut()) {
                HANDLER.set(token, event.handler.replace(on_channel));
            }
        }
    }
}

/// nginx may have been sent the channel of a new process.
fn give_up_others(token: EventThread, process: &Process) {
    if !process.is_web() {
        others::give_up_channels(token);
    }
}

/// The master or another worker has sent something.
unsafe extern "C" fn on_channel(event: *mut ngx_event_t) {
    let handle = |token: EventThread| {
        if let Some(handler) = HANDLER.get(token) {
            // SAFETY: it is nginx's own handler, with its event. The event may be gone after it.
            unsafe { handler(event) };
        }
        let Some(process) = state::current(token) else { return };
        give_up_others(token, process);
        // It may have been told to reopen its logs.
        process.outputs.look_later(token, process);
        // SAFETY: nginx's thread.
        if unsafe { ngx_quit } != 0 {
            departure::told_to_end(token, process);
        }
        stacks::look(token, process.event_loop, process.wall.exchanges());
    };
    // SAFETY: nginx called this function, on its own thread; the null log stands for the cycle's log.
    unsafe { guard(std::ptr::null_mut(), || (), handle) };
}
