//! What the master knows of the groups with `keep=on` whose processes run.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::nginx::conf::BatonMemory;
use crate::nginx::meetings::Pair;

/// Of the last configuration that was taken over. It is this module's own memory and not that of the configuration: after
/// an update of the module there is another one, which knows nothing of the processes before.
static KNOWN: Mutex<Known> = Mutex::new(Known { groups: Vec::new() });

#[derive(Debug)]
pub(super) struct Known {
    pub(super) groups: Vec<KnownGroup>,
}

#[derive(Debug)]
pub(super) struct KnownGroup {
    pub(super) name: String,
    /// What its configuration said as it was read, and when it was taken over: nginx's own directives may stand behind
    /// `http`. `None`: it cannot be compared.
    pub(super) said: [Option<String>; 2],
    /// That which its processes know.
    pub(super) baton: Option<BatonMemory>,
    /// By the slots of its processes.
    pub(super) processes: Vec<KnownProcess>,
}

#[derive(Debug)]
pub(super) struct KnownProcess {
    /// What nginx's table of processes has of it (`ngx_worker`).
    pub(super) number: usize,
    pub(super) meeting: Arc<Pair>,
}

/// A process that goes on.
#[derive(Clone, Copy, Debug)]
pub(in crate::nginx) struct Kept {
    /// Its number in the new configuration.
    pub(in crate::nginx) number: usize,
    /// Its place in nginx's table of processes.
    pub(in crate::nginx) place: usize,
}

pub(super) fn known() -> MutexGuard<'static, Known> {
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A process that has been forked needs none of it, and closes the sockets.
pub(in crate::nginx) fn forget() {
    known().groups.clear();
}
