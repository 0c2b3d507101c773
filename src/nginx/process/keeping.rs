//! A process of a group with `keep=on`: the master, which is about to reload, asks whether it may go on.

use super::stage::Stage;
use super::state::Process;
use crate::bridge::changes::beginning::Compared;
use crate::bridge::process::question::{Answer, Question};
use crate::bridge::starts::Start;
use crate::bridge::tasks::Task;
use crate::nginx::trampoline::EventThread;

/// The master may have asked.
pub(super) fn look(_token: EventThread, process: &Process) {
    let Some(question) = process.wall.take_question() else { return };
    let worker = process.event_loop.worker();
    let answer = |result| process.wall.answer(&Answer { question, result });
    let starts = worker.starts.all();
    let has_failed = |start: &Start| matches!(start, Start::Failed(_));
    let standing = &process.standing;
    let refusal = if process.dormancy.is_dormant() {
        // It will import what is there then.
        return answer(Ok(()));
    } else if starts.iter().any(has_failed) {
        "an application of a process could not be started, and is tried again"
    } else if !has_started(process) || standing.asked.get() {
        "a process has not started yet, or is being replaced"
    } else {
        // The attendant may wait for the GIL. If that takes too long the master goes on without the answer.
        return worker.tasks.push(Task::Compare(question.0));
    };
    answer(Err(refusal.to_owned()));
}

/// Whether its applications have started, and it has not begun to leave.
fn has_started(process: &Process) -> bool {
    match process.standing.stage() {
        Stage::Serving => true,
        Stage::Starting { .. } => process.event_loop.worker().starts.have_ended(),
        _ => false,
    }
}

/// The attendant has compared.
pub(super) fn answer(_token: EventThread, process: &Process, compared: Compared) {
    let Compared { question, result } = compared;
    process.wall.answer(&Answer { question: Question(question), result });
}
