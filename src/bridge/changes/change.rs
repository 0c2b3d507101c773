//! What the event loop is told.

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// As other processes are told.
pub(crate) fn milliseconds(time: SystemTime) -> u64 {
    let since_epoch = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}

/// Something has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) path: PathBuf,
    /// How many others have changed with it.
    pub(crate) more: usize,
    /// When the last of them did.
    pub(crate) when: SystemTime,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.path.display())?;
        match self.more {
            0 => f.write_str(" has changed"),
            1 => f.write_str(" and 1 other have changed"),
            more => write!(f, " and {more} others have changed"),
        }
    }
}
