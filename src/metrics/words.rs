//! Words of 64 bits in memory that processes share.

#[cfg(not(feature = "loom"))]
pub(crate) use std::sync::atomic::AtomicU64;
pub(crate) use std::sync::atomic::Ordering;

#[cfg(feature = "loom")]
pub(crate) use loom::sync::atomic::AtomicU64;

/// Some of the words. Those of a process that shares nothing are none: what is written to them is lost, and they read
/// as 0.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Words(&'static [AtomicU64]);

impl Words {
    pub(crate) fn new(words: &'static [AtomicU64]) -> Self {
        Self(words)
    }

    pub(crate) fn len(self) -> usize {
        self.0.len()
    }

    /// `count` of them from `start` on; none if there are not so many.
    pub(crate) fn part(self, start: usize, count: usize) -> Self {
        let end = start.saturating_add(count);
        Self(self.0.get(start..end).unwrap_or_default())
    }

    pub(crate) fn get(self, at: usize) -> u64 {
        self.0.get(at).map_or(0, |word| word.load(Ordering::Relaxed))
    }

    /// The same; what was written before [`publish`](Self::publish) is seen after it.
    pub(crate) fn acquire(self, at: usize) -> u64 {
        self.0.get(at).map_or(0, |word| word.load(Ordering::Acquire))
    }

    pub(crate) fn set(self, at: usize, value: u64) {
        if let Some(word) = self.0.get(at) {
            word.store(value, Ordering::Relaxed);
        }
    }

    pub(crate) fn publish(self, at: usize, value: u64) {
        if let Some(word) = self.0.get(at) {
            word.store(value, Ordering::Release);
        }
    }

    /// Adds, and gives back what it was before.
    pub(crate) fn add(self, at: usize, value: u64) -> u64 {
        self.0.get(at).map_or(0, |word| word.fetch_add(value, Ordering::Relaxed))
    }

    /// Adds to a word that no other thread writes to: without a locked instruction.
    pub(crate) fn add_alone(self, at: usize, value: u64) {
        if let Some(word) = self.0.get(at) {
            word.store(word.load(Ordering::Relaxed).wrapping_add(value), Ordering::Relaxed);
        }
    }

    /// Puts `new` in the place of `old`; false if something else is there.
    pub(crate) fn replace(self, at: usize, old: u64, new: u64) -> bool {
        self.0.get(at).is_some_and(|word| {
            word.compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire).is_ok()
        })
    }
}

/// The sum of what other processes may have written, at most the largest number.
pub(crate) fn sum(numbers: impl IntoIterator<Item = u64>) -> u64 {
    numbers.into_iter().fold(0, u64::saturating_add)
}

/// So many words, for a test.
#[cfg(test)]
pub(crate) fn leaked(count: usize) -> &'static [AtomicU64] {
    Vec::leak((0..count).map(|_| AtomicU64::new(0)).collect())
}
