//! Where the web workers meet the processes of a `python_process`: a pair of sockets for each process, by which a web
//! worker hands over what the two will share.
//!
//! The master makes them before it forks, for each configuration, and keeps both ends as long as that configuration:
//! a process that is started again inherits what the one before it had. So nobody learns by them that a process has
//! ended, and what has been sent to one that has died is received by its successor.

use std::io;
use std::mem;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use crate::bridge::config::{ProcessGroup, Role};

/// The pairs of a configuration, as the master has them. A process takes its own once, and closes the others.
#[derive(Debug, Default)]
pub(super) struct Meetings(Mutex<Vec<Vec<Pair>>>);

/// A socket keeps the borders of messages, and neither end waits.
#[derive(Debug)]
struct Pair {
    web: OwnedFd,
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
    /// The master, before it forks: makes the pairs of all processes. If it fails there are none.
    pub(super) fn make<'a>(
        &self,
        groups: impl Iterator<Item = &'a ProcessGroup>,
    ) -> io::Result<()> {
        let of_group = |group: &ProcessGroup| (0..group.processes).map(|_| pair()).collect();
        let pairs = groups.map(of_group).collect::<io::Result<_>>()?;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = pairs;
        Ok(())
    }

    /// A process that has been forked: what it needs. It closes the rest.
    pub(super) fn take(&self, role: Role) -> Ends {
        let pairs = mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let web = |of_group: Vec<Pair>| of_group.into_iter().map(|pair| pair.web).collect();
        match role {
            Role::Web => Ends::Web(pairs.into_iter().map(web).collect()),
            Role::Application { group, slot } => {
                let own = pairs.into_iter().nth(group);
                let own = own.and_then(|of_group| of_group.into_iter().nth(slot));
                own.map_or(Ends::Missing, |pair| Ends::Application(pair.application))
            }
        }
    }

    /// A process that has been forked, and takes part in nothing.
    pub(super) fn close(&self) {
        drop(mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)));
    }
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
        })
    }

    fn made() -> Meetings {
        let meetings = Meetings::default();
        meetings.make(groups().iter()).unwrap();
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
    fn what_was_not_made_is_missing() {
        let meetings = Meetings::default();
        assert!(matches!(meetings.take(Role::Application { group: 0, slot: 0 }), Ends::Missing));
        let meetings = made();
        meetings.close();
        assert!(matches!(meetings.take(Role::Application { group: 0, slot: 0 }), Ends::Missing));
    }
}
