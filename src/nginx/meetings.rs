//! Where the web workers meet the processes of a `python_process`: a pair of sockets for each process, by which a web
//! worker hands over what the two will share.
//!
//! The master makes them before it forks, for each configuration, and keeps both ends as long as that configuration:
//! a process that is started again inherits what the one before it had. So nobody learns by them that a process has
//! ended, and what has been sent to one that has died is received by its successor. A process that is kept over a reload
//! (`keep=on`) meets the web workers of the next configuration at the same pair. The master itself asks processes there,
//! before a reload, whether they may be kept (`nginx/keep`).
//!
//! A process that is forked has those of all configurations that the master still has. It closes all that are not its own:
//! with an end of a process's, whoever has taken it over could answer the requests of another group.

use std::io;
use std::mem;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use crate::bridge::config::{ProcessGroup, Role};

/// The pairs of a configuration, as the master has them. A process takes its own once, and closes the others.
#[derive(Debug, Default)]
pub(super) struct Meetings(Arc<Pairs>);

/// By group, and by slot.
type Pairs = Mutex<Vec<Vec<Arc<Pair>>>>;

/// Those of all configurations.
static ALL: Mutex<Vec<Weak<Pairs>>> = Mutex::new(Vec::new());

/// A socket keeps the borders of messages, and neither end waits.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) web: OwnedFd,
    application: OwnedFd,
}

/// What a process has of them.
#[derive(Debug)]
pub(super) enum Ends {
    /// It sends to each process: by group, and by slot. Empty if they could not be made.
    Web(Vec<Vec<OwnedFd>>),
    /// It receives from all web workers.
    Application(OwnedFd),
    /// There is none.
    Missing,
}

impl Meetings {
    /// The master, before it forks: makes the pairs of all processes; `kept` gives those of a group that there are already.
    /// If it fails there are none.
    pub(super) fn make<'a>(
        &self,
        groups: impl Iterator<Item = &'a ProcessGroup>,
        mut kept: impl FnMut(usize) -> Option<Vec<Arc<Pair>>>,
    ) -> io::Result<()> {
        let made =
            |group: &ProcessGroup| (0..group.processes).map(|_| pair().map(Arc::new)).collect();
        let pairs = groups.zip(0..).map(|(group, at)| kept(at).map_or_else(|| made(group), Ok));
        let pairs = pairs.collect::<io::Result<_>>()?;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = pairs;
        let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|known| known.strong_count() > 0);
        all.push(Arc::downgrade(&self.0));
        Ok(())
    }

    /// The master: those of a group.
    pub(super) fn of_group(&self, group: usize) -> Vec<Arc<Pair>> {
        let pairs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pairs.get(group).cloned().unwrap_or_default()
    }

    /// A process that has been forked: what it needs. It closes the rest.
    pub(super) fn take(&self, role: Role) -> Ends {
        let pairs = take(&self.0);
        close_all();
        // Nobody else in this process has them.
        let web = |of_group: Vec<Arc<Pair>>| {
            let own = of_group.into_iter().filter_map(Arc::into_inner);
            own.map(|pair| pair.web).collect()
        };
        match role {
            Role::Web => Ends::Web(pairs.into_iter().map(web).collect()),
            Role::Application { group, slot } => {
                let own = pairs.into_iter().nth(group);
                let own = own.and_then(|of_group| of_group.into_iter().nth(slot));
                let own = own.and_then(Arc::into_inner);
                own.map_or(Ends::Missing, |pair| Ends::Application(pair.application))
            }
        }
    }
}

/// A process that has been forked closes what is not its own.
pub(super) fn close_all() {
    let all = mem::take(&mut *ALL.lock().unwrap_or_else(PoisonError::into_inner));
    for pairs in all.iter().filter_map(Weak::upgrade) {
        drop(take(&pairs));
    }
}

fn take(pairs: &Pairs) -> Vec<Vec<Arc<Pair>>> {
    mem::take(&mut *pairs.lock().unwrap_or_else(PoisonError::into_inner))
}

fn pair() -> io::Result<Pair> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (web, application) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    Ok(Pair { web, application })
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use rustix::io::{read, write};

    use super::*;

    fn groups() -> [ProcessGroup; 2] {
        [("shop", 2), ("reports", 1)].map(|(name, processes)| ProcessGroup {
            name: name.to_owned(),
            processes,
            max_queue: 0,
            ring: 0,
            wakes_at: None,
            keep: false,
        })
    }

    fn made() -> Meetings {
        let meetings = Meetings::default();
        meetings.make(groups().iter(), |_| None).unwrap();
        meetings
    }

    #[test]
    fn a_web_worker_has_an_end_for_each_process() {
        let meetings = made();
        let Ends::Web(ends) = meetings.take(Role::Web) else { panic!("no ends") };
        assert_eq!(ends.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1]);
        // The others have been closed: nobody is left who would receive.
        assert!(write(ends[1][0].as_fd(), b"x").is_err());
    }

    #[test]
    fn a_process_receives_at_its_own() {
        let meetings = made();
        let web = {
            let pairs = meetings.0.lock().unwrap();
            pairs[0][1].web.try_clone().unwrap()
        };
        let taken = meetings.take(Role::Application { group: 0, slot: 1 });
        let Ends::Application(own) = taken else { panic!("no end") };
        assert!(read(own.as_fd(), &mut [0; 8]).is_err(), "it does not wait");
        write(web.as_fd(), b"first").unwrap();
        write(web.as_fd(), b"second").unwrap();
        let mut buffer = [0; 16];
        assert_eq!(read(own.as_fd(), &mut buffer).unwrap(), 5);
        assert_eq!(read(own.as_fd(), &mut buffer).unwrap(), 6);
    }

    #[test]
    fn a_process_keeps_nothing_of_another_configuration() {
        let (before, meetings) = (made(), made());
        let (ours, theirs) = {
            let [before, own] = [&before, &meetings].map(|it| it.0.lock().unwrap());
            (own[0][0].web.try_clone().unwrap(), before[0][0].web.try_clone().unwrap())
        };
        let _own = meetings.take(Role::Application { group: 0, slot: 0 });
        assert!(write(ours.as_fd(), b"x").is_ok());
        assert!(write(theirs.as_fd(), b"x").is_err());
    }

    #[test]
    fn a_group_that_is_kept_has_the_same_pairs() {
        let before = made();
        let meetings = Meetings::default();
        let kept = |at| (at == 0).then(|| before.of_group(at));
        meetings.make(groups().iter(), kept).unwrap();
        let same = |group| {
            let pairs = [&before, &meetings].map(|it| it.of_group(group));
            pairs[0].iter().zip(&pairs[1]).all(|(one, other)| Arc::ptr_eq(one, other))
        };
        assert!(same(0) && !same(1));
        let own = meetings.take(Role::Application { group: 0, slot: 0 });
        assert!(matches!(own, Ends::Application(_)), "it is closed in the one before");
    }

    #[test]
    fn what_was_not_made_is_missing() {
        let meetings = Meetings::default();
        assert!(matches!(meetings.take(Role::Application { group: 0, slot: 0 }), Ends::Missing));
        let meetings = made();
        close_all();
        assert!(matches!(meetings.take(Role::Application { group: 0, slot: 0 }), Ends::Missing));
    }
}
