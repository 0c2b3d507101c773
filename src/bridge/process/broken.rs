//! Why a link between two processes is of no use any more.

use thiserror::Error;

use super::frames::Foreign;
use super::ring::Corrupt;

/// Why a link is closed.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(crate) enum Broken {
    /// The other process has ended, or has closed its side.
    #[error("it has ended")]
    Ended,
    #[error(transparent)]
    Foreign(#[from] Foreign),
    #[error("it has sent what is no regular file, or one that is too short")]
    File,
    #[error("it has sent no descriptor for a file")]
    NoFile,
    #[error("it has named a tray that it cannot have filled")]
    Tray,
    #[error("it has sent more than it was asked for")]
    Credit,
    #[error("it has sent a message that does not come at this point")]
    Order,
    /// Somebody has closed a descriptor of this process.
    #[error("its descriptors have been closed in this process")]
    Lost,
}

impl From<Corrupt> for Broken {
    fn from(corrupt: Corrupt) -> Self {
        Self::Foreign(corrupt.into())
    }
}
