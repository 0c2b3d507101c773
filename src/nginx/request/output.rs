//! The response's way out: from the pipe through nginx's filters to the client, and back the news of
//! what the client has.

use std::ptr;

use bytes::Bytes;
use nginx_sys::{
    ngx_buf_t, ngx_buf_tag_t, ngx_chain_get_free_buf, ngx_chain_t, ngx_chain_update_chains,
    ngx_handle_write_event, ngx_http_output_filter, ngx_http_send_header,
};

use super::accel;
use super::context::{Body, Context};
#[cfg(nginx_1_29)]
use super::early_hints;
use super::event_loop;
use super::finalize::{self, Ending};
use super::lines;
use super::response;
use crate::bridge::pipe::output::parts::{Batch, Block, End};
use crate::nginx::conf::LocConf;
use crate::nginx::sys;
use crate::nginx::trampoline::EventThread;

const INTERNAL_SERVER_ERROR: isize = nginx_sys::NGX_HTTP_INTERNAL_SERVER_ERROR as isize;

/// So many blocks at most are in nginx's hands one by one. What a filter has to see before it lets go of any,
/// as the longest command of SSI (`NGX_HTTP_SSI_MAX_PARAMS` parameters of `ssi_value_length`), is shorter.
const LINKS: usize = 4096;

/// Takes what the thread has sent and passes it on; ends the request where the response has ended.
///
/// # Safety
///
/// `context` is one of a request in flight.
pub(in crate::nginx) unsafe fn pump(token: EventThread, context: *mut Context) {
    // SAFETY: the caller's. No reference into the context is held while nginx is called: its filters may
    // call back.
    unsafe {
        if (*context).finished {
            return;
        }
        let Some(exchange) = (*context).exchange.clone() else { return };
        if let Some(least) = holds_back(context) {
            if exchange.output.hold_back(least) {
                return;
            }
        }
        let mut batch = event_loop::take_output(token);
        exchange.output.take(&mut batch);
        if batch.end.is_some() {
            lines::write_waiting(token);
        }
        let sent = send(token, context, &mut batch);
        let end = batch.end;
        // It has blocks still where nginx has refused them.
        if batch.clear() {
            exchange.worker.collect();
        }
        event_loop::give_output_back(token, batch);
        if matches!(sent, Sent::Elsewhere) {
            return;
        }
        match (sent, end) {
            (Sent::Refused(sys::ERROR), _) => {
                finalize::end(token, context, Ending::ClientGone(sys::ERROR));
            }
            (Sent::Refused(rc), _) => finalize::end(token, context, Ending::Answered(rc)),
            (_, Some(End::Failed)) => finalize::end(token, context, Ending::Failed),
            (_, Some(End::Refused)) => finalize::end(token, context, Ending::Unavailable),
            (Sent::Body(rc), Some(End::Complete)) => {
                finalize::end(token, context, Ending::Answered(rc));
            }
            (Sent::Body(_) | Sent::Hints, None) => {
                let _in_flight = settle(token, context);
            }
            (Sent::Nothing | Sent::Hints | Sent::Elsewhere, _) => {}
        }
    }
}

/// Bytes that have to wait before nginx's filters get them, if nginx has something of this response that it
/// cannot send now. Each call of the filters costs memory of the request's that nginx frees at its end alone,
/// and time for all that they have already: so both are bounded by what the client takes, not by the number
/// of blocks.
unsafe fn holds_back(context: *mut Context) -> Option<u64> {
    // SAFETY: the caller's: a request in flight.
    unsafe {
        if !(*context).head_sent {
            return None;
        }
        let r = (*context).request;
        let connection = (*r).connection;
        if !has_unsent(context) {
            return None;
        }
        let event = (*connection).write;
        // The write handler fires when the client can take more, when a rate limit or a thread of nginx's is
        // through, and when another request of the page has had its turn (ngx_http_postpone_filter).
        let waits = (*event).ready() == 0
            || (*event).delayed() != 0
            || (*r).aio() != 0
            || (*connection).data != r.cast();
        if waits {
            return Some(u64::MAX);
        }
        // A filter holds them until it gets more, as SSI a command that is not complete. Nothing says when.
        ((*context).held.len() >= LINKS).then_some(LINKS as u64)
    }
}

/// Does nginx have something of this response that it has not sent?
unsafe fn has_unsent(context: *mut Context) -> bool {
    // SAFETY: the caller's: a request in flight.
    unsafe {
        let r = (*context).request;
        !(*context).busy.is_null() || (r == (*r).main && sys::is_buffered((*r).connection))
    }
}

/// What became of a batch.
enum Sent {
    /// There was nothing to send.
    Nothing,
    /// Only early hints.
    Hints,
    /// The head has gone, and what there was of the body; nginx's code.
    Body(isize),
    /// nginx wants no body: it has failed, it answers by itself, or only the head is wanted.
    Refused(isize),
    /// Another location answers.
    Elsewhere,
}

unsafe fn send(token: EventThread, context: *mut Context, batch: &mut Batch) -> Sent {
    // SAFETY: the caller's.
    unsafe {
        let r = (*context).request;
        let mut news = false;
        #[cfg(nginx_1_29)]
        for hints in batch.hints.drain(..) {
            if early_hints::send(token, r, &hints) == sys::ERROR {
                return Sent::Refused(sys::ERROR);
            }
            news = true;
        }
        if let Some(head) = batch.head.take() {
            if matches!(
                (*context).body,
                Body::Expected | Body::Streaming | Body::Paused | Body::Taken
            ) {
                // The application may leave the rest of the body unread, and nginx then closes the
                // connection (ngx_http_finalize_connection); and where the client waits for 100, nobody
                // knows what its next bytes will be (RFC 9110, 10.1.1).
                (*r).set_keepalive(0);
                (*r).set_lingering_close(1);
            }
            let conf = &*sys::loc_conf::<LocConf>(r, sys::own_module());
            if let Some(target) = accel::target(conf, &head) {
                accel::redirect(token, context, conf, &head, target);
                return Sent::Elsewhere;
            }
            if accel::intercepts(token, r, conf, &head) {
                if response::challenge(token, r, &head).is_none() {
                    return Sent::Refused(INTERNAL_SERVER_ERROR);
                }
                return Sent::Refused(head.code() as isize);
            }
            if response::set(token, r, conf, &head).is_none() {
                return Sent::Refused(INTERNAL_SERVER_ERROR);
            }
            if batch.expects_trailers {
                (*r).set_expect_trailers(1);
            }
            (*context).head_sent = true;
            let rc = ngx_http_send_header(r);
            if rc == sys::ERROR || rc > sys::OK || (*r).header_only() != 0 {
                return Sent::Refused(rc);
            }
            news = true;
        } else if !(*context).head_sent {
            return if news { Sent::Hints } else { Sent::Nothing };
        }
        let last = batch.end == Some(End::Complete);
        if batch.blocks.is_empty() && !last && !news {
            return Sent::Nothing;
        }
        if last && response::set_trailers(token, r, &batch.trailers).is_none() {
            return Sent::Refused(sys::ERROR);
        }
        let Some(out) = chain(context, batch, last) else {
            return Sent::Refused(sys::ERROR);
        };
        let rc = output(context, out);
        if rc == sys::ERROR { Sent::Refused(rc) } else { Sent::Body(rc) }
    }
}

/// Buffers over the blocks of `batch`, without a copy; the last one flushes, or ends the response.
unsafe fn chain(context: *mut Context, batch: &mut Batch, last: bool) -> Option<*mut ngx_chain_t> {
    // SAFETY: the caller's; the buffers are nginx's, and what they point into is held until nginx no
    // longer needs them (`output`) or the request is freed.
    unsafe {
        let r = (*context).request;
        let mut first: *mut ngx_chain_t = ptr::null_mut();
        let mut link: *mut *mut ngx_chain_t = &raw mut first;
        for block in batch.blocks.drain(..) {
            let buffer = add(context, &mut link)?;
            match &block {
                Block::Memory(bytes) => {
                    (*buffer).pos = bytes.as_ptr().cast_mut();
                    (*buffer).last = (*buffer).pos.add(bytes.len());
                    (*buffer).start = (*buffer).pos;
                    (*buffer).end = (*buffer).last;
                    (*buffer).set_memory(1);
                }
                Block::Spilled(part) | Block::File(part) => {
                    let spilled = matches!(block, Block::Spilled(_));
                    (*buffer).file = (*context).files.of(r, part, spilled)?;
                    (*buffer).file_pos = part.start as nginx_sys::off_t;
                    (*buffer).file_last = part.end as nginx_sys::off_t;
                    (*buffer).set_in_file(1);
                }
            }
            (*context).held.push_back(block);
        }
        if first.is_null() {
            let buffer = add(context, &mut link)?;
            // Without our tag it is used once only: a filter may keep it for later, and being empty it
            // looks done (ngx_chain_update_chains).
            (*buffer).tag = ptr::null_mut();
            (*buffer).set_sync(u32::from(last && r != (*r).main));
            (*context).held.push_back(Block::Memory(Bytes::new()));
        }
        let tail = link.byte_sub(std::mem::offset_of!(ngx_chain_t, next)).cast::<ngx_chain_t>();
        let buffer = &mut *(*tail).buf;
        if last {
            buffer.set_last_buf(u32::from(r == (*r).main));
            buffer.set_last_in_chain(1);
        } else {
            buffer.set_flush(1);
        }
        Some(first)
    }
}

/// One more buffer at the end of the chain that `link` ends.
unsafe fn add(context: *mut Context, link: &mut *mut *mut ngx_chain_t) -> Option<*mut ngx_buf_t> {
    // SAFETY: the caller's; a buffer that comes back keeps what it was set to, so it is cleared.
    unsafe {
        let pool = (*(*context).request).pool;
        let added = ngx_chain_get_free_buf(pool, &raw mut (*context).free);
        if added.is_null() {
            return None;
        }
        ptr::write_bytes((*added).buf, 0, 1);
        (*(*added).buf).tag = tag();
        **link = added;
        *link = &raw mut (*added).next;
        Some((*added).buf)
    }
}

/// Runs the output filters over `out` (null: over what they still have), and tells the pipe what the
/// client has.
pub(in crate::nginx) unsafe fn output(context: *mut Context, mut out: *mut ngx_chain_t) -> isize {
    // SAFETY: the caller's.
    unsafe {
        let r = (*context).request;
        let rc = ngx_http_output_filter(r, out);
        ngx_chain_update_chains(
            (*r).pool,
            &raw mut (*context).free,
            &raw mut (*context).busy,
            &raw mut out,
            tag(),
        );
        let mut busy = 0;
        let mut link = (*context).busy;
        while !link.is_null() {
            busy += 1;
            link = (*link).next;
        }
        release(context, (*context).held.len().saturating_sub(busy), busy > 0);
        rc
    }
}

/// Lets go of the first `count` blocks, which nginx no longer reads; their files live on ([`Files`]).
///
/// [`Files`]: super::files::Files
unsafe fn release(context: *mut Context, count: usize, stalled: bool) {
    // SAFETY: the caller's; the three are fields of their own.
    let (exchange, held, files) =
        unsafe { (&(*context).exchange, &mut (*context).held, &mut (*context).files) };
    let Some(exchange) = exchange else { return };
    let (mut memory, mut spilled, mut shared) = (0, 0, false);
    for block in held.drain(..count) {
        shared |= block.is_shared();
        match block {
            Block::Memory(bytes) => memory += bytes.len(),
            Block::Spilled(part) => spilled += part.len(),
            Block::File(_) => {}
        }
    }
    let all = exchange.output.drained(memory, spilled, stalled);
    if !files.is_empty() {
        // SAFETY: the caller's.
        let closed = unsafe { files.close_sent((*context).request, held.iter(), all) };
        if closed > 0 {
            exchange.output.files_closed(closed);
        }
    }
    if shared {
        exchange.worker.collect();
    }
}

/// Waits for the client where it takes no more now; false where the request has ended, and may be gone.
pub(in crate::nginx) unsafe fn settle(token: EventThread, context: *mut Context) -> bool {
    // SAFETY: the caller's, as ngx_http_writer does.
    unsafe {
        let r = (*context).request;
        let connection = (*r).connection;
        let event = (*connection).write;
        if (*event).delayed() != 0 {
            // limit_rate has its own timer.
            if ngx_handle_write_event(event, 0) != sys::OK {
                finalize::end(token, context, Ending::ClientGone(sys::ERROR));
                return false;
            }
            return true;
        }
        if !has_unsent(context) {
            sys::delete_timer(event);
            return true;
        }
        let core = sys::core_loc_conf(r);
        if ngx_handle_write_event(event, core.send_lowat) != sys::OK {
            finalize::end(token, context, Ending::ClientGone(sys::ERROR));
            return false;
        }
        // Only where the client is what it waits for: a subrequest's output may wait for another one
        // (ngx_http_upstream_process_non_buffered_request).
        if (*event).active() != 0 && (*event).ready() == 0 {
            nginx_sys::ngx_add_timer(event, core.send_timeout);
        } else {
            sys::delete_timer(event);
        }
        true
    }
}

fn tag() -> ngx_buf_tag_t {
    ptr::from_ref(sys::own_module()).cast_mut().cast()
}
