//! The files of `python_log` in a worker: it has descriptors of its own for them, which follow nginx's when the logs are
//! reopened (`bridge/output_log.rs`).

use std::cell::Cell;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::ptr::NonNull;
use std::sync::Arc;

use nginx_sys::{ngx_cycle, ngx_cycle_t, ngx_open_file_t};

use crate::bridge::code::Code;
use crate::bridge::output_log::RecordFile;
use crate::nginx::conf::MainConf;
use crate::nginx::log::{HasLog, say};
use crate::nginx::own_event::{EventHandler, OwnEvent};
use crate::nginx::trampoline::EventThread;

/// The files, as nginx has opened them for this worker.
pub(super) struct Outputs {
    files: Vec<Output>,
    cycle: *mut ngx_cycle_t,
    /// Fires when nginx may have opened them again.
    look: OwnEvent,
}

struct Output {
    file: Arc<RecordFile>,
    opened: NonNull<ngx_open_file_t>,
    /// nginx's descriptor that the worker's own is a copy of.
    copied: Cell<RawFd>,
}

impl Outputs {
    /// The files of a worker that starts. Its own descriptors have numbers from `least` on. `look` is called when nginx
    /// may have opened them again, and calls [`follow`](Self::follow).
    ///
    /// # Safety
    ///
    /// `main` is the configuration of `cycle`, which is the worker's.
    pub(super) unsafe fn open(
        main: &MainConf,
        cycle: *mut ngx_cycle_t,
        least: RawFd,
        look: EventHandler,
    ) -> Self {
        let opened = main.outputs.files().iter().filter_map(|(file, opened)| {
            let opened = NonNull::new(*opened)?;
            // SAFETY: nginx has opened its files before it starts its workers.
            let fd = unsafe { opened.as_ref() }.fd;
            // SAFETY: a system call about numbers.
            let own = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, least) };
            if own >= 0 {
                // SAFETY: it has just been made, and belongs to nobody else.
                file.open(unsafe { OwnedFd::from_raw_fd(own) });
            }
            // If there is none, whoever writes first says so.
            Some(Output { file: Arc::clone(file), opened, copied: Cell::new(fd) })
        });
        Self { files: opened.collect(), cycle, look: OwnEvent::new(look) }
    }

    /// nginx may reopen its files at the end of this turn.
    pub(super) fn look_later(&self, token: EventThread, owner: &impl HasLog) {
        if !self.files.is_empty() {
            self.look.post_next(token, owner);
        }
    }

    /// Lets the worker's descriptors lead where nginx's do.
    pub(super) fn follow(&self, _token: EventThread, owner: &impl HasLog) {
        // SAFETY: nginx's thread. A single process that has read another configuration has no files of this one.
        if self.files.is_empty() || unsafe { ngx_cycle } != self.cycle {
            return;
        }
        for Output { file, opened, copied } in &self.files {
            // SAFETY: nginx's file lives as long as its cycle.
            let fd = unsafe { opened.as_ref() }.fd;
            let Some(own) = file.descriptor().filter(|_| fd != copied.get()) else { continue };
            copied.set(fd);
            // SAFETY: a system call about numbers; `own` is the module's, whose threads may write to it meanwhile.
            if unsafe { libc::dup3(fd, own, libc::O_CLOEXEC) } < 0 {
                let error = std::io::Error::last_os_error();
                say!(
                    owner,
                    Code::LogNotReopened,
                    "python_log {}: the new file cannot be used: {error}",
                    file.name()
                );
            }
        }
    }
}
