//! Large blocks of the applications' that wait for clients as they are.
//!
//! A block is in memory already when it arrives here. Copying it in pieces, or into a file, costs more than
//! sending it, and holds the thread for that long; so it is taken whole, by reference. A worker's bytes of such
//! blocks are bounded: beyond that, with many slow clients, blocks go to memory and file as smaller ones do.
//!
//! One block may go to many clients, such as a page that the application keeps. It is in memory once, and counts
//! once.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use bytes::Bytes;

use crate::bridge::sync::{Arc, Mutex, lock};

/// The large blocks that wait in one worker.
#[derive(Debug)]
pub(crate) struct Loans {
    lent: Mutex<Lent>,
}

#[derive(Debug, Default)]
struct Lent {
    /// Bytes of all blocks.
    bytes: u64,
    /// How often each is lent.
    times: HashMap<Place, u64>,
}

/// Where a block lies, and how long it is. While it is lent nothing else lies there.
type Place = (usize, usize);

/// One large block; its bytes count until this is dropped.
#[derive(Debug)]
pub(crate) struct Loan {
    loans: Arc<Loans>,
    place: Place,
}

impl Loans {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { lent: Mutex::new(Lent::default()) })
    }

    /// None is given any more.
    #[cfg(test)]
    pub(crate) fn used_up() -> Arc<Self> {
        let lent = Lent { bytes: u64::MAX, ..Lent::default() };
        Arc::new(Self { lent: Mutex::new(lent) })
    }

    /// Bytes of all blocks.
    pub(crate) fn bytes(&self) -> u64 {
        lock(&self.lent).bytes
    }

    /// Takes a block; `None` if the bytes of all of them would be more than `limit`.
    pub(crate) fn take(self: &Arc<Self>, block: &Bytes, limit: u64) -> Option<Loan> {
        let place = (block.as_ptr().addr(), block.len());
        let mut lent = lock(&self.lent);
        let all = lent.bytes.saturating_add(block.len() as u64);
        match lent.times.entry(place) {
            Entry::Occupied(mut times) => *times.get_mut() += 1,
            Entry::Vacant(_) if all > limit => return None,
            Entry::Vacant(times) => {
                times.insert(1);
                lent.bytes = all;
            }
        }
        Some(Loan { loans: Arc::clone(self), place })
    }
}

impl Loan {
    /// `block`, which ends the loan with its last reference.
    pub(crate) fn of(self, block: Bytes) -> Bytes {
        struct Lent {
            block: Bytes,
            _loan: Loan,
        }

        impl AsRef<[u8]> for Lent {
            fn as_ref(&self) -> &[u8] {
                &self.block
            }
        }

        Bytes::from_owner(Lent { block, _loan: self })
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        let mut lent = lock(&self.loans.lent);
        if let Entry::Occupied(mut times) = lent.times.entry(self.place) {
            *times.get_mut() -= 1;
            if *times.get() == 0 {
                times.remove();
                lent.bytes = lent.bytes.saturating_sub(self.place.1 as u64);
            }
        }
    }
}

#[cfg(test)]
#[cfg(not(feature = "loom"))]
mod tests {
    use super::*;

    fn block(len: usize) -> Bytes {
        Bytes::from(vec![b'x'; len])
    }

    fn is_empty(loans: &Loans) -> bool {
        let lent = lock(&loans.lent);
        lent.bytes == 0 && lent.times.is_empty()
    }

    #[test]
    fn loans_are_bounded_in_bytes() {
        let loans = Loans::new();
        let blocks = [60, 41, 40, 61].map(block);
        let first = loans.take(&blocks[0], 100);
        assert!(first.is_some());
        assert!(loans.take(&blocks[1], 100).is_none());
        let second = loans.take(&blocks[2], 100);
        assert!(second.is_some());
        drop(first.map(|first| first.of(blocks[0].clone())));
        assert!(loans.take(&blocks[3], 100).is_none());
        assert!(loans.take(&blocks[0], 100).is_some());
        drop(second);
        assert!(is_empty(&loans));
    }

    #[test]
    fn a_block_counts_once_however_often_it_is_lent() {
        let loans = Loans::new();
        let (page, other) = (block(60), block(41));
        let mut clients: Vec<_> = (0..9).map(|_| loans.take(&page, 100).unwrap()).collect();
        assert!(loans.take(&other, 100).is_none());
        assert!(loans.take(&page.slice(..41), 100).is_none(), "it may outlive the page");
        clients.truncate(1);
        assert!(loans.take(&other, 100).is_none());
        drop(clients);
        assert!(loans.take(&other, 100).is_some());
        assert!(is_empty(&loans));
    }
}
