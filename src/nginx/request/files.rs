//! The files that nginx may send a request's response from.
//!
//! nginx's filters copy buffers. A copy names the same `ngx_file_t` as the buffer that it was made from, and may be
//! sent after that buffer is used up (`ngx_output_chain_copy_buf`, `ngx_http_sub_body_filter`,
//! `ngx_http_v2_send_chain`). So a descriptor is not closed when its buffer is done: the number would soon belong to
//! another file, and that file would be sent. A descriptor lives as long as the request's pool, which nginx destroys
//! when nothing of the request can be sent any more. It is closed earlier only if no filter holds a buffer and no
//! buffer that waits in `r->out` names the file. The response's pipe
//! ([`Output`](crate::bridge::pipe::output::Output)) limits the number of descriptors.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::ptr;
use std::sync::Arc;

use nginx_sys::{
    NGX_HTTP_WRITE_BUFFERED, NGX_OPEN_FILE_DIRECTIO_OFF, ngx_chain_t, ngx_directio_on, ngx_file_t,
    ngx_http_request_t, ngx_pcalloc,
};

use crate::bridge::pipe::output::parts::{Block, FilePart};
use crate::nginx::sys;

/// Owned by the request's [`Context`](super::context::Context), which is freed with the request's pool.
#[derive(Default)]
pub(in crate::nginx) struct Files {
    open: Vec<Sent>,
    /// The `ngx_file_t`s of closed files. Nothing names them any more.
    spare: Vec<*mut ngx_file_t>,
}

/// A file as nginx sees it.
struct Sent {
    of: Arc<File>,
    /// Whether it is the response's temporary file.
    spilled: bool,
    /// The same file, opened a second time for `directio`.
    _direct: Option<File>,
    nginxs: *mut ngx_file_t,
}

impl Files {
    /// nginx's file for `part`. `spilled` is set if it is the response's temporary file.
    ///
    /// # Safety
    ///
    /// `r` is the live request that these files belong to.
    pub(in crate::nginx) unsafe fn of(
        &mut self,
        r: *mut ngx_http_request_t,
        part: &FilePart,
        spilled: bool,
    ) -> Option<*mut ngx_file_t> {
        if let Some(sent) = self.open.iter().rev().find(|sent| Arc::ptr_eq(&sent.of, &part.file)) {
            return Some(sent.nginxs);
        }
        let (name, direct) = if spilled {
            (sys::string(c"wsgi temporary file"), None)
        } else {
            // SAFETY: `r` is a live request.
            (sys::string(c"file of wsgi.file_wrapper"), unsafe { direct(r, &part.file) })
        };
        // SAFETY: `r` is a live request; all zeros are a valid `ngx_file_t`, and `open` keeps the descriptor open.
        let nginxs = unsafe {
            let nginxs = match self.spare.pop() {
                Some(spare) => spare,
                None => ngx_pcalloc((*r).pool, size_of::<ngx_file_t>()).cast::<ngx_file_t>(),
            };
            let file = nginxs.as_mut()?;
            ptr::write_bytes(nginxs, 0, 1);
            file.fd = direct.as_ref().unwrap_or(&part.file).as_raw_fd();
            file.name = name;
            file.log = (*(*r).connection).log;
            file.set_directio(u32::from(direct.is_some()));
            nginxs
        };
        self.open.push(Sent { of: Arc::clone(&part.file), spilled, _direct: direct, nginxs });
        Some(nginxs)
    }

    pub(in crate::nginx) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Closes the files that nothing is sent from any more: neither a block that is still `held` nor a copy of a
    /// buffer uses them. If `all` is not set, more of the response may arrive in the last temporary file, which then
    /// stays open. Returns how many temporary files were closed.
    ///
    /// # Safety
    ///
    /// `r` is the live request that these files belong to.
    pub(in crate::nginx) unsafe fn close_sent<'b>(
        &mut self,
        r: *mut ngx_http_request_t,
        held: impl Iterator<Item = &'b Block> + Clone,
        all: bool,
    ) -> usize {
        // SAFETY: `r` is a live request.
        if unsafe { filters_hold_any(r) } {
            return 0;
        }
        let last = self.open.iter().rev().find(|sent| sent.spilled && !all).map(|sent| sent.nginxs);
        let spare = &mut self.spare;
        let mut closed = 0;
        self.open.retain(|sent| {
            let is_held = held.clone().any(|block| match block {
                Block::Spilled(part) | Block::File(part) => Arc::ptr_eq(&part.file, &sent.of),
                Block::Memory(_) | Block::Tray(_) => false,
            });
            // SAFETY: `r` is a live request, and its chain is from its pool.
            if is_held || last == Some(sent.nginxs) || unsafe { is_named((*r).out, sent.nginxs) } {
                return true;
            }
            spare.push(sent.nginxs);
            closed += usize::from(sent.spilled);
            false
        });
        closed
    }
}

/// Whether a filter may hold a buffer that this module cannot see. Every filter that nginx ships sets one of these
/// bits if it does; otherwise nginx would finalize the request with the filter's buffers unsent
/// (`ngx_http_finalize_request`). What a subrequest has sent may wait for its turn in any request above it
/// (`ngx_http_postpone_filter`).
unsafe fn filters_hold_any(r: *mut ngx_http_request_t) -> bool {
    // SAFETY: `r` is a live request, which has a connection.
    unsafe {
        let request = &*r;
        let connection = &*request.connection;
        let others = !NGX_HTTP_WRITE_BUFFERED;
        r != request.main
            || !request.postponed.is_null()
            || request.aio() != 0
            || request.blocked() != 0
            || request.buffered() != 0
            || connection.buffered() & others != 0
    }
}

/// Whether a buffer of the chain that waits to be written names the file.
unsafe fn is_named(chain: *mut ngx_chain_t, file: *mut ngx_file_t) -> bool {
    let mut link = chain;
    // SAFETY: the links and their buffers are from the request's pool.
    unsafe {
        while let Some(part) = link.as_ref() {
            let buffer = &*part.buf;
            if buffer.in_file() != 0 && ptr::eq(buffer.file, file) {
                return true;
            }
            link = part.next;
        }
    }
    false
}

/// Opens the application's file a second time, if `directio` applies to it. O_DIRECT belongs to the open file, so it
/// would otherwise be set for the application as well. If this fails, the file is sent without O_DIRECT.
unsafe fn direct(r: *mut ngx_http_request_t, file: &File) -> Option<File> {
    // SAFETY: `r` is a live request.
    let from = unsafe { sys::core_loc_conf(r) }.directio;
    if from == NGX_OPEN_FILE_DIRECTIO_OFF as nginx_sys::off_t {
        return None;
    }
    let size = file.metadata().ok()?.len();
    if size < from as u64 {
        return None;
    }
    let mut options = File::options();
    // Whoever has a lease on the file (F_SETLEASE), such as the application, is not waited for.
    options.read(true).custom_flags(libc::O_NONBLOCK);
    let again = options.open(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()?;
    // SAFETY: the descriptor is open, and this function owns it.
    let set = unsafe { ngx_directio_on(again.as_raw_fd()) };
    (set == 0).then_some(again)
}
