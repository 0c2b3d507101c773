//! What this worker holds of a process besides the bytes that each request may have on its way: descriptors, and frames of
//! WebSockets that are larger than their queues. Each request has few of them; all requests of a process together may have
//! many. So both are bounded: beyond that nothing more is read from the process until clients have taken some.

use std::fs::File;
use std::sync::Weak;

use bytes::Bytes;

use crate::bridge::pipe::loan::Loans;
use crate::bridge::sync::Arc;

#[derive(Debug)]
pub(super) struct Held {
    files: Files,
    most_files: usize,
    /// Frames that are larger than their queue.
    frames: Arc<Loans>,
}

/// Some descriptors, as long as somebody sends from them.
#[derive(Debug, Default)]
pub(super) struct Files(Vec<Weak<File>>);

/// Bytes of the frames after which nothing is read. One more may have come.
const MOST_FRAMES: u64 = 256 << 20;

impl Held {
    /// `most_files`: so many descriptors may be open.
    pub(super) fn new(most_files: usize) -> Self {
        Self { files: Files::default(), most_files, frames: Loans::new() }
    }

    /// Takes a file of a response.
    pub(super) fn add_file(&mut self, file: File) -> Arc<File> {
        let file = Arc::new(file);
        self.files.add(&file);
        file
    }

    /// Takes a frame that is larger than its queue.
    pub(super) fn add_frame(&self, frame: Bytes) -> Bytes {
        match self.frames.take(&frame, u64::MAX) {
            Some(loan) => loan.of(frame),
            None => frame,
        }
    }

    /// Is there so much that nothing more should be read?
    pub(super) fn is_full(&mut self) -> bool {
        if self.files.0.len() >= self.most_files {
            let _closed = self.files.remove_closed();
        }
        self.files.0.len() >= self.most_files || self.frames.bytes() > MOST_FRAMES
    }
}

impl Files {
    pub(super) fn add(&mut self, file: &Arc<File>) {
        self.0.push(Arc::downgrade(file));
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Forgets those that are closed. Gives their number.
    pub(super) fn remove_closed(&mut self) -> usize {
        let before = self.0.len();
        self.0.retain(|file| file.strong_count() > 0);
        before - self.0.len()
    }
}
