//! Whether a process is killed because of a request that does not end (`…_kill_timeout`), as it has that.
//! [`killing`](super::killing) has what it does about it.

use std::cell::Cell;

use crate::nginx::own_event::{EventHandler, OwnEvent};

pub(in crate::nginx) struct Condemned {
    /// Fires when a request may have gone on for too long.
    pub(super) due: OwnEvent,
    /// It has been said that the process is killed.
    pub(super) said: Cell<bool>,
}

impl Condemned {
    pub(super) fn new(due: EventHandler) -> Self {
        Self { due: OwnEvent::new(due).cancelable(), said: Cell::new(false) }
    }
}
