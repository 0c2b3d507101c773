//! The limits after which a worker is replaced, as it has them (`python_max_lifetime`, `python_memory_limit`). The event
//! loop counts the requests of `python_max_requests`.

use std::cell::Cell;

use nginx_sys::ngx_msec_t;

use crate::nginx::conf::{MemoryLimit, Settings};
use crate::nginx::own_event::{EventHandler, OwnEvent};
use crate::nginx::sys;

/// None of its timers holds a worker that exits.
pub(super) struct Limits {
    /// Fires when the worker has lived for `max_lifetime`.
    pub(super) lifetime: OwnEvent,
    pub(super) max_lifetime: Option<ngx_msec_t>,
    /// Fires when the memory must be looked at.
    pub(super) look: OwnEvent,
    pub(super) memory: Option<Memory>,
}

/// `python_memory_limit`, and what is known so far.
pub(super) struct Memory {
    pub(super) limit: MemoryLimit,
    baseline: Cell<Baseline>,
}

/// What is known of the memory that the applications take before they have served requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Baseline {
    /// They have not all been imported.
    Unknown,
    /// It is below the soft limit.
    Below,
    /// It is not: the soft limit is not applied, because each successor would be replaced as well.
    Above,
    /// It is not even below the hard limit: neither is applied.
    BeyondAll,
}

/// What must be done about the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Nothing,
    /// The soft limit, or the hard one as well, cannot be applied, which must be said once.
    NotApplied {
        hard: Option<u64>,
    },
    Replace,
    /// The hard limit.
    LeaveAtOnce(u64),
}

/// How often the memory is looked at until the applications are imported, in milliseconds: their requests count for
/// nothing then.
const UNTIL_READY: ngx_msec_t = 100;

impl Limits {
    /// `None`: it has none.
    pub(super) fn new(
        settings: Option<&Settings>,
        lifetime: EventHandler,
        look: EventHandler,
    ) -> Self {
        let max_lifetime = settings.and_then(|settings| settings.max_lifetime.flatten());
        let memory = settings.and_then(|settings| settings.memory_limit.flatten());
        Self {
            lifetime: OwnEvent::new(lifetime).cancelable(),
            max_lifetime: max_lifetime.map(|limit| limit.limit(sys::random()) as ngx_msec_t),
            look: OwnEvent::new(look).cancelable(),
            memory: memory.map(Memory::new),
        }
    }
}

impl Memory {
    fn new(limit: MemoryLimit) -> Self {
        Self { limit, baseline: Cell::new(Baseline::Unknown) }
    }

    /// After how many milliseconds the memory is looked at, again or for the first time.
    pub(super) fn next_look(&self) -> ngx_msec_t {
        match self.baseline.get() {
            Baseline::Unknown => self.limit.check.min(UNTIL_READY),
            Baseline::Below | Baseline::Above | Baseline::BeyondAll => self.limit.check,
        }
    }

    /// The worker takes so many bytes; `is_ready` if its applications are imported.
    pub(super) fn judge(&self, used: u64, is_ready: bool) -> Verdict {
        let beyond = self.limit.hard.filter(|hard| used >= *hard);
        let is_above = used >= self.limit.soft;
        match self.baseline.get() {
            Baseline::Unknown if !is_ready => Verdict::Nothing,
            Baseline::Unknown => {
                let (baseline, verdict) = match (is_above, beyond) {
                    (true, Some(_)) => (Baseline::BeyondAll, Verdict::NotApplied { hard: beyond }),
                    (true, None) => (Baseline::Above, Verdict::NotApplied { hard: None }),
                    (false, _) => (Baseline::Below, Verdict::Nothing),
                };
                self.baseline.set(baseline);
                verdict
            }
            Baseline::BeyondAll => Verdict::Nothing,
            Baseline::Below | Baseline::Above => match beyond {
                Some(hard) => Verdict::LeaveAtOnce(hard),
                None if is_above && self.baseline.get() == Baseline::Below => Verdict::Replace,
                None => Verdict::Nothing,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory() -> Memory {
        Memory::new(MemoryLimit { soft: 100, hard: Some(200), check: 5000 })
    }

    #[test]
    fn what_requests_have_added_counts() {
        let memory = memory();
        assert_eq!(memory.next_look(), UNTIL_READY);
        assert_eq!(memory.judge(150, false), Verdict::Nothing);
        assert_eq!(memory.next_look(), UNTIL_READY);
        assert_eq!(memory.judge(99, true), Verdict::Nothing);
        assert_eq!(memory.next_look(), 5000);
        assert_eq!(memory.judge(99, true), Verdict::Nothing);
        assert_eq!(memory.judge(100, true), Verdict::Replace);
        assert_eq!(memory.judge(200, true), Verdict::LeaveAtOnce(200));
    }

    #[test]
    fn a_soft_limit_below_the_import_is_not_applied() {
        let memory = memory();
        assert_eq!(memory.judge(100, true), Verdict::NotApplied { hard: None });
        assert_eq!(memory.judge(199, true), Verdict::Nothing);
        assert_eq!(memory.judge(200, true), Verdict::LeaveAtOnce(200));
    }

    #[test]
    fn a_hard_limit_below_the_import_is_not_applied() {
        let memory = memory();
        assert_eq!(memory.judge(300, false), Verdict::Nothing);
        assert_eq!(memory.judge(300, true), Verdict::NotApplied { hard: Some(200) });
        assert_eq!(memory.judge(900, true), Verdict::Nothing);
    }

    #[test]
    fn this_process_takes_some_memory() {
        assert!(sys::resident_memory(std::process::id()).unwrap() > 1 << 20);
    }
}
