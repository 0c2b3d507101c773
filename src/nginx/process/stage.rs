//! Where a worker stands between its predecessors and its successors.

use std::cell::Cell;
use std::time::{Duration, Instant};

use nginx_sys::ngx_msec_t;

use crate::bridge::generations::Member;
use crate::nginx::log::HasLog;
use crate::nginx::own_event::{EventHandler, OwnEvent};
use crate::nginx::shared_words::SharedWords;
use crate::nginx::trampoline::EventThread;

pub(in crate::nginx) struct Standing {
    /// Its place among the others; `None` if there are none, and nobody would take its place.
    pub(super) member: Option<Member<&'static SharedWords>>,
    /// How long it waits for the applications' starts, its own and its successors'.
    pub(super) limit: Duration,
    /// It is the only one that accepts connections (`worker_processes 1`).
    pub(super) is_alone: bool,
    /// Somebody has asked for it to be replaced, which has been logged.
    pub(super) asked: Cell<bool>,
    stage: Cell<Stage>,
    /// Fires when there may be something to do in this stage.
    due: OwnEvent,
    /// Fires in the worker's first turn.
    pub(super) first_turn: OwnEvent,
}

/// A worker begins in one of the first three, and goes on to a later one. Only a worker that is told to end while it
/// is parting goes back, to wait for its successors. [`arrival`](super::arrival) has what happens in the first three,
/// [`departure`](super::departure) the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Others accept connections, and this one does not before its applications have started, or `until` then.
    Holding {
        until: Instant,
    },
    /// It accepts connections, if it serves clients, and its applications are still starting. Nobody waits for that
    /// after `until`.
    Starting {
        until: Instant,
    },
    Serving,
    /// It has to be replaced, and waits until no other one is.
    WaitingForBaton,
    /// nginx has told it to end. It serves as before until its successors are ready, or until then.
    WaitingForSuccessors {
        until: Instant,
    },
    /// It runs applications for web workers, has been told to end, and serves as before until these have ended.
    WaitingForWebWorkers,
    /// It closes connections behind their next response. One that is replaced still accepts others, one that has
    /// successors does not.
    Parting {
        since: Instant,
        accepts: bool,
    },
    /// nginx has begun the graceful exit.
    Ending,
}

impl Standing {
    pub(super) fn new(
        member: Option<Member<&'static SharedWords>>,
        limit: Duration,
        is_alone: bool,
        [due, first_turn]: [EventHandler; 2],
    ) -> Self {
        Self {
            member,
            limit,
            is_alone,
            asked: Cell::new(false),
            stage: Cell::new(Stage::Serving),
            // A worker that exits does not wait for it.
            due: OwnEvent::new(due).cancelable(),
            first_turn: OwnEvent::new(first_turn),
        }
    }

    pub(super) fn stage(&self) -> Stage {
        self.stage.get()
    }

    /// Begins a stage in which nothing is due.
    pub(super) fn enter(&self, token: EventThread, stage: Stage) {
        self.stage.set(stage);
        self.due.stop(token);
    }

    /// Begins a stage in which something may be due in so many milliseconds.
    pub(super) fn enter_for(
        &self,
        token: EventThread,
        owner: &impl HasLog,
        stage: Stage,
        delay: ngx_msec_t,
    ) {
        self.stage.set(stage);
        self.due.start(token, owner, delay);
    }

    /// Something may be due again in so many milliseconds.
    pub(super) fn look_again(&self, token: EventThread, owner: &impl HasLog, delay: ngx_msec_t) {
        self.due.start(token, owner, delay);
    }
}
