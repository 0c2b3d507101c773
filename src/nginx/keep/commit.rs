//! The master has taken over a configuration: it keeps the processes that go on.
//!
//! For the master a process that goes on is one that it has just started (`just_spawn`): the first "end" that it sends to
//! its workers, which is for those of the old configuration, passes this one by (`ngx_signal_worker_processes`), and if it
//! dies another one is started in its place (`ngx_reap_children`), by the number that stands there.

use std::sync::Arc;

use nginx_sys::{NGX_PROCESS_MASTER, ngx_cycle_t, ngx_process, ngx_process_t, ngx_processes};

use super::known::{Kept, KnownGroup, KnownProcess, known};
use crate::bridge::code::Code;
use crate::bridge::config::Role;
use crate::nginx::conf::MainConf;
use crate::nginx::log;
use crate::nginx::trampoline::EventThread;

/// Decides which groups' processes go on, makes the sockets by which processes are met, and keeps the processes, which it
/// gives. The numbers of processes must not have been asked for before.
///
/// # Safety
///
/// Called in `init_module`, with the new cycle, whose configuration is `main`.
pub(in crate::nginx) unsafe fn commit(
    _token: EventThread,
    cycle: *mut ngx_cycle_t,
    main: &MainConf,
) -> Vec<Kept> {
    let groups = &main.groups;
    let mut known = known();
    // SAFETY: as the caller says.
    let said = |at| unsafe { main.fingerprint(cycle, at) };
    let said =
        groups.all().iter().zip(0..).map(|(group, at)| if group.keep { said(at) } else { None });
    let said: Vec<_> = said.collect();
    let table = &raw mut ngx_processes;
    // SAFETY: nginx's one thread; nothing changes its table meanwhile but the handler of SIGCHLD, of which `find` says more.
    let table = unsafe { &mut *table };
    // SAFETY: nginx sets it as it starts.
    let is_master = unsafe { ngx_process } == NGX_PROCESS_MASTER as usize;
    let places = groups.all().iter().zip(0..).map(|(group, at)| {
        let before = known.groups.iter().find(|before| before.name == group.name);
        let before = before.filter(|_| is_master && groups.is_keepable(at))?;
        let [_, said_before] = &before.said;
        if said.get(at) != Some(said_before) {
            return None;
        }
        let places = before.processes.iter().map(|process| find(table, process.number));
        places.collect::<Option<Vec<_>>>()
    });
    let places: Vec<_> = places.collect();
    groups.set_kept(places.iter().map(Option::is_some).collect());
    let mut kept = Vec::new();
    for (group, places) in places.iter().enumerate() {
        for (slot, place) in places.iter().flatten().enumerate() {
            let Some(number) = groups.number(Role::Application { group, slot }) else { continue };
            kept.push(Kept { number, place: *place });
        }
    }
    say(cycle, main, &places);
    let before = |at: usize| {
        let group = groups.all().get(at).filter(|_| groups.is_kept(at))?;
        known.groups.iter().find(|before| before.name == group.name)
    };
    let of_group = |at| {
        let processes = before(at)?.processes.iter();
        Some(processes.map(|process| Arc::clone(&process.meeting)).collect())
    };
    if let Err(error) = groups.meetings.make(main.worker_config(Role::Web).groups.iter(), of_group)
    {
        let text = format!(
            "sockets between the workers and the processes of python_process cannot be made: {error}; requests for \
             their applications are answered 503"
        );
        // SAFETY: the cycle has a log.
        unsafe { log::message((*cycle).log, Code::GroupsWithoutSockets, text) };
    }
    for Kept { number, place } in &kept {
        if let Some(process) = table.get_mut(*place) {
            process.set_just_spawn(1);
            process.data = std::ptr::without_provenance_mut(*number);
        }
    }
    let batons = (0..groups.all().len()).map(|at| before(at)?.baton.clone());
    main.take_over_batons(batons.collect());
    known.groups = remember(main, said);
    kept
}

/// What the next reload has to know.
fn remember(main: &MainConf, said: Vec<Option<String>>) -> Vec<KnownGroup> {
    let groups = &main.groups;
    let all = groups.all().iter().zip(said).enumerate().filter(|(_, (group, _))| group.keep);
    let known = all.map(|(at, (group, said))| {
        let meetings = groups.meetings.of_group(at).into_iter().enumerate();
        let processes = meetings.filter_map(|(slot, meeting)| {
            let number = groups.number(Role::Application { group: at, slot })?;
            Some(KnownProcess { number, meeting })
        });
        let processes = processes.collect();
        KnownGroup {
            name: group.name.clone(),
            said: [groups.said(at), said],
            baton: main.baton_memory(Some(at)),
            processes,
        }
    });
    known.collect()
}

/// The place of the worker of that number in nginx's table. One that has died, and has not been waited for, is there as
/// well: another one will be started in its place.
fn find(table: &[ngx_process_t], number: usize) -> Option<usize> {
    table.iter().position(|process| {
        process.pid != -1
            && process.data.addr() == number
            && process.respawn() != 0
            && process.exiting() == 0
            && process.detached() == 0
    })
}

/// Says which groups are as they were, and of which that has not been seen before.
fn say(cycle: *mut ngx_cycle_t, main: &MainConf, places: &[Option<Vec<usize>>]) {
    let groups = &main.groups;
    for (at, (group, places)) in groups.all().iter().zip(places).enumerate() {
        let (code, text) = match places {
            Some(places) => (
                Code::ProcessesKept,
                format!(
                    "python_process \"{}\" (keep=on): its {} go on in this reload",
                    group.name,
                    match places.len() {
                        1 => "process".to_owned(),
                        count => format!("{count} processes"),
                    }
                ),
            ),
            None if groups.is_keepable(at) => (
                Code::ProcessesReplaced,
                format!(
                    "python_process \"{}\" (keep=on): its processes are replaced in this reload: what nginx's own \
                     directives say of them has changed, or one has just ended",
                    group.name
                ),
            ),
            None => continue,
        };
        // SAFETY: the cycle is the new one, and has a log.
        unsafe { log::message((*cycle).log, code, text) };
    }
}
