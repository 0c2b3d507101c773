//! How far the starts of a worker's applications are. A start is the import, and with ASGI the startup
//! (`asgi_lifespan`). Behind the applications are the modules of `python_import`.

use std::time::{Duration, Instant};

use super::sync::{Condvar, Mutex, lock, wait_for};

/// The starts of all applications. Each is `Starting` until somebody says how it has ended, and never again.
#[derive(Debug)]
pub(crate) struct Starts {
    apps: Mutex<Vec<Start>>,
    /// One has ended.
    ended: Condvar,
}

/// The start of one application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    Starting,
    Started,
    /// With the traceback, or what else is known.
    Failed(String),
}

impl Starts {
    pub(crate) fn new(count: usize) -> Self {
        Self { apps: Mutex::new(vec![Start::Starting; count]), ended: Condvar::new() }
    }

    /// Those are started by other processes: nobody waits for them here.
    pub(super) fn leave_out(&self, which: impl Fn(usize) -> bool) {
        let mut apps = lock(&self.apps);
        let others = apps.iter_mut().zip(0..).filter(|(_, at)| which(*at));
        others.for_each(|(place, _)| *place = Start::Started);
    }

    /// Who imports application or module `app`, or runs its startup: that has ended. A later attempt may have another
    /// end. True if it was the last one.
    pub(super) fn end(&self, app: usize, result: Result<(), String>) -> bool {
        self.change(|apps| {
            if let Some(place) = apps.get_mut(app) {
                *place = match result {
                    Ok(()) => Start::Started,
                    Err(report) => Start::Failed(report),
                };
            }
        })
    }

    /// Nobody is left who could start application `app`. True if it was the last one.
    pub(super) fn give_up(&self, app: usize, why: &str) -> bool {
        self.change(|apps| {
            if let Some(place @ Start::Starting) = apps.get_mut(app) {
                *place = Start::Failed(why.to_owned());
            }
        })
    }

    /// Nobody is left who could start any of them. True if one was still to be started.
    pub(super) fn give_up_all(&self, why: &str) -> bool {
        self.change(|apps| {
            for place in apps.iter_mut().filter(|place| **place == Start::Starting) {
                *place = Start::Failed(why.to_owned());
            }
        })
    }

    /// Says whether all have ended by this change.
    fn change(&self, change: impl FnOnce(&mut [Start])) -> bool {
        let mut apps = lock(&self.apps);
        let had_ended = !apps.contains(&Start::Starting);
        change(&mut apps);
        self.ended.notify_all();
        !had_ended && !apps.contains(&Start::Starting)
    }

    /// Waits at most `limit` until all starts have ended; says whether they have.
    pub(crate) fn wait(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        let mut apps = lock(&self.apps);
        loop {
            if !apps.contains(&Start::Starting) {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            apps = wait_for(&self.ended, apps, left);
        }
    }

    /// Whether all starts have ended.
    pub(crate) fn have_ended(&self) -> bool {
        !lock(&self.apps).contains(&Start::Starting)
    }

    pub(crate) fn all(&self) -> Vec<Start> {
        lock(&self.apps).clone()
    }
}

#[cfg(test)]
#[cfg(not(feature = "loom"))]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::*;

    const NOT_LONG: Duration = Duration::from_millis(1);
    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn they_have_ended_when_the_last_one_has() {
        let starts = Starts::new(3);
        assert!(!starts.end(1, Ok(())));
        assert!(!starts.end(0, Err("Traceback".to_owned())));
        assert!(!starts.wait(NOT_LONG) && !starts.have_ended());
        assert!(!starts.end(7, Ok(())));
        assert!(!starts.wait(Duration::ZERO), "there is no such application");
        assert!(starts.give_up(2, "its loop has ended"));
        assert!(!starts.end(0, Err("Traceback".to_owned())), "they had ended before");
        assert!(starts.wait(Duration::ZERO) && starts.have_ended());
        let failed = |what: &str| Start::Failed(what.to_owned());
        let expected = [failed("Traceback"), Start::Started, failed("its loop has ended")];
        assert_eq!(starts.all(), expected);
    }

    #[test]
    fn what_has_ended_is_not_given_up() {
        let starts = Starts::new(1);
        assert!(starts.end(0, Err("first".to_owned())));
        assert!(!starts.give_up(0, "second"));
        assert_eq!(starts.all(), [Start::Failed("first".to_owned())]);
        assert!(!starts.end(0, Ok(())));
        assert_eq!(starts.all(), [Start::Started], "a later attempt has succeeded");
        assert!(!starts.give_up_all("third"));
        assert_eq!(starts.all(), [Start::Started]);
        let starts = Starts::new(2);
        assert!(starts.give_up_all("Python has ended"));
        assert_eq!(starts.all(), [(); 2].map(|()| Start::Failed("Python has ended".to_owned())));
    }

    #[test]
    fn who_waits_is_told() {
        let starts = Arc::new(Starts::new(2));
        let waiting = {
            let starts = Arc::clone(&starts);
            thread::spawn(move || starts.wait(LONG))
        };
        assert!(!starts.end(0, Ok(())));
        assert!(starts.end(1, Ok(())));
        assert!(waiting.join().unwrap());
        assert!(Starts::new(0).wait(Duration::ZERO), "without applications nothing is waited for");
    }
}
