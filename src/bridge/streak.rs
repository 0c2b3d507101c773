//! Quick calls in a row, after which the next one is likely to be quick as well.

use std::time::Duration;

/// A call that takes less is quick. Waking another thread for the next one takes about a tenth of this.
pub(super) const QUICK: Duration = Duration::from_micros(100);

/// How many quick ones in a row make it likely that the next one is.
const QUICK_CALLS: u32 = 16;

/// How many calls in a row, up to the last that has ended, were quick.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Streak(u32);

impl Streak {
    /// So many quick calls.
    #[cfg(test)]
    pub(super) fn of(calls: u32) -> Self {
        Self(calls)
    }

    /// As many as are needed.
    #[cfg(test)]
    pub(super) fn long() -> Self {
        Self(QUICK_CALLS)
    }

    /// A call has ended, which has taken that long.
    pub(crate) fn add(&mut self, took: Duration) {
        self.0 = if took < QUICK { self.0.saturating_add(1) } else { 0 };
    }

    /// Is the next call likely to be quick?
    pub(crate) fn is_quick(self) -> bool {
        self.0 >= QUICK_CALLS
    }
}
