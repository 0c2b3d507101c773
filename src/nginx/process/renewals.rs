//! The checks of groups whose code has changed, as a web worker has them. [`renewal`](super::renewal) has what it does about them.

use std::cell::RefCell;
use std::collections::HashMap;

use crate::bridge::process::relay::Changed;
use crate::nginx::check::Running;
use crate::nginx::own_event::{EventHandler, OwnEvent};

/// The checks of a web worker.
pub(in crate::nginx) struct Renewals {
    pub(super) running: RefCell<Vec<Renewal>>,
    /// The last one of each group that has ended.
    pub(super) done: RefCell<HashMap<usize, Done>>,
    pub(super) due: OwnEvent,
}

/// A group has been checked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Done {
    pub(super) began: u64,
    /// Its applications can be started.
    pub(super) is_good: bool,
}

/// A group is checked.
pub(super) struct Renewal {
    pub(super) changed: Changed,
    /// When the check began: it has seen what had changed before.
    pub(super) began: u64,
    pub(super) check: Running,
    /// The code has changed once more since.
    pub(super) again: Option<Changed>,
}

impl Renewals {
    pub(super) fn new(due: EventHandler) -> Self {
        Self {
            running: RefCell::default(),
            done: RefCell::default(),
            due: OwnEvent::new(due).cancelable(),
        }
    }
}
