//! What a response is made of, as the event loop takes it.

use std::fs::File;

use bytes::Bytes;

use crate::bridge::sync::Arc;
use crate::bridge::trays::Tray;
use crate::http::field::Field;
use crate::http::response_head::ResponseHead;

/// From this size on a block is shared with its owner; smaller ones are copied. Who drops a shared one
/// asks for [`Worker::collect`](crate::bridge::worker::Worker::collect).
pub(crate) const SHARED_FROM: usize = 16 * 1024;

/// A part of a response's body.
#[derive(Debug)]
pub(crate) enum Block {
    Memory(Bytes),
    /// In memory that the process which runs the application shares with this one.
    Tray(Tray),
    /// In the response's temporary file.
    Spilled(FilePart),
    /// In a file that the application has given.
    File(FilePart),
}

/// Bytes `start..end` of a file.
#[derive(Clone, Debug)]
pub(crate) struct FilePart {
    pub(crate) file: Arc<File>,
    pub(crate) start: u64,
    pub(crate) end: u64,
}

impl FilePart {
    pub(crate) fn len(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }
}

impl Block {
    /// The same, but not in memory that another process can change.
    pub(crate) fn own(self) -> Self {
        match self {
            Self::Tray(tray) => Self::Memory(tray.copy().into()),
            other => other,
        }
    }

    /// Is it shared with its owner?
    pub(crate) fn is_shared(&self) -> bool {
        matches!(self, Block::Memory(bytes) if bytes.len() >= SHARED_FROM)
    }
}

/// How a response ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Complete,
    /// The client must see that it is not complete; a 500 if the head has not been sent.
    Failed,
    /// No thread has taken it: 503.
    Refused,
    /// The process that ran the application has ended: 502, or as if it had failed.
    Lost,
}

/// What the event loop takes at once.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) head: Option<ResponseHead>,
    pub(crate) blocks: Vec<Block>,
    /// What goes out before the head, each as a 103 (Early Hints).
    pub(crate) hints: Vec<Vec<Field>>,
    /// With the head: trailers were set before it.
    pub(crate) expects_trailers: bool,
    /// With the end: what follows the body.
    pub(crate) trailers: Vec<Field>,
    pub(crate) end: Option<End>,
}

impl Batch {
    /// Makes it empty, for the next one. True if a block was dropped that is shared with its owner.
    pub(crate) fn clear(&mut self) -> bool {
        let shared = self.blocks.iter().any(Block::is_shared);
        self.head = None;
        self.blocks.clear();
        self.hints.clear();
        self.expects_trailers = false;
        self.trailers.clear();
        self.end = None;
        shared
    }
}
