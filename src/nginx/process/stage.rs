//! Where a worker stands between its predecessors and its successors.

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::bridge::generations::Member;
use crate::nginx::own_event::OwnEvent;
use crate::nginx::shared_words::SharedWords;

/// What a worker knows of the others; see [`handover`](super::handover).
pub(in crate::nginx) struct Standing {
    pub(super) member: Member<&'static SharedWords>,
    pub(super) stage: Cell<Stage>,
    /// Fires in the worker's first turn.
    pub(super) first_turn: OwnEvent,
    /// Fires every few milliseconds while it waits for something.
    pub(super) look: OwnEvent,
    /// How long it waits for the applications' starts, its own and its successors'.
    pub(super) limit: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Others accept connections, and this one does not before its applications have started, or `until` then.
    Holding {
        until: Instant,
    },
    /// It accepts connections, and its applications are still starting, or do until then at most.
    Starting {
        until: Instant,
    },
    Serving,
    /// It was told to end, and goes on until its successors are ready, or until then.
    Waiting {
        until: Instant,
    },
    /// It accepts no connections any more, and closes those that it has behind their next response.
    Parting,
    Ending,
}

impl Standing {
    /// nginx has told the worker to end, and it may have put that off.
    pub(super) fn is_told_to_end(&self) -> bool {
        matches!(self.stage.get(), Stage::Waiting { .. } | Stage::Parting | Stage::Ending)
    }
}
