//! The response's path from the pipe through nginx's filters to the client, and the report back of what the client
//! has received.

use std::ops::Range;
use std::ptr;
use std::sync::Arc;

use bytes::Bytes;
use nginx_sys::{
    ngx_buf_t, ngx_buf_tag_t, ngx_chain_get_free_buf, ngx_chain_t, ngx_chain_update_chains,
    ngx_handle_write_event, ngx_http_output_filter, ngx_http_send_header,
};

use super::Request;
use super::accel;
use super::context::Body;
#[cfg(nginx_1_29)]
use super::early_hints;
use super::event_loop;
use super::finalize::{self, Ending};
use super::lines;
use super::response;
use super::upgrade;
use crate::bridge::pipe::output::parts::{Batch, Block, End};
use crate::http::response_head::ResponseHead;
use crate::nginx::parting;
use crate::nginx::sys;

const INTERNAL_SERVER_ERROR: isize = nginx_sys::NGX_HTTP_INTERNAL_SERVER_ERROR as isize;

/// Only an accepted WebSocket has it.
const SWITCHING_PROTOCOLS: u16 = 101;

/// The maximum number of blocks that nginx holds one by one. What a filter must see before it releases any of them is
/// shorter, for example the longest SSI command (`NGX_HTTP_SSI_MAX_PARAMS` parameters of `ssi_value_length`).
const LINKS: usize = 4096;

/// Takes what the thread has sent and passes it on. Ends the request if the response has ended. Returns the request
/// if it is still in flight.
pub(in crate::nginx) fn pump(request: Request<'_>) -> Option<Request<'_>> {
    let token = request.token();
    let exchange = Arc::clone(request.exchange()?);
    if let Some(least) = holds_back(&request) {
        if exchange.hold_back(least) {
            return Some(request);
        }
    }
    let mut batch = event_loop::take_output(token);
    exchange.output.take(&mut batch);
    if batch.end.is_some() {
        lines::write_waiting(token);
    }
    let (request, sent) = send(request, &mut batch);
    let end = batch.end;
    // The batch still has blocks if nginx has refused them.
    if batch.clear() {
        exchange.collect();
    }
    event_loop::give_output_back(token, batch);
    let request = request?;
    let ending = match (sent, end) {
        (Sent::Refused(sys::ERROR), _) => Ending::ClientGone(sys::ERROR),
        (Sent::Refused(rc), _) => Ending::Answered(rc),
        (_, Some(End::Failed)) => Ending::Failed,
        (_, Some(End::Refused)) => Ending::Unavailable,
        (_, Some(End::Lost)) => Ending::Lost,
        (Sent::Body(rc), Some(End::Complete)) => Ending::Answered(rc),
        (Sent::Body(_) | Sent::Hints, None) => return settle(request),
        (Sent::Nothing | Sent::Hints, _) => return Some(request),
    };
    finalize::end(request, ending);
    None
}

/// The number of bytes that must be waiting before nginx's filters get them, if nginx has a part of this response
/// that it cannot send now. Each call of the filters costs memory of the request, which nginx frees only at the
/// request's end, and time for all data that the filters already have. So both are bounded by what the client takes,
/// not by the number of blocks.
fn holds_back(request: &Request<'_>) -> Option<u64> {
    if !request.head_sent.get() || !request.has_unsent() {
        return None;
    }
    // SAFETY: a live request has a connection.
    let others_turn = unsafe { (*request.connection()).data != request.raw().cast() };
    // The write handler fires when the client can take more, when the delay of a rate limit or the work of one of
    // nginx's threads is over, and when another request of the page has had its turn (ngx_http_postpone_filter).
    if !request.is_writable() || request.is_delayed() || others_turn {
        return Some(u64::MAX);
    }
    // A filter holds them until it gets more, as SSI does with an incomplete command. No event tells when that is.
    (request.held.borrow().len() >= LINKS).then_some(LINKS as u64)
}

/// The result of sending a batch.
enum Sent {
    /// There was nothing to send.
    Nothing,
    /// Only early hints.
    Hints,
    /// The head has been sent, and as much of the body as there was. With nginx's code.
    Body(isize),
    /// nginx wants no body: it has failed, it answers by itself, or only the head is wanted. With nginx's code.
    Refused(isize),
}

/// Sends the contents of a batch. Does not return the request if another location answers it.
fn send<'ev>(request: Request<'ev>, batch: &mut Batch) -> (Option<Request<'ev>>, Sent) {
    #[cfg(nginx_1_29)]
    let hinted = match send_hints(&request, batch) {
        Ok(hinted) => hinted,
        Err(refused) => return (Some(request), refused),
    };
    #[cfg(not(nginx_1_29))]
    let hinted = false;
    let mut news = hinted;
    if let Some(head) = batch.head.take() {
        request.status.set(Some(head.code()));
        if matches!(
            request.body.get(),
            Body::Expected | Body::Streaming | Body::Paused | Body::Taken
        ) {
            // The application may leave the rest of the body unread, and nginx then closes the connection
            // (ngx_http_finalize_connection). If the client waits for 100, it is unknown what its next bytes will be
            // (RFC 9110, 10.1.1).
            request.close_after();
        }
        if head.code() == SWITCHING_PROTOCOLS {
            return (upgrade::begin(request, &head), Sent::Nothing);
        }
        if let Some(target) = accel::target(request.conf(), &head) {
            accel::redirect(request, &head, target);
            return (None, Sent::Nothing);
        }
        if let Err(refused) = send_head(&request, &head, batch.expects_trailers) {
            return (Some(request), refused);
        }
        news = true;
    } else if !request.head_sent.get() {
        return (Some(request), if hinted { Sent::Hints } else { Sent::Nothing });
    }
    let sent = send_body(&request, batch, news);
    (Some(request), sent)
}

#[cfg(nginx_1_29)]
fn send_hints(request: &Request<'_>, batch: &mut Batch) -> Result<bool, Sent> {
    let mut any = false;
    for hints in batch.hints.drain(..) {
        if early_hints::send(request, &hints) == sys::ERROR {
            return Err(Sent::Refused(sys::ERROR));
        }
        any = true;
    }
    Ok(any)
}

fn send_head(
    request: &Request<'_>,
    head: &ResponseHead,
    expects_trailers: bool,
) -> Result<(), Sent> {
    if accel::intercepts(request, head) {
        let challenged = response::challenge(request, head);
        let code = challenged.map_or(INTERNAL_SERVER_ERROR, |()| head.code() as isize);
        return Err(Sent::Refused(code));
    }
    if response::set(request, head).is_none() {
        return Err(Sent::Refused(INTERNAL_SERVER_ERROR));
    }
    if expects_trailers {
        request.expect_trailers();
    }
    request.head_sent.set(true);
    // SAFETY: the request lives as long as `request`, and its header has not been sent.
    let (rc, header_only) = unsafe {
        let r = request.raw();
        parting::end_connection(request.token(), r);
        (ngx_http_send_header(r), (*r).header_only() != 0)
    };
    if rc == sys::ERROR || rc > sys::OK || header_only { Err(Sent::Refused(rc)) } else { Ok(()) }
}

/// Sends the blocks. `news` is set if something else has been sent before them.
fn send_body(request: &Request<'_>, batch: &mut Batch, news: bool) -> Sent {
    let last = batch.end == Some(End::Complete);
    if batch.blocks.is_empty() && !last && !news {
        return Sent::Nothing;
    }
    if last && response::set_trailers(request, &batch.trailers).is_none() {
        return Sent::Refused(sys::ERROR);
    }
    if !batch.blocks.is_empty() {
        // nginx sets it by the first buffer only (ngx_http_copy_filter), which is empty if the head has been sent
        // without a block. SSI would then show an include's stub behind its body.
        // SAFETY: the request lives as long as `request`.
        unsafe { (*request.raw()).set_request_output(1) };
    }
    let Some(out) = chain(request, batch, last) else {
        return Sent::Refused(sys::ERROR);
    };
    let rc = output(request, out);
    if rc == sys::ERROR { Sent::Refused(rc) } else { Sent::Body(rc) }
}

/// Makes buffers over the blocks of `batch`, without a copy. The last buffer flushes, or ends the response.
fn chain(request: &Request<'_>, batch: &mut Batch, last: bool) -> Option<*mut ngx_chain_t> {
    let mut chain = Chain::default();
    let mut held = request.held.borrow_mut();
    let own = request.filters_look();
    for block in batch.blocks.drain(..) {
        // What a filter reads must not change meanwhile.
        let block = if own { block.own() } else { block };
        let buffer = chain.add(request)?;
        fill(request, buffer, &block)?;
        held.push_back(block);
    }
    if chain.first.is_null() {
        let buffer = chain.add(request)?;
        // Without our tag the buffer is used only once. A filter may keep it for later, and an empty buffer looks as
        // if it were done (ngx_chain_update_chains).
        buffer.tag = ptr::null_mut();
        buffer.set_sync(u32::from(last && !request.is_main()));
        held.push_back(Block::Memory(Bytes::new()));
    }
    // SAFETY: the chain has at least one link, and nothing else uses its buffer yet.
    let buffer = unsafe { &mut *(*chain.last).buf };
    if last {
        buffer.set_last_buf(u32::from(request.is_main()));
        buffer.set_last_in_chain(1);
    } else {
        buffer.set_flush(1);
    }
    Some(chain.first)
}

/// Makes a buffer refer to a block. The block is held until nginx no longer needs it ([`output`]) or the request is
/// freed.
fn fill(request: &Request<'_>, buffer: &mut ngx_buf_t, block: &Block) -> Option<()> {
    match block {
        Block::Memory(bytes) => fill_memory(buffer, bytes.as_ptr_range()),
        Block::Tray(tray) => fill_memory(buffer, tray.addresses()?),
        Block::Spilled(part) | Block::File(part) => {
            let spilled = matches!(block, Block::Spilled(_));
            // SAFETY: these are the files of this request, which lives as long as `request`.
            buffer.file = unsafe { request.files.borrow_mut().of(request.raw(), part, spilled)? };
            buffer.file_pos = part.start as nginx_sys::off_t;
            buffer.file_last = part.end as nginx_sys::off_t;
            buffer.set_in_file(1);
        }
    }
    Some(())
}

fn fill_memory(buffer: &mut ngx_buf_t, addresses: Range<*const u8>) {
    buffer.pos = addresses.start.cast_mut();
    buffer.last = addresses.end.cast_mut();
    buffer.start = buffer.pos;
    buffer.end = buffer.last;
    buffer.set_memory(1);
}

/// A chain of nginx's buffers.
struct Chain {
    first: *mut ngx_chain_t,
    last: *mut ngx_chain_t,
}

impl Default for Chain {
    fn default() -> Self {
        Self { first: ptr::null_mut(), last: ptr::null_mut() }
    }
}

impl Chain {
    /// Adds a buffer at the end.
    fn add(&mut self, request: &Request<'_>) -> Option<&mut ngx_buf_t> {
        // SAFETY: the request lives as long as `request`, and the chain of free links is its own. A reused buffer
        // keeps its previous settings, so it is cleared.
        unsafe {
            let mut free = request.free.get();
            let added = ngx_chain_get_free_buf((*request.raw()).pool, &raw mut free);
            request.free.set(free);
            let added = added.as_mut()?;
            ptr::write_bytes(added.buf, 0, 1);
            if self.first.is_null() {
                self.first = added;
            } else {
                (*self.last).next = added;
            }
            self.last = added;
            let buffer = &mut *added.buf;
            buffer.tag = tag();
            Some(buffer)
        }
    }
}

/// Runs the output filters over `out` (null: over what they still hold), and tells the pipe what the client has
/// received.
pub(super) fn output(request: &Request<'_>, mut out: *mut ngx_chain_t) -> isize {
    // SAFETY: the request lives as long as `request`, and the links of its chains are from its pool.
    let (rc, busy) = unsafe {
        let r = request.raw();
        let rc = ngx_http_output_filter(r, out);
        let (mut free, mut busy) = (request.free.get(), request.busy.get());
        ngx_chain_update_chains((*r).pool, &raw mut free, &raw mut busy, &raw mut out, tag());
        request.free.set(free);
        request.busy.set(busy);
        let mut count = 0;
        while !busy.is_null() {
            count += 1;
            busy = (*busy).next;
        }
        (rc, count)
    };
    release(request, busy);
    rc
}

/// Drops all blocks except the last `busy`, which nginx still reads. The files of dropped blocks may stay open
/// ([`Files`]).
///
/// [`Files`]: super::files::Files
fn release(request: &Request<'_>, busy: usize) {
    let Some(exchange) = request.exchange() else { return };
    let mut held = request.held.borrow_mut();
    let (mut memory, mut spilled, mut shared) = (0, 0, false);
    let count = held.len().saturating_sub(busy);
    for block in held.drain(..count) {
        shared |= block.is_shared();
        match block {
            Block::Memory(bytes) => memory += bytes.len(),
            Block::Tray(tray) => memory += tray.len(),
            Block::Spilled(part) => spilled += part.len(),
            Block::File(_) => {}
        }
    }
    let all = exchange.drained(memory, spilled, busy > 0);
    let mut files = request.files.borrow_mut();
    if !files.is_empty() {
        // SAFETY: these are the files of this request, which lives as long as `request`.
        let closed = unsafe { files.close_sent(request.raw(), held.iter(), all) };
        if closed > 0 {
            exchange.files_closed(closed);
        }
    }
    if shared {
        exchange.collect();
    }
}

/// Waits for the client if it takes no more now, as `ngx_http_writer` does. Returns the request if it is still in
/// flight.
pub(super) fn settle(request: Request<'_>) -> Option<Request<'_>> {
    let event = request.write_event();
    let core = request.core_conf();
    // SAFETY: the event is that of a live request's connection.
    let delayed = unsafe { (*event).delayed() != 0 };
    let waits = delayed || request.has_unsent();
    // limit_rate has its own timer.
    let send_lowat = if delayed { 0 } else { core.send_lowat };
    // SAFETY: as above.
    if waits && unsafe { ngx_handle_write_event(event, send_lowat) } != sys::OK {
        finalize::end(request, Ending::ClientGone(sys::ERROR));
        return None;
    }
    if !delayed {
        // SAFETY: as above.
        unsafe {
            // Only if the request waits for the client: a subrequest's output may wait for another request
            // (ngx_http_upstream_process_non_buffered_request).
            if waits && (*event).active() != 0 && (*event).ready() == 0 {
                nginx_sys::ngx_add_timer(event, core.send_timeout);
            } else {
                sys::delete_timer(event);
            }
        }
    }
    Some(request)
}

fn tag() -> ngx_buf_tag_t {
    ptr::from_ref(sys::own_module()).cast_mut().cast()
}
