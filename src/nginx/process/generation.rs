//! The workers of one configuration, and what they know of those before and after them (`bridge/generations.rs`), in
//! memory that the master has mapped once.

use std::sync::{Mutex, OnceLock, PoisonError};

use nginx_sys::{
    NGX_PROCESS_WORKER, ngx_cycle_t, ngx_parent, ngx_process, ngx_process_slot, ngx_worker,
};

use super::listening;
use crate::bridge::code::Code;
use crate::bridge::config::Role;
use crate::bridge::generations::{self, Generations, Member};
use crate::nginx::conf::MainConf;
use crate::nginx::keep::Kept;
use crate::nginx::log;
use crate::nginx::shared_words::{Reading, SharedWords};

/// Shared by the master and its workers, of all configurations.
static GENERATIONS: OnceLock<Shared> = OnceLock::new();

struct Shared {
    all: Generations<&'static SharedWords>,
    words: &'static SharedWords,
    /// The file of the words, as long as this process has it.
    file: Mutex<Option<Reading>>,
}

/// The master has taken over a configuration, and starts its workers next, beside the processes that go on.
///
/// # Safety
///
/// Called in nginx's `init_module`, with the new cycle.
pub(in crate::nginx) unsafe fn publish(cycle: *mut ngx_cycle_t, kept: &[Kept]) {
    // SAFETY: the cycle is the new one.
    let Some(main) = (unsafe { MainConf::of_cycle(cycle) }) else { return };
    let Some(generations) = mapped(cycle) else { return };
    // SAFETY: the cycle is the new one; nginx sets its parent's number as it starts.
    let (upgraded, parent) = unsafe { (listening::note_old(cycle), ngx_parent) };
    // Without applications there is nothing to wait for.
    let workers = if main.has_apps() { main.groups.numbers().end } else { 0 };
    let old_master = u32::try_from(parent).ok().filter(|_| upgraded);
    generations.all.publish(number(main), workers, old_master);
    for Kept { number: worker, place } in kept {
        generations.all.keep(number(main), *worker, *place);
    }
}

fn number(main: &MainConf) -> u32 {
    u32::try_from(main.configuration).unwrap_or(u32::MAX)
}

/// The memory, which is mapped once. `None` if it cannot be, which is logged.
fn mapped(cycle: *mut ngx_cycle_t) -> Option<&'static Shared> {
    if let Some(known) = GENERATIONS.get() {
        return Some(known);
    }
    let workers = nginx_sys::NGX_MAX_PROCESSES as usize;
    let made = SharedWords::with_file(generations::words(workers))
        .and_then(|made| Ok((made, SharedWords::new(generations::ready_words(workers))?)));
    match made {
        // They are kept until the process ends.
        Ok(((words, file), ready)) => Some(GENERATIONS.get_or_init(|| {
            let words: &SharedWords = Box::leak(Box::new(words));
            let all = Generations::new(words, Box::leak(Box::new(ready)));
            Shared { all, words, file: Mutex::new(Some(file)) }
        })),
        Err(error) => {
            let text = format!(
                "memory to share with the workers cannot be mapped (mmap): {error}; reloads have a gap"
            );
            // SAFETY: the cycle has a log.
            unsafe { log::message((*cycle).log, Code::ReloadsWithGap, text) };
            None
        }
    }
}

/// This worker's place in its generation; `None` if there are no others (`master_process off`).
pub(super) fn member(main: &MainConf) -> Option<Member<&'static SharedWords>> {
    // SAFETY: nginx has set them for this process.
    let (kind, worker, place) = unsafe { (ngx_process, ngx_worker, ngx_process_slot) };
    let all = GENERATIONS.get().filter(|_| kind == NGX_PROCESS_WORKER as usize)?.all;
    Some(Member {
        all,
        generation: number(main),
        number: worker,
        place: usize::try_from(place).ok()?,
        process: std::process::id(),
        applications: main.groups.numbers(),
    })
}

/// A process of that role starts: one that runs applications for others can only read what all believe. An error is the end of a
/// sentence.
///
/// # Safety
///
/// Called in `init_process`; such a process calls nothing of its [`member`] that is for those who serve clients.
pub(super) unsafe fn confine(role: Role) -> Result<(), String> {
    let Some(Shared { words, file, .. }) = GENERATIONS.get() else { return Ok(()) };
    let file = file.lock().unwrap_or_else(PoisonError::into_inner).take();
    match file.filter(|_| !role.is_web()) {
        // SAFETY: as the caller says; it is the file of these words.
        Some(file) => unsafe { words.only_read(&file) }
            .map_err(|error| format!("memory cannot be made read-only (mmap): {error}")),
        None => Ok(()),
    }
}

/// This worker cannot run Python, and answers 500: nobody waits for it.
pub(super) fn give_up(main: &MainConf, role: Role) {
    if let Some(member) = member(main) {
        if role.is_web() {
            member.enter();
            member.set_accepting(true);
        }
        member.set_ready();
    }
}
