//! The request's body: all of it before the thread starts, or piece by piece.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::ptr;
use std::sync::Arc;

use bytes::Bytes;
use nginx_sys::{
    ngx_buf_t, ngx_chain_t, ngx_http_read_client_request_body,
    ngx_http_read_unbuffered_request_body,
};
use rustix::fd::BorrowedFd;

use super::Request;
use super::call::{Handler, on_request};
use super::context::Body;
use super::event_loop;
use super::finalize::{self, Ending};
use crate::bridge::pipe::buffers::Buffers;
use crate::bridge::pipe::input::{InputError, Segment};
use crate::nginx::children;
use crate::nginx::log::info;
use crate::nginx::sys::{self, HTTP_2};

/// The fewest bytes that are read at once; if `client_body_buffer_size` is more, as many as that.
const LEAST: usize = 64 * 1024;

const REQUEST_TIME_OUT: isize = nginx_sys::NGX_HTTP_REQUEST_TIME_OUT as isize;

/// Has the body been handed on as it arrived, by this module or another one? What is left of it then
/// is not a body.
pub(super) fn is_taken(request: &Request<'_>) -> bool {
    // SAFETY: the request is there. A subrequest shares its main request's body.
    unsafe {
        let main = &*(*request.raw()).main;
        !main.request_body.is_null()
            && (main.request_body_no_buffering() != 0 || main.reading_body() != 0)
    }
}

/// Has [`is_taken`] hold for a body that has come whole: nginx takes its own mark away if the body came
/// with the head, and with each redirect (`ngx_http_read_client_request_body`).
pub(super) fn mark_taken(request: &Request<'_>) {
    // SAFETY: the request is there.
    unsafe {
        let main = (*request.raw()).main;
        // While the rest is to come, `reading_body` says it, and HTTP/2 drops that rest.
        if (*main).reading_body() == 0 {
            (*main).set_request_body_no_buffering(1);
        }
    }
}

/// The buffered body as owned parts, and its length. nginx has read it whole. Its temporary file is shared by a
/// duplicate of its descriptor; the thread reads it.
pub(super) fn take_buffered(request: &Request<'_>) -> io::Result<(VecDeque<Segment>, u64)> {
    let mut segments = VecDeque::new();
    let mut length = 0;
    let mut file: Option<Arc<File>> = None;
    for buffer in buffers(request) {
        if buffer.in_file() != 0 {
            let shared = match &file {
                Some(file) => Arc::clone(file),
                None => Arc::clone(file.insert(Arc::new(share(buffer)?))),
            };
            let (start, end) = (buffer.file_pos as u64, buffer.file_last as u64);
            if end > start {
                length += end - start;
                segments.push_back(Segment::File { file: shared, start, end });
            }
        } else {
            let bytes = memory(buffer);
            if !bytes.is_empty() {
                length += bytes.len() as u64;
                segments.push_back(Segment::Memory(Bytes::copy_from_slice(bytes)));
            }
        }
    }
    Ok((segments, length))
}

/// A duplicate of the descriptor of a buffer that is in a file.
fn share(buffer: &ngx_buf_t) -> io::Result<File> {
    // SAFETY: such a buffer has a file, which is open as long as its request is there.
    let nginxs = unsafe { BorrowedFd::borrow_raw((*buffer.file).fd) };
    children::close_on_exec(nginxs.as_raw_fd());
    Ok(File::from(rustix::io::fcntl_dupfd_cloexec(nginxs, 0)?))
}

/// nginx's buffers of what it has read.
fn buffers<'r>(request: &'r Request<'_>) -> impl Iterator<Item = &'r ngx_buf_t> {
    // SAFETY: the request is there, and nothing changes its buffers meanwhile: nginx is not called.
    let mut link = unsafe {
        let body = (*request.raw()).request_body;
        if body.is_null() { ptr::null_mut() } else { (*body).bufs }
    };
    std::iter::from_fn(move || {
        // SAFETY: as above; each link has a buffer.
        unsafe {
            let part = link.as_ref()?;
            link = part.next;
            Some(&*part.buf)
        }
    })
}

/// The thread wants (more of) the body.
pub(in crate::nginx) fn wanted(request: Request<'_>) {
    match request.body.get() {
        Body::Expected => start(request),
        Body::Paused => {
            request.body.set(Body::Streaming);
            forward(request, true);
        }
        Body::Buffered | Body::Streaming | Body::Complete | Body::Taken => {}
    }
}

/// Has nginx begin to read the body, for which the client waits.
fn start(request: Request<'_>) {
    request.body.set(Body::Streaming);
    let (token, id, r) = (request.token(), request.id.get(), request.raw());
    // SAFETY: the request is there. nginx takes a count for itself; this request holds one already.
    let writable = unsafe {
        if request.head_sent.get() {
            // Too late for 100: the final response is on its way (RFC 9110, 10.1.1).
            (*r).set_expect_tested(1);
        }
        (*r).set_request_body_no_buffering(1);
        let main = (*r).main;
        let writable = (*r).write_event_handler;
        (*main).set_count((*main).count() - 1);
        let rc = ngx_http_read_client_request_body(r, Some(on_request::<Started>));
        if rc >= sys::SPECIAL_RESPONSE {
            // In this case nginx has given the count back, and called nobody.
            (*main).set_count((*main).count() + 1);
            finalize::end(request, Ending::BodyRefused(rc));
            return;
        }
        writable
    };
    // What nginx has called may have ended the request.
    if let Some(request) = id.and_then(|id| event_loop::find(token, id)) {
        // SAFETY: the request is there. nginx has put its own there, for a request that does not write yet.
        unsafe { (*request.raw()).write_event_handler = writable };
    }
}

/// nginx has a first part of the unbuffered body, or none yet.
pub(super) struct Started;

impl Handler for Started {
    fn call(request: Request<'_>) {
        forward(request, false);
    }
}

/// nginx's read handler while the body is streamed.
struct Readable;

impl Handler for Readable {
    fn call(request: Request<'_>) {
        // SAFETY: the event is that of a live request's connection.
        if unsafe { (*request.read_event()).timedout() } == 0 {
            forward(request, true);
            return;
        }
        info!(&request, "client timed out (client_body_timeout)");
        // SAFETY: a live request has a connection.
        unsafe { (*request.connection()).set_timedout(1) };
        if let Some(exchange) = request.exchange() {
            exchange.input.fail(InputError::TimedOut);
        }
        finalize::end(request, Ending::ClientGone(REQUEST_TIME_OUT));
    }
}

/// Passes on what nginx has, and reads on, until the client has no more or the pipe is full. nginx's buffers are
/// used up here, as `ngx_http_upstream_send_request_body` does: it makes new ones of them with the next read.
fn forward(request: Request<'_>, mut read: bool) {
    let Some(exchange) = request.exchange().cloned() else { return };
    let r = request.raw();
    loop {
        let (bytes, any) = if read {
            match read_on(&request, &exchange.worker.buffers) {
                Ok(part) => part,
                Err(rc) => {
                    finalize::end(request, Ending::BodyRefused(rc));
                    return;
                }
            }
        } else {
            take_bufs(&request)
        };
        let room = bytes.is_empty() || exchange.input.push(bytes);
        // SAFETY: the request is there.
        if unsafe { (*r).reading_body() } == 0 {
            mark_taken(&request);
            exchange.input.end();
            request.body.set(Body::Complete);
            request.watch();
            return;
        }
        if !room {
            // Not the client's time: client_body_timeout begins again with the next read.
            // SAFETY: the event is that of a live request's connection.
            unsafe { sys::delete_timer(request.read_event()) };
            request.body.set(Body::Paused);
            request.watch();
            return;
        }
        if read && !any {
            exchange.input.notify();
            // SAFETY: the request is there.
            unsafe { (*r).read_event_handler = Some(on_request::<Readable>) };
            return;
        }
        read = true;
    }
}

/// Reads on; the next block, and whether nginx had any buffer, or nginx's code if it refuses the body.
fn read_on(request: &Request<'_>, buffers: &Buffers) -> Result<(Bytes, bool), isize> {
    // SAFETY: the request is there, and nginx has begun to read its body.
    let (version, buffer) =
        unsafe { ((*request.raw()).http_version, (*(*request.raw()).request_body).buf) };
    // HTTP/2 and 3 have read the body before; and what nginx has not looked at yet must stay.
    if version >= HTTP_2 || buffer.is_null() || holds_any(request) {
        read_unbuffered(request)?;
        Ok(take_bufs(request))
    } else {
        read_into(request, buffer, buffers)
    }
}

/// Reads straight into one of `buffers`, which nginx's `buffer` has meanwhile: nginx reads to where its buffer ends.
/// nginx's own memory is put back before anybody else sees the buffer, unless something in it is still to be read:
/// then the other memory stays with the request.
fn read_into(
    request: &Request<'_>,
    buffer: *mut ngx_buf_t,
    buffers: &Buffers,
) -> Result<(Bytes, bool), isize> {
    // SAFETY: the buffer is that of a live request's body, and nothing in it is to be kept.
    let (start, end) = unsafe { ((*buffer).start, (*buffer).end) };
    let mut memory = buffers.take((end.addr() - start.addr()).max(LEAST));
    let own = memory.as_mut_ptr();
    let room = memory.capacity();
    // SAFETY: as above; the memory has that room, and is kept until nginx has it no more.
    let (read, filled) = unsafe {
        set_memory(buffer, own, own.add(room));
        let read = read_unbuffered(request);
        (read, (*buffer).last.addr() - own.addr())
    };
    let part = match take_lent(request, &mut memory, filled) {
        Some(block) => {
            // SAFETY: all that nginx has read is in the block.
            unsafe { set_memory(buffer, start, end) };
            (block, true)
        }
        None => {
            let part = take_bufs(request);
            if holds_any(request) {
                request.lent.borrow_mut().push(memory);
            } else {
                // SAFETY: nothing is left in the buffer.
                unsafe { set_memory(buffer, start, end) };
                buffers.keep(memory);
            }
            part
        }
    };
    read.map(|()| part)
}

/// `ngx_http_read_unbuffered_request_body`; nginx's code if it wants no more of the body.
fn read_unbuffered(request: &Request<'_>) -> Result<(), isize> {
    // SAFETY: the request is there, and nginx has begun to read its body.
    let rc = unsafe { ngx_http_read_unbuffered_request_body(request.raw()) };
    if rc >= sys::SPECIAL_RESPONSE || rc == sys::ERROR { Err(rc) } else { Ok(()) }
}

/// Gives nginx's buffer other memory, all of it free.
///
/// # Safety
///
/// The buffer is valid, and nothing in it is to be kept.
unsafe fn set_memory(buffer: *mut ngx_buf_t, start: *mut u8, end: *mut u8) {
    // SAFETY: the buffer is valid.
    unsafe {
        (*buffer).start = start;
        (*buffer).pos = start;
        (*buffer).last = start;
        (*buffer).end = end;
    }
}

/// Is something in nginx's buffer still to be read, or held back by a filter (`filter_need_buffering`)?
fn holds_any(request: &Request<'_>) -> bool {
    // SAFETY: the request is there, and nginx has begun to read its body; each link has a buffer.
    unsafe {
        let body = &*(*request.raw()).request_body;
        let mut link = body.busy;
        while let Some(part) = link.as_ref() {
            if (*part.buf).pos != (*part.buf).last {
                return true;
            }
            link = part.next;
        }
        (*body.buf).pos != (*body.buf).last
    }
}

/// What nginx has read into the first `filled` bytes of `memory`, with `memory` itself. None if that is not
/// the body as it is, as with chunks, which are copied out of their framing; nor if it is small, for a slow
/// client's few bytes would keep a whole buffer until they are read.
fn take_lent(request: &Request<'_>, memory: &mut Vec<u8>, filled: usize) -> Option<Bytes> {
    let mut next = memory.as_ptr();
    for buffer in buffers(request) {
        if !ptr::eq(buffer.pos, next) {
            return None;
        }
        next = buffer.last;
    }
    let whole = next.addr() - memory.as_ptr().addr() == filled;
    if !whole || filled < memory.capacity() / 4 {
        return None;
    }
    // SAFETY: nginx has written so many bytes, and all buffers lie in them.
    unsafe { memory.set_len(filled) };
    drop_bufs(request);
    Some(Bytes::from(std::mem::take(memory)))
}

/// Copies what nginx has read into one block; and says whether nginx had any buffer.
fn take_bufs(request: &Request<'_>) -> (Bytes, bool) {
    let mut bytes = Vec::new();
    for buffer in buffers(request) {
        bytes.extend_from_slice(memory(buffer));
    }
    (Bytes::from(bytes), drop_bufs(request))
}

/// Marks nginx's buffers as consumed; says whether there was any.
fn drop_bufs(request: &Request<'_>) -> bool {
    // SAFETY: the request is there; the links are of its pool and nobody else's once taken out.
    unsafe {
        let r = request.raw();
        let body = &mut *(*r).request_body;
        let mut link: *mut ngx_chain_t = std::mem::replace(&mut body.bufs, ptr::null_mut());
        let any = !link.is_null();
        while !link.is_null() {
            let next = (*link).next;
            let buffer = &mut *(*link).buf;
            buffer.pos = buffer.last;
            sys::free_chain((*r).pool, link);
            link = next;
        }
        any
    }
}

/// What a buffer of the request's body holds in memory.
fn memory(buffer: &ngx_buf_t) -> &[u8] {
    let len = buffer.last.addr().saturating_sub(buffer.pos.addr());
    if len == 0 {
        return &[];
    }
    // SAFETY: nginx's buffer is in memory: its bytes are pos..last.
    unsafe { std::slice::from_raw_parts(buffer.pos, len) }
}
