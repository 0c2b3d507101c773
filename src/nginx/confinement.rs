//! The limits of a `python_process`, and how one of its processes puts them on itself, before Python starts.
//!
//! They are put on as the workers' user, because nginx gives up root before it calls a module in a new process. So
//! what only root may do is refused, unless the workers run as root.

use std::path::PathBuf;

/// What the parameters of a `python_process` say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Confinement {
    /// The file mode creation mask (umask(2)) of Python's threads; `None`: that of the workers.
    pub(super) umask: Option<u32>,
    pub(super) cgroup: Option<PathBuf>,
}
