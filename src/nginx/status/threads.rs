//! `python_status threads`: the answer to a request, once all workers have answered this one.

use std::ffi::c_void;
use std::fmt::Write as _;
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nginx_sys::{
    NGX_HTTP_INTERNAL_SERVER_ERROR, ngx_event_t, ngx_http_finalize_request, ngx_http_request_t,
    ngx_http_run_posted_requests, ngx_http_test_reading, ngx_log_t, ngx_msec_t,
    ngx_pool_cleanup_add,
};

use super::reply::{OK, reply};
use super::stacks;
use crate::metrics::board::Board;
use crate::metrics::zone::{Area, State};
use crate::nginx::log::HasLog;
use crate::nginx::own_event::OwnEvent;
use crate::nginx::request::event_loop;
use crate::nginx::sys;
use crate::nginx::trampoline::{EventThread, guard};

/// How long the others have. A worker that does not answer has its interpreter busy in C, or its event loop in an
/// application (`wsgi_thread_pool inline`).
const LIMIT: Duration = Duration::from_secs(1);

/// How often the answers are looked for, in milliseconds.
const LOOK: ngx_msec_t = 5;

/// A request that waits for the answers. It lives as long as the request's pool.
struct Asking {
    request: *mut ngx_http_request_t,
    board: Arc<Board>,
    ticket: u64,
    asked: Vec<Area>,
    until: Instant,
    timer: OwnEvent,
}

/// Asks all workers that live. Gives back what the content handler returns.
///
/// # Safety
///
/// `r` is a live request in its content handler.
pub(super) unsafe fn ask(
    token: EventThread,
    r: *mut ngx_http_request_t,
    board: &Arc<Board>,
) -> isize {
    let is_asked = |area: &Area| {
        let owner = area.owner();
        owner != 0 && area.state() != Some(State::Ended) && sys::runs(owner)
    };
    let mut asking = Box::new(Asking {
        request: r,
        board: Arc::clone(board),
        ticket: board.zone().ask(),
        asked: board.zone().areas().filter(is_asked).collect(),
        until: Instant::now() + LIMIT,
        timer: OwnEvent::new(on_timer),
    });
    asking.asked.sort_by_key(|area| (area.number(), area.since()));
    let data = (&raw mut *asking).cast::<c_void>();
    asking.timer.set_data(data);
    // SAFETY: the request is live, and the pool drops what waits for the answers once.
    let asking = unsafe {
        let cleanup = ngx_pool_cleanup_add((*r).pool, 0);
        let Some(cleanup) = cleanup.as_mut() else {
            return NGX_HTTP_INTERNAL_SERVER_ERROR as isize;
        };
        cleanup.data = Box::into_raw(asking).cast();
        cleanup.handler = Some(on_pool_cleanup);
        // nginx ends the request if the client leaves.
        (*r).read_event_handler = Some(ngx_http_test_reading);
        (*(*r).main).set_count((*(*r).main).count() + 1);
        &*cleanup.data.cast::<Asking>()
    };
    let own = std::process::id();
    for area in &asking.asked {
        match area.owner() {
            process if process == own => {
                event_loop::current(token).inspect(|own| stacks::look(token, own, Vec::new()));
            }
            process => stacks::wake(token, process),
        }
    }
    asking.timer.start(token, asking, LOOK);
    sys::DONE
}

unsafe extern "C" fn on_pool_cleanup(data: *mut c_void) {
    // SAFETY: `ask` made it, and the pool calls once.
    drop(unsafe { Box::from_raw(data.cast::<Asking>()) });
}

unsafe extern "C" fn on_timer(event: *mut ngx_event_t) {
    // SAFETY: the event belongs to what waits for the answers, and is removed from nginx's tree before that ends.
    unsafe {
        let Some(asking) = NonNull::new((*event).data.cast::<Asking>()) else { return };
        guard(asking.as_ref().log(), || (), |token| go_on(token, asking.as_ref()));
    }
}

/// Answers if all have answered, or if the time is over.
fn go_on(token: EventThread, asking: &Asking) {
    let answers: Vec<_> = asking.asked.iter().map(|area| area.answered(asking.ticket)).collect();
    if answers.iter().any(Option::is_none) && Instant::now() < asking.until {
        asking.timer.start(token, asking, LOOK);
        return;
    }
    let mut text = String::new();
    for (area, answer) in asking.asked.iter().zip(answers) {
        let state = area.state().map_or("", State::name);
        let _infallible = writeln!(
            text,
            "{} (pid {}, {state}), {} requests in flight",
            asking.board.who(area),
            area.owner(),
            area.in_flight(),
        );
        let _infallible = match answer {
            Some(answer) => writeln!(text, "{answer}"),
            None => writeln!(
                text,
                "it has not answered within {} s: its Python has not started, or something holds the GIL\n",
                LIMIT.as_secs()
            ),
        };
    }
    let r = asking.request;
    // SAFETY: the request is live: its pool has not been destroyed. Nothing of it is used after it is finalized, but its
    // connection, whose memory outlives it.
    unsafe {
        let connection = (*r).connection;
        sys::set_log_request(r);
        let code = reply(r, OK, "text/plain; charset=utf-8", text.as_bytes());
        ngx_http_finalize_request(r, code);
        ngx_http_run_posted_requests(connection);
    }
}

// SAFETY: a live request has a connection with a log.
unsafe impl HasLog for Asking {
    fn log(&self) -> *mut ngx_log_t {
        // SAFETY: as above.
        unsafe { (*(*self.request).connection).log }
    }
}
