//! Many files change together, and an editor writes one several times: what has changed is told when nothing more has
//! for a moment.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use super::bytecode;
use super::change::Change;

/// So long nothing more has changed.
const QUIET: Duration = Duration::from_millis(200);

/// What goes on changing is told after that time.
const LONGEST: Duration = Duration::from_secs(5);

/// What has changed, and has not been told.
#[derive(Debug)]
pub(super) struct Untold {
    path: PathBuf,
    others: BTreeSet<PathBuf>,
    when: SystemTime,
    first: Instant,
    last: Instant,
}

impl Untold {
    /// One more file has changed.
    pub(super) fn add(untold: &mut Option<Self>, path: PathBuf, now: Instant, when: SystemTime) {
        match untold {
            Some(untold) => {
                if untold.path != path {
                    untold.others.insert(path);
                }
                untold.when = untold.when.max(when);
                untold.last = now;
            }
            None => {
                let others = BTreeSet::new();
                *untold = Some(Self { path, others, when, first: now, last: now });
            }
        }
    }

    /// How long it has to wait; zero if it can be told.
    pub(super) fn left(&self, now: Instant) -> Duration {
        let due = (self.last + QUIET).min(self.first + LONGEST);
        due.saturating_duration_since(now)
    }

    pub(super) fn tell(self) -> Change {
        self.others.iter().chain([&self.path]).for_each(|path| bytecode::remove(path));
        Change { path: self.path, more: self.others.len(), when: self.when }
    }
}

#[cfg(test)]
#[cfg(not(feature = "loom"))]
mod tests {
    use super::*;

    #[test]
    fn it_waits_until_nothing_changes_for_a_moment() {
        let begin = Instant::now();
        let at = |milliseconds| begin + Duration::from_millis(milliseconds);
        let when = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let mut untold = None;
        Untold::add(&mut untold, "/a.py".into(), at(0), when(1));
        Untold::add(&mut untold, "/a.py".into(), at(50), when(2));
        Untold::add(&mut untold, "/b.py".into(), at(100), when(3));
        let untold = untold.unwrap();
        assert_eq!(untold.left(at(100)), QUIET);
        assert_eq!(untold.left(at(250)), Duration::from_millis(50));
        assert_eq!(untold.left(at(300)), Duration::ZERO);
        let Change { path, more, when: last } = untold.tell();
        assert_eq!((path, more, last), (PathBuf::from("/a.py"), 1, when(3)));
    }

    #[test]
    fn it_does_not_wait_for_ever() {
        let begin = Instant::now();
        let mut untold = None;
        for tenth in 0..60 {
            let now = begin + Duration::from_millis(100 * tenth);
            Untold::add(&mut untold, "/log.txt".into(), now, SystemTime::now());
        }
        assert_eq!(untold.unwrap().left(begin + LONGEST), Duration::ZERO);
    }
}
