//! What nginx's processes have of one another, and a process of a `python_process` must not have: whoever has taken over such a
//! process could use it against nginx.
//!
//! nginx forks each process with the channels of all others, to which only its master writes, and of which the handler at
//! the other end trusts all that it reads (`ngx_channel_handler`). Later ones come by the own channel. nginx closes these
//! descriptors itself when it hears that a process has ended. So their numbers stay open, but lead to /dev/null.

use std::fs::File;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::OnceLock;

use nginx_sys::{ngx_process_slot, ngx_processes};

use crate::nginx::trampoline::EventThread;

static NULL: OnceLock<Option<File>> = OnceLock::new();

/// Gives up the channels to the other processes that this one has by now.
pub(super) fn give_up_channels(_token: EventThread) {
    let null = NULL.get_or_init(|| File::options().read(true).write(true).open("/dev/null").ok());
    let Some(null) = null.as_ref().map(File::as_raw_fd) else { return };
    // SAFETY: nginx's thread, which alone writes to its table. An entry that was never used is zeros; one whose process the
    // master had seen end before the fork has no number, and its descriptors are closed.
    let (processes, own) = unsafe {
        let processes = &raw const ngx_processes;
        (&*processes, ngx_process_slot)
    };
    let own = usize::try_from(own).unwrap_or(usize::MAX);
    let others = processes.iter().enumerate().filter(|(at, other)| *at != own && other.pid > 0);
    for (_, other) in others {
        lead_to(null, other.channel[0]);
    }
}

fn lead_to(null: RawFd, channel: RawFd) {
    if channel > libc::STDERR_FILENO {
        // SAFETY: a system call without pointers. The descriptor is nginx's end of a channel, which nobody writes to in this
        // process. If it fails there is none that could be written to.
        unsafe { libc::dup3(null, channel, libc::O_CLOEXEC) };
    }
}
