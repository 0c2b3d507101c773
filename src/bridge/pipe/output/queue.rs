//! What waits in a response's pipe for the event loop.
//!
//! Each block takes more memory than its bytes: nginx's buffer and chain links, one for each filter, and this
//! module's own entry; several hundred bytes for a block of one. So small blocks that wait are joined, and parts
//! of the temporary file that follow one another become one.
//! However an application cuts its response, `n` blocks that wait hold at least `(n / 2 - 2) * SMALL` bytes,
//! and the pipe's limit, which counts bytes, bounds their cost as well.

use bytes::Bytes;
use smallvec::SmallVec;

use super::parts::{Block, FilePart, SHARED_FROM};
use crate::bridge::sync::Arc;
use crate::bridge::trays::Tray;

/// A block shorter than this is joined with its neighbours: copying it costs less than a buffer of its own.
const SMALL: usize = 4096;

/// Joined blocks stay shorter than this, so that none of them is taken for a shared one.
pub(super) const JOINED: usize = SHARED_FROM;

/// The first capacity of a joined block; it doubles.
const FIRST: usize = 512;

#[derive(Debug, Default)]
pub(super) struct Queue {
    blocks: SmallVec<[Block; 1]>,
    /// Small blocks that follow the last of `blocks`.
    joined: Vec<u8>,
    /// Bytes of all that waits.
    bytes: u64,
}

impl Queue {
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn push(&mut self, block: Bytes) {
        if block.is_empty() {
            return;
        }
        let first = self.blocks.is_empty() && self.joined.is_empty();
        if first || block.len() >= SMALL {
            self.push_whole(block);
            return;
        }
        if self.joined.len() + block.len() >= JOINED {
            self.close_joined();
        }
        self.join(&block);
    }

    /// Adds a block to those that are joined at the end.
    pub(super) fn join(&mut self, block: &[u8]) {
        self.bytes += block.len() as u64;
        if self.joined.is_empty() {
            self.joined.reserve(FIRST);
        }
        self.joined.extend_from_slice(block);
    }

    /// Bytes of the blocks that are joined at the end.
    pub(super) fn joined(&self) -> usize {
        self.joined.len()
    }

    /// Takes those back.
    pub(super) fn take_joined(&mut self) -> Vec<u8> {
        self.bytes -= self.joined.len() as u64;
        std::mem::take(&mut self.joined)
    }

    /// Adds a block without copying it.
    pub(super) fn push_whole(&mut self, block: Bytes) {
        self.bytes += block.len() as u64;
        self.close_joined();
        self.blocks.push(Block::Memory(block));
    }

    /// Adds a block that lies in a tray.
    pub(super) fn push_tray(&mut self, tray: Tray) {
        self.bytes += tray.len() as u64;
        self.close_joined();
        self.blocks.push(Block::Tray(tray));
    }

    /// The client takes nothing now: copies what lies in trays that others need.
    pub(super) fn empty_trays(&mut self) {
        for block in &mut self.blocks {
            if let Block::Tray(tray) = block {
                if !tray.may_wait() {
                    *block = Block::Memory(tray.copy().into());
                }
            }
        }
    }

    /// Adds a part of the temporary file.
    pub(super) fn push_spilled(&mut self, part: FilePart) {
        self.bytes += part.len();
        self.close_joined();
        match self.blocks.last_mut() {
            Some(Block::Spilled(last))
                if last.end == part.start && Arc::ptr_eq(&last.file, &part.file) =>
            {
                last.end = part.end;
            }
            _ => self.blocks.push(Block::Spilled(part)),
        }
    }

    /// Adds a part of a file of the application's.
    pub(super) fn push_file(&mut self, part: FilePart) {
        self.bytes += part.len();
        self.close_joined();
        self.blocks.push(Block::File(part));
    }

    /// Moves all blocks to the end of `blocks`.
    pub(super) fn take(&mut self, blocks: &mut Vec<Block>) {
        self.close_joined();
        self.bytes = 0;
        blocks.extend(self.blocks.drain(..));
    }

    /// Is a block shared with its owner?
    pub(super) fn is_shared(&self) -> bool {
        self.blocks.iter().any(Block::is_shared)
    }

    #[inline]
    fn close_joined(&mut self) {
        if !self.joined.is_empty() {
            self.push_joined();
        }
    }

    fn push_joined(&mut self) {
        let joined = std::mem::take(&mut self.joined);
        self.blocks.push(Block::Memory(Bytes::from(joined)));
    }
}

#[cfg(test)]
#[cfg(not(feature = "loom"))]
mod tests {
    use std::fs::File;

    use super::*;

    fn block(len: usize, number: usize) -> Bytes {
        Bytes::from(vec![number as u8; len])
    }

    fn taken(queue: &mut Queue) -> Vec<Block> {
        let mut blocks = Vec::new();
        queue.take(&mut blocks);
        assert_eq!(queue.bytes(), 0);
        blocks
    }

    fn bytes_of(blocks: &[Block]) -> Vec<u8> {
        let memory = blocks.iter().map(|block| match block {
            Block::Memory(bytes) => &bytes[..],
            Block::Tray(_) | Block::Spilled(_) | Block::File(_) => panic!("{block:?}"),
        });
        memory.collect::<Vec<_>>().concat()
    }

    /// Sizes that an application might give, and those that are worst for joining.
    const SIZES: [&[usize]; 6] = [
        &[1],
        &[10],
        &[1000],
        &[1, SMALL],
        &[SMALL - 1, SMALL],
        &[SHARED_FROM, 1, SHARED_FROM - SMALL, SMALL - 1],
    ];

    #[test]
    fn the_number_of_blocks_is_bounded_by_their_bytes() {
        for sizes in SIZES {
            let (mut queue, mut expected) = (Queue::default(), Vec::new());
            for (number, &len) in sizes.iter().cycle().take(10_000).enumerate() {
                queue.push(block(len, number));
                expected.resize(expected.len() + len, number as u8);
                let blocks = queue.blocks.len() + usize::from(!queue.joined.is_empty());
                assert!((blocks / 2).saturating_sub(2) * SMALL <= expected.len(), "{sizes:?}");
                // What has been reserved is no more than twice what is there.
                assert!(queue.joined.capacity() <= FIRST.max(2 * queue.joined.len()));
            }
            assert_eq!(queue.bytes(), expected.len() as u64);
            assert_eq!(bytes_of(&taken(&mut queue)), expected);
        }
    }

    #[test]
    fn a_block_that_nothing_waits_before_is_not_copied() {
        let mut queue = Queue::default();
        for _ in 0..2 {
            let first = block(3, 1);
            let place = first.as_ptr();
            queue.push(first);
            queue.push(Bytes::new());
            let blocks = taken(&mut queue);
            assert!(matches!(&blocks[..], [Block::Memory(bytes)] if bytes.as_ptr() == place));
        }
    }

    #[test]
    fn what_is_joined_is_not_taken_for_shared() {
        let mut queue = Queue::default();
        for _ in 0..1000 {
            queue.push(block(SMALL - 1, 1));
        }
        assert!(!taken(&mut queue).iter().any(Block::is_shared));
    }

    #[test]
    fn parts_of_the_file_that_follow_one_another_are_one() {
        let file = || Arc::new(File::open("/dev/null").unwrap());
        let (first, second) = (file(), file());
        let part = |file: &Arc<File>, start, end| FilePart { file: Arc::clone(file), start, end };
        let mut queue = Queue::default();
        queue.push(block(1, 1));
        queue.push(block(1, 1));
        for start in 0..1000 {
            queue.push_spilled(part(&first, start, start + 1));
        }
        // One that lies elsewhere, one in another file, and one that something lies between.
        queue.push_spilled(part(&first, 2000, 2001));
        queue.push_spilled(part(&second, 2001, 2002));
        queue.push(block(1, 1));
        queue.push_spilled(part(&second, 2002, 2003));
        assert_eq!(queue.bytes(), 1006);
        let places: Vec<_> = taken(&mut queue)
            .iter()
            .map(|block| match block {
                Block::Memory(bytes) => (0, bytes.len() as u64),
                Block::Tray(tray) => (0, tray.len() as u64),
                Block::Spilled(part) | Block::File(part) => (part.start, part.end),
            })
            .collect();
        assert_eq!(
            places,
            [(0, 1), (0, 1), (0, 1000), (2000, 2001), (2001, 2002), (0, 1), (2002, 2003)]
        );
    }
}
