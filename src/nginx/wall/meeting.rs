//! A web worker makes a link and sends the other end to a process, over the socket that the master has made for that.

use std::io;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::sync::Arc;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::pipe::{PipeFlags, pipe_with};

use super::memory;
use crate::bridge::process::descriptors::{self, Received};
use crate::bridge::process::link::{self, Ends};
use crate::bridge::process::question::{QUESTION, Question};

/// A link's message is the size of its rings.
const SIZE: usize = 8;

/// Bytes of each ring that an application process takes, at most.
const LARGEST_RING: u64 = 1 << 30;

/// Makes a link with rings for `ring` bytes, and sends its other end. `None`: the process has not taken those that were
/// sent before.
pub(super) fn offer(socket: impl AsFd, ring: usize, least: RawFd) -> io::Result<Option<Ends>> {
    let (memory, file) = memory::create(link::words(ring), link::area(ring))?;
    let pipe = || pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC);
    let ((own_bell, rings_own), (others_bell, rings_other)) = (pipe()?, pipe()?);
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (own, others) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    let size = (ring as u64).to_ne_bytes();
    // In the order in which the other side has them.
    let sent = [file.as_fd(), others_bell.as_fd(), rings_own.as_fd(), others.as_fd()];
    if !descriptors::send(socket, &size, &sent)? {
        return Ok(None);
    }
    Ok(Some(Ends {
        area: Arc::clone(&memory) as _,
        memory,
        ring,
        own_bell: above(own_bell, least)?,
        other_bell: above(rings_other, least)?,
        socket: above(own, least)?,
    }))
}

/// What has come over the socket.
pub(super) enum Arrival {
    Link(Ends),
    /// The master asks.
    Question(Question),
}

/// Takes an end that a web worker has sent, or a question. `None`: there is none.
pub(super) fn accept(socket: impl AsFd, least: RawFd) -> io::Result<Option<Arrival>> {
    let mut bytes = [0; QUESTION];
    let (size, descriptors) = match descriptors::receive(socket, &mut bytes)? {
        Received::Message(SIZE, descriptors) => (bytes.first_chunk::<SIZE>(), descriptors),
        Received::Message(QUESTION, _) => (None, Vec::new()),
        Received::Message(..) => {
            return Err(io::Error::other("a web worker has sent another message"));
        }
        Received::Nothing | Received::Ended => return Ok(None),
    };
    let Some(size) = size else {
        let question = Question::of_bytes(&bytes);
        let question = question.ok_or_else(|| io::Error::other("there is no such question"))?;
        return Ok(Some(Arrival::Question(question)));
    };
    let size = u64::from_ne_bytes(*size);
    let Ok([file, own_bell, other_bell, socket]) = <[OwnedFd; 4]>::try_from(descriptors) else {
        return Err(io::Error::other("a web worker has sent other descriptors"));
    };
    let ring = usize::try_from(size).ok().filter(|_| size <= LARGEST_RING);
    let ring = ring.ok_or_else(|| io::Error::other("a web worker has sent another size"))?;
    let memory = memory::open(&file, link::words(ring), link::area(ring))?;
    Ok(Some(Arrival::Link(Ends {
        area: Arc::clone(&memory) as _,
        memory,
        ring,
        own_bell: above(own_bell, least)?,
        other_bell: above(other_bell, least)?,
        socket: above(socket, least)?,
    })))
}

/// The same descriptor with a number that nginx does not reach, so that one that an application has closed is nobody
/// else's (`bridge/bell.rs`).
fn above(descriptor: OwnedFd, least: RawFd) -> io::Result<OwnedFd> {
    match rustix::io::fcntl_dupfd_cloexec(&descriptor, least) {
        Ok(above) => Ok(above),
        // There is no room there.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::MFILE) => Ok(descriptor),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
#[cfg(not(feature = "loom"))]
mod tests {
    use super::*;
    use crate::bridge::process::frames::Number;
    use crate::bridge::process::link::{ProcessLink, WebLink};
    use crate::bridge::process::to_process::ToProcess;
    use crate::bridge::process::to_worker::ToWorker;

    #[test]
    fn both_ends_of_a_link_belong_together() {
        let (web, application) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::NONBLOCK, None)
                .unwrap();
        assert!(accept(&application, 100).unwrap().is_none());
        let own = offer(&web, 65_536, 100).unwrap().unwrap();
        let Some(Arrival::Link(other)) = accept(&application, 100).unwrap() else {
            panic!("no link")
        };
        assert!(accept(&application, 100).unwrap().is_none());
        let (mut web, mut process) = (WebLink::of_worker(own), ProcessLink::of_process(other));
        assert!(web.watched().iter().chain(&process.watched()).all(|fd| *fd >= 100));
        let number = Number { slot: 1, generation: 2 };
        web.send(number, &ToProcess::Ask).unwrap();
        process.send(number, &ToWorker::Elapsed(Some(7))).unwrap();
        assert!(!web.flush(false).unwrap());
        assert!(process.flush(false).unwrap(), "there is something to receive");
        let mut received = 0;
        let _more = process.receive(|_, of, message| {
            assert!(of == number && matches!(message, ToProcess::Ask));
            received += 1;
            Ok(())
        });
        let _more = web.receive(|_, of, message| {
            assert_eq!((of, message), (number, ToWorker::Elapsed(Some(7))));
            received += 1;
            Ok(())
        });
        assert_eq!(received, 2);
        process.mark(number).unwrap().clear();
        process.mark(number).unwrap().begin();
        assert!(web.mark(number).unwrap().has_begun());
    }

    #[test]
    fn the_master_asks_at_the_same_socket() {
        let (web, application) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::NONBLOCK, None)
                .unwrap();
        let question = Question(3);
        assert!(descriptors::send(&web, &question.to_bytes(), &[]).unwrap());
        let Some(Arrival::Question(asked)) = accept(&application, 100).unwrap() else {
            panic!("no question")
        };
        assert_eq!(asked, question);
        assert!(descriptors::send(&web, &[1; QUESTION], &[]).unwrap());
        assert!(accept(&application, 100).is_err());
    }

    #[test]
    fn what_is_no_end_of_a_link_is_not_taken() {
        let (web, application) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::NONBLOCK, None)
                .unwrap();
        assert!(descriptors::send(&web, b"12345678", &[web.as_fd()]).unwrap());
        assert!(accept(&application, 100).is_err());
        assert!(descriptors::send(&web, b"x", &[]).unwrap());
        assert!(accept(&application, 100).is_err());
        assert!(accept(&application, 100).unwrap().is_none());
    }
}
