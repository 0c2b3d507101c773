//! The code of a group has changed (`python_reload watch`): its processes are replaced, one after another, and nothing else is.
//!
//! A process that sees the change tells the web workers. The first of these has a child import the applications of the group
//! (`nginx/check`), which is possible because it runs no Python itself. If that succeeds it tells the processes of the group, and
//! those that had begun before the change leave, as if they had been asked to (the baton). Otherwise all stays as it is, until
//! the next change.

use std::io;
use std::time::SystemTime;

use nginx_sys::{ngx_cycle, ngx_msec_t, ngx_worker};

use super::departure;
use super::renewals::{Done, Renewal};
use super::stage::Stage;
use super::state::{Handler, Process};
use crate::bridge::changes::change::milliseconds;
use crate::bridge::code::Code;
use crate::bridge::config::Role;
use crate::bridge::process::relay::Changed;
use crate::bridge::replacement::Reason;
use crate::nginx::check::Running;
use crate::nginx::conf::MainConf;
use crate::nginx::log::say;
use crate::nginx::trampoline::EventThread;

/// How often it is looked whether a check has ended, in milliseconds.
const LOOK: ngx_msec_t = 50;

/// Others may have said something in this turn.
pub(super) fn look(token: EventThread, process: &Process) {
    if let Some(when) = process.wall.take_renewal() {
        let beginning = process.event_loop.worker().beginning.get();
        if beginning.is_some_and(|beginning| beginning.is_before(when)) {
            departure::replace(token, process, &Reason::Changed);
        }
    }
    for changed in process.wall.take_changed() {
        if is_responsible(process) {
            // It may be said of any moment.
            let when = changed.when.min(milliseconds(SystemTime::now()));
            check(token, process, Changed { when, ..changed });
        }
    }
}

/// One web worker does it for all, and none that has successors. Whatever a process says, nothing is checked if
/// `python_reload` does not ask for that.
fn is_responsible(process: &Process) -> bool {
    let has_successors = matches!(
        process.standing.stage(),
        Stage::WaitingForSuccessors { .. } | Stage::Parting { accepts: false, .. } | Stage::Ending
    );
    // SAFETY: nginx has set the number of this process.
    let is_first = unsafe { ngx_worker == 0 };
    is_first && !has_successors && process.event_loop.worker().config.renews_groups()
}

/// Checks a group, if that is not being done.
fn check(token: EventThread, process: &Process, changed: Changed) {
    let mut running = process.renewals.running.borrow_mut();
    if let Some(known) = running.iter_mut().find(|it| it.changed.group == changed.group) {
        if known.began <= changed.when {
            known.again = Some(changed);
        }
        return;
    }
    // Several processes see the same change, and one may say so late.
    let done = process.renewals.done.borrow().get(&changed.group).copied();
    if let Some(done) = done.filter(|done| done.began > changed.when) {
        if done.is_good {
            process.wall.renew(changed);
            process.event_loop.end_turn_later(token);
        }
        return;
    }
    let began = milliseconds(SystemTime::now());
    match begin(process, changed) {
        Ok(Some(check)) => running.push(Renewal { changed, began, check, again: None }),
        Ok(None) => renew(token, process, changed),
        Err(error) => say_stays(process, changed, &format!("cannot be checked: {error}")),
    }
    if !running.is_empty() && !process.renewals.due.is_started() {
        process.renewals.due.start(token, process, LOOK);
    }
}

/// `None`: there is no check.
fn begin(process: &Process, changed: Changed) -> io::Result<Option<Running>> {
    // A process may have named any group.
    let Some(main) = configuration().filter(|main| changed.group < main.groups.all().len()) else {
        return Ok(None);
    };
    if process.event_loop.worker().config.runs_python() {
        return Err(io::Error::other("this worker runs Python"));
    }
    let role = Role::Application { group: changed.group, slot: 0 };
    // SAFETY: the cycle and its configuration are this process's, which has no thread of Python's.
    unsafe { Running::begin(ngx_cycle, main, role) }
}

/// Some checks may have ended.
pub(super) struct Due;

impl Handler for Due {
    fn call(token: EventThread, process: &'static Process) {
        let mut ended = Vec::new();
        process.renewals.running.borrow_mut().retain_mut(|renewal| {
            let Some(result) = look_at(process, renewal) else { return true };
            let done = Done { began: renewal.began, is_good: result.is_ok() };
            process.renewals.done.borrow_mut().insert(renewal.changed.group, done);
            ended.push((renewal.changed, renewal.again, result));
            false
        });
        for (changed, again, result) in ended {
            match result {
                Ok(()) => renew(token, process, changed),
                Err(what) => say_stays(process, changed, &what),
            }
            if let Some(again) = again {
                check(token, process, again);
            }
        }
        let goes_on = !process.renewals.running.borrow().is_empty();
        if goes_on && !process.renewals.due.is_started() {
            process.renewals.due.start(token, process, LOOK);
        }
    }
}

/// How a check has ended, whose lines are written to the log. An error is a sentence about the group.
fn look_at(process: &Process, renewal: &mut Renewal) -> Option<Result<(), String>> {
    let main = configuration()?;
    match renewal.check.look(main, process) {
        Ok(None) => None,
        Ok(Some(failures)) if failures.is_empty() => Some(Ok(())),
        Ok(Some(failures)) => {
            for failure in failures {
                say!(process, Code::CheckFinding, "{failure}");
            }
            let what = "cannot be started with what has changed (python_check)";
            Some(Err(what.to_owned()))
        }
        Err(error) => Some(Err(format!("cannot be checked: {error}"))),
    }
}

fn renew(token: EventThread, process: &Process, changed: Changed) {
    say!(
        process,
        Code::GroupRenewed,
        "python_process \"{}\": its processes are replaced one after another, because its code has changed (python_reload)",
        name(process, changed),
    );
    process.wall.renew(changed);
    process.event_loop.end_turn_later(token);
}

fn say_stays(process: &Process, changed: Changed, what: &str) {
    say!(
        process,
        Code::GroupStays,
        "python_process \"{}\" {what}: its processes go on with the old code",
        name(process, changed),
    );
}

fn name(process: &Process, changed: Changed) -> &str {
    let group = process.event_loop.worker().config.groups.get(changed.group);
    group.map_or("", |group| &group.name)
}

fn configuration() -> Option<&'static MainConf> {
    // SAFETY: a worker's cycle lives as long as it.
    unsafe { MainConf::of_cycle(ngx_cycle) }
}
