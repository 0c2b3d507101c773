//! Whether a process of a `python_process` with `start=lazy` is dormant, as it has that. [`lazy`](super::lazy) has what it does
//! about it.

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::nginx::conf::groups::Lazy;
use crate::nginx::own_event::{EventHandler, OwnEvent};

pub(in crate::nginx) struct Dormancy {
    /// `None`: the process is none of these.
    lazy: Option<Lazy>,
    pub(super) state: Cell<State>,
    /// Fires when the process may have had no request for long enough, or has asked for too long.
    pub(super) due: OwnEvent,
    /// When it last had a request.
    pub(super) last: Cell<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Dormant,
    Awake,
    /// It has asked the web workers.
    Asking,
    Ending,
}

impl Dormancy {
    pub(super) fn new(lazy: Option<Lazy>, due: EventHandler) -> Self {
        Self {
            lazy,
            state: Cell::new(State::Awake),
            due: OwnEvent::new(due).cancelable(),
            last: Cell::new(Instant::now()),
        }
    }

    pub(super) fn is_dormant(&self) -> bool {
        self.state.get() == State::Dormant
    }

    pub(super) fn is_lazy(&self) -> bool {
        self.lazy.is_some()
    }

    /// How long it may be without a request.
    pub(super) fn limit(&self) -> Option<Duration> {
        let idle = self.lazy?.idle?;
        Some(Duration::from_millis(idle as u64))
    }
}
