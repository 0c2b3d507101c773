//! What is counted of the processes of a `python_process`: as a group, and what waits for them in each web worker.

use super::words::Words;

/// How many reasons there are to replace a worker.
pub(crate) const REASONS: usize = 8;

/// Which process of which group it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    /// The group's number in the shared memory.
    pub(crate) group: usize,
    /// Its own among the processes of the group.
    pub(crate) slot: usize,
}

/// A word has the slot in its lowest bits.
const SLOT_BITS: u32 = 16;

impl Member {
    /// In 32 bits; 0: no group.
    pub(super) fn to_word(member: Option<Self>) -> u64 {
        member.map_or(0, |Self { group, slot }| {
            let slot = (slot as u64).min((1 << SLOT_BITS) - 1);
            (group as u64 + 1) << SLOT_BITS | slot
        })
    }

    pub(super) fn of_word(word: u64) -> Option<Self> {
        let group = usize::try_from(word >> SLOT_BITS).ok()?.checked_sub(1)?;
        Some(Self { group, slot: (word & ((1 << SLOT_BITS) - 1)) as usize })
    }
}

const PROCESSES: usize = 0;
const CRASHES: usize = 1;
const REPLACED: usize = 2;
pub(super) const GROUP_WORDS: usize = REPLACED + REASONS;

/// A group as a whole.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct GroupWords(Words);

impl GroupWords {
    pub(super) fn new(words: Words) -> Self {
        Self(words)
    }

    /// Master: the configuration has so many of its processes.
    pub(super) fn set_processes(self, count: usize) {
        self.0.set(PROCESSES, count as u64);
    }

    pub(super) fn processes(self) -> u64 {
        self.0.get(PROCESSES)
    }

    pub(super) fn crashed(self) {
        self.0.add(CRASHES, 1);
    }

    /// How many of its processes have died.
    pub(super) fn crashes(self) -> u64 {
        self.0.get(CRASHES)
    }

    pub(super) fn replaced(self, reason: usize) {
        if reason < REASONS {
            self.0.add(REPLACED + reason, 1);
        }
    }

    /// How many of its processes have left for the reason of that number.
    pub(super) fn replacements(self, reason: usize) -> u64 {
        if reason < REASONS { self.0.get(REPLACED + reason) } else { 0 }
    }
}

const QUEUE: usize = 0;
const HEAD: usize = 1;
const LIMIT: usize = 2;
pub(super) const WAITING_WORDS: usize = 4;

/// The requests of a web worker that none of the group's processes has got yet.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct GroupMeter(Words);

impl GroupMeter {
    pub(super) fn new(words: Words) -> Self {
        Self(words)
    }

    /// How many may wait, which does not change.
    pub(crate) fn limit(self, max_queue: usize) {
        self.0.set(LIMIT, max_queue as u64);
    }

    /// Event loop: so many wait, the first since then, in milliseconds of the monotonic clock.
    pub(crate) fn show(self, queue: usize, head_since: u64) {
        self.0.set(QUEUE, queue as u64);
        self.0.set(HEAD, head_since);
    }

    pub(super) fn queue(self) -> u64 {
        self.0.get(QUEUE)
    }

    /// Since when the first waits; 0: there is none.
    pub(super) fn head_since(self) -> u64 {
        self.0.get(HEAD)
    }

    pub(super) fn max_queue(self) -> u64 {
        self.0.get(LIMIT)
    }

    pub(super) fn clear(self) {
        (0..WAITING_WORDS).for_each(|at| self.0.set(at, 0));
    }
}

#[cfg(test)]
#[cfg(not(feature = "loom"))]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_a_word() {
        for member in
            [None, Some(Member { group: 0, slot: 0 }), Some(Member { group: 7, slot: 399 })]
        {
            let word = Member::to_word(member);
            assert_eq!(Member::of_word(word), member);
            assert!(u32::try_from(word).is_ok(), "an event has 32 bits for it");
        }
    }
}
