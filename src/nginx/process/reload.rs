//! `python_reload`: an application has changed, and nginx's master is told to reload, as by `nginx -s reload`. Everything
//! else is what each reload does: the check, and new workers before the old ones end. If the workers run no Python, a process
//! of a group tells them instead, and those of its group alone are replaced (`renewal.rs`).
//!
//! A worker may not signal a master that runs as another user. But nginx's master has asked the kernel for a signal when
//! a worker writes to its end of the channel between them (`ngx_spawn_process`: FIOASYNC and F_SETOWN on the master's end,
//! which the worker has as well until it closes it). The kernel sends it by the right of who has asked for it. It is SIGIO,
//! which the master ignores; who has the master's end open may choose another one (F_SETSIG).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use nginx_sys::{ngx_channel, ngx_cycle_t, ngx_parent, ngx_process_slot, ngx_processes};

use super::stage::Stage;
use super::state::Process;
use crate::bridge::changes::change::{Change, milliseconds};
use crate::bridge::changes::watch::Reload;
use crate::bridge::code::Code;
use crate::nginx::conf::MainConf;
use crate::nginx::log::say;
use crate::nginx::shared_words::SharedWords;
use crate::nginx::trampoline::EventThread;

/// The moment at which a worker has last told the master to reload, in milliseconds of the system's time: shared by all
/// workers, all of which see the same changes.
static TOLD: OnceLock<SharedWords> = OnceLock::new();

/// The master has taken over a configuration, and starts its workers next. Without this memory each worker tells the
/// master.
///
/// # Safety
///
/// Called in nginx's `init_module`, with the new cycle.
pub(in crate::nginx) unsafe fn share(cycle: *mut ngx_cycle_t) {
    // SAFETY: the cycle is the new one.
    let main = unsafe { MainConf::of_cycle(cycle) };
    let is_on = main.is_some_and(|main| main.reload.as_ref().is_some_and(|it| *it != Reload::Off));
    if let (true, None, Ok(words)) = (is_on, TOLD.get(), SharedWords::new(2)) {
        TOLD.get_or_init(|| words);
    }
}

/// The master's end of the channel.
///
/// # Safety
///
/// Called in `init_process` of a worker, which closes it afterwards.
pub(super) unsafe fn masters_end() -> io::Result<OwnedFd> {
    // SAFETY: nginx has set its place in the table as it made this process, with both ends of its channel.
    unsafe {
        let place = usize::try_from(ngx_process_slot).map_err(io::Error::other)?;
        let processes = &raw const ngx_processes;
        let channel = (*processes).get(place).map(|process| process.channel);
        let [end, _] = channel.ok_or_else(|| io::Error::other("it has no channel"))?;
        BorrowedFd::borrow_raw(end).try_clone_to_owned()
    }
}

/// An application has changed. A worker that has successors does not count: they see what is theirs.
pub(super) fn changed(token: EventThread, process: &Process, change: &Change) {
    let standing = &process.standing;
    let has_successors = match standing.stage() {
        Stage::Parting { accepts, .. } => !accepts,
        Stage::Ending | Stage::WaitingForWebWorkers => true,
        _ => false,
    };
    if has_successors {
        return;
    }
    let config = &process.event_loop.worker().config;
    if !process.is_web() && config.renews_groups() {
        say!(
            process,
            Code::GroupChanged,
            "{change} (python_reload): the processes of this group are replaced, if that can be imported"
        );
        process.wall.say_changed(milliseconds(change.when));
        return process.event_loop.end_turn_later(token);
    }
    let Some(end) = &process.masters_end else { return };
    if !is_news(change.when) {
        return;
    }
    say!(process, Code::FilesChanged, "{change} (python_reload): nginx is told to reload");
    if let Err(error) = tell_master(end) {
        say!(
            process,
            Code::MasterNotTold,
            "nginx's master cannot be told to reload (python_reload): {error}"
        );
    }
}

/// Whether nobody has told the master since then. It counts as told from now on.
fn is_news(when: SystemTime) -> bool {
    let Some(told) = TOLD.get().map(SharedWords::first_long) else { return true };
    is_newer(told, milliseconds(when), milliseconds(SystemTime::now()))
}

fn is_newer(told: &AtomicU64, when: u64, now: u64) -> bool {
    // The clock may have been set back since.
    let tell = |before| (before < when || before > now).then_some(now);
    told.fetch_update(Ordering::SeqCst, Ordering::SeqCst, tell).is_ok()
}

fn tell_master(end: &OwnedFd) -> io::Result<()> {
    // SAFETY: nginx has set it for this process; plain system calls.
    unsafe {
        if libc::getppid() != ngx_parent {
            return Err(io::Error::other("it has ended"));
        }
        if libc::kill(ngx_parent, libc::SIGHUP) == 0 {
            return Ok(());
        }
    }
    let refused = io::Error::last_os_error();
    if refused.raw_os_error() != Some(libc::EPERM) {
        return Err(refused);
    }
    by_channel(end)
}

/// Writes to the channel, and takes back what has been written: the master does not read it.
fn by_channel(end: &OwnedFd) -> io::Result<()> {
    choose_signal(end, libc::SIGHUP)?;
    let mut byte = [0];
    // SAFETY: nginx has set it for this process, and keeps it open.
    let channel = unsafe { BorrowedFd::borrow_raw(ngx_channel) };
    let written = rustix::io::write(channel, &byte).and_then(|_| rustix::io::read(end, &mut byte));
    choose_signal(end, 0)?;
    Ok(written.map(drop)?)
}

/// `F_SETSIG` of fcntl(2), as nearly all of Linux's architectures have it.
const F_SETSIG: libc::c_int = 10;

/// 0: the one that is sent if none is chosen.
fn choose_signal(end: &OwnedFd, signal: libc::c_int) -> io::Result<()> {
    // SAFETY: a plain system call.
    if unsafe { libc::fcntl(end.as_raw_fd(), F_SETSIG, signal) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_several_workers_tells_of_a_change() {
        let told = AtomicU64::new(0);
        assert!(is_newer(&told, 100, 300));
        assert!(!is_newer(&told, 110, 320), "another worker has seen it a little later");
        assert!(is_newer(&told, 301, 500), "something has changed after it was told");
        assert!(!is_newer(&told, 301, 501));
        assert!(is_newer(&told, 200, 400), "the clock has been set back");
    }
}
