//! Large blocks of the applications' that wait for clients as they are.
//!
//! A block is in memory already when it comes to us. To copy it in pieces, or into a file, costs more than
//! to send it, and holds the thread for that long; so it is taken whole, by reference. How much of that a
//! worker may do is bounded: with many slow clients the pipes' own ways, memory and file, are left.

use bytes::Bytes;

use super::sync::{Arc, AtomicU64, Ordering};

/// The large blocks that wait in one worker.
#[derive(Debug)]
pub(crate) struct Loans {
    bytes: AtomicU64,
}

/// One large block; its bytes count until this is dropped.
#[derive(Debug)]
pub(crate) struct Loan {
    loans: Arc<Loans>,
    bytes: u64,
}

impl Loans {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { bytes: AtomicU64::new(0) })
    }

    /// None is given any more.
    #[cfg(test)]
    pub(crate) fn used_up() -> Arc<Self> {
        Arc::new(Self { bytes: AtomicU64::new(u64::MAX / 2) })
    }

    /// Takes a block of `bytes` bytes; `None` where all of them would be more than `limit`.
    pub(crate) fn take(self: &Arc<Self>, bytes: u64, limit: u64) -> Option<Loan> {
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        // Whatever becomes of it, what was added is taken off again.
        let loan = Loan { loans: Arc::clone(self), bytes };
        (before.saturating_add(bytes) <= limit).then_some(loan)
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
        self.loans.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
#[cfg(not(feature = "loom"))]
mod tests {
    use super::*;

    #[test]
    fn loans_are_bounded_in_bytes() {
        let loans = Loans::new();
        let first = loans.take(60, 100);
        assert!(first.is_some());
        assert!(loans.take(41, 100).is_none());
        let second = loans.take(40, 100);
        assert!(second.is_some());
        drop(first.map(|first| first.of(Bytes::from_static(b"a block"))));
        assert!(loans.take(61, 100).is_none());
        assert!(loans.take(60, 100).is_some());
        drop(second);
        assert_eq!(loans.bytes.load(Ordering::Relaxed), 0);
    }
}
