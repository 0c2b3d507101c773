//! A bell that wakes an event loop, nginx's or an asyncio one: an eventfd that it watches like any other descriptor. Between
//! two processes it is a pipe, one end for each: both ends of an eventfd are one open file, and whoever makes that wait
//! (O_NONBLOCK) makes the other process wait as well.
//!
//! Python's threads share nginx's table of descriptors, and an application may close what is not its own (a bare
//! `os.closerange`). So the bell has a number that is used for nothing else: ringing a lost bell is an error, and
//! never a write to somebody's connection.

#[cfg(not(feature = "loom"))]
pub(crate) use self::eventfd::Bell;
#[cfg(feature = "loom")]
pub(crate) use self::model::Bell;

/// Somebody has closed the bell's descriptor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lost;

#[cfg(not(feature = "loom"))]
mod eventfd {
    use std::io;
    use std::os::fd::{AsRawFd, OwnedFd, RawFd};

    use rustix::event::{EventfdFlags, eventfd};
    use rustix::io::Errno;

    use super::Lost;

    #[derive(Debug)]
    pub(crate) struct Bell {
        fd: OwnedFd,
    }

    /// Rings that are silenced at once.
    const RINGS: usize = 64;

    impl Bell {
        /// A bell whose descriptor is the first free one from `least` on.
        pub(crate) fn new(least: RawFd) -> io::Result<Self> {
            let fd = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
            Ok(Self { fd: rustix::io::fcntl_dupfd_cloexec(fd, least)? })
        }

        /// One end of a pipe to another process, or from it.
        pub(crate) fn of(fd: OwnedFd) -> Self {
            Self { fd }
        }

        pub(crate) fn fd(&self) -> RawFd {
            self.fd.as_raw_fd()
        }

        /// Wakes who watches it. An eventfd refuses only a counter near 2^64, and a pipe only if it is full: who watches it
        /// is awake already, or the other process does not look.
        pub(crate) fn ring(&self) -> Result<(), Lost> {
            loop {
                match rustix::io::write(&self.fd, &1_u64.to_ne_bytes()) {
                    Err(Errno::INTR) => {}
                    Err(Errno::BADF) => return Err(Lost),
                    Ok(_) | Err(_) => return Ok(()),
                }
            }
        }

        /// Is its descriptor still open?
        pub(crate) fn check(&self) -> Result<(), Lost> {
            match rustix::io::fcntl_getfd(&self.fd) {
                Err(Errno::BADF) => Err(Lost),
                Ok(_) | Err(_) => Ok(()),
            }
        }

        /// Silences the bell: the next ring is an event again.
        pub(crate) fn hush(&self) -> Result<(), Lost> {
            // An eventfd has one number, a pipe one for each ring. Two of the same process never wait there, unless it rings
            // more than it has to, and that it does for itself.
            let mut rings = [0; RINGS * size_of::<u64>()];
            loop {
                match rustix::io::read(&self.fd, &mut rings) {
                    Err(Errno::INTR) => {}
                    Err(Errno::BADF) => return Err(Lost),
                    // EAGAIN: it has not been rung.
                    Ok(_) | Err(_) => return Ok(()),
                }
            }
        }

        /// How often it has been rung since it was last silenced; silences it.
        #[cfg(test)]
        pub(crate) fn rings(&self) -> u64 {
            let mut count = [0; 8];
            match rustix::io::read(&self.fd, &mut count) {
                Ok(_) => u64::from_ne_bytes(count),
                Err(error) => {
                    assert_eq!(error, Errno::AGAIN);
                    0
                }
            }
        }
    }

    #[cfg(test)]
    mod tests {
        use std::time::Duration;

        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        use rustix::pipe::{PipeFlags, pipe_with};

        use super::*;

        fn is_readable(bell: &Bell) -> bool {
            let now = Timespec::try_from(Duration::ZERO).unwrap();
            poll(&mut [PollFd::new(&bell.fd, PollFlags::IN)], Some(&now)).unwrap() == 1
        }

        #[test]
        fn a_bell_is_heard_until_it_is_hushed() {
            let bell = Bell::new(100).unwrap();
            assert!(bell.fd() >= 100);
            bell.hush().unwrap();
            assert!(!is_readable(&bell));
            bell.ring().unwrap();
            bell.ring().unwrap();
            assert!(is_readable(&bell));
            bell.hush().unwrap();
            assert!(!is_readable(&bell));
            bell.ring().unwrap();
            assert!(is_readable(&bell));
            assert_eq!(bell.rings(), 1);
        }

        #[test]
        fn a_pipe_is_a_bell_whose_other_end_makes_nobody_wait() {
            let (read, write) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC).unwrap();
            let (own, other) = (Bell::of(read), Bell::of(write));
            rustix::io::ioctl_fionbio(&own.fd, false).unwrap();
            // The other process does not look.
            for _ in 0..10_000 {
                other.ring().unwrap();
            }
            rustix::io::ioctl_fionbio(&own.fd, true).unwrap();
            for _ in 0..10_000 {
                own.hush().unwrap();
            }
            assert!(!is_readable(&own));
            other.ring().unwrap();
            other.ring().unwrap();
            assert!(is_readable(&own));
            own.hush().unwrap();
            assert!(!is_readable(&own));
            drop(own);
            other.ring().unwrap();
        }
    }
}

/// The same bell for loom: `wait` stands for epoll.
#[cfg(feature = "loom")]
mod model {
    use crate::bridge::sync::{Condvar, Mutex, lock};

    #[derive(Debug)]
    pub(crate) struct Bell {
        rung: Mutex<bool>,
        heard: Condvar,
        /// Since the beginning; only the tests look.
        rings: Mutex<usize>,
    }

    impl Bell {
        pub(crate) fn new(_least: std::os::fd::RawFd) -> std::io::Result<Self> {
            Ok(Self { rung: Mutex::new(false), heard: Condvar::new(), rings: Mutex::new(0) })
        }

        pub(crate) fn of(_fd: std::os::fd::OwnedFd) -> Self {
            Self { rung: Mutex::new(false), heard: Condvar::new(), rings: Mutex::new(0) }
        }

        pub(crate) fn ring(&self) -> Result<(), super::Lost> {
            *lock(&self.rings) += 1;
            *lock(&self.rung) = true;
            self.heard.notify_one();
            Ok(())
        }

        pub(crate) fn check(&self) -> Result<(), super::Lost> {
            Ok(())
        }

        pub(crate) fn hush(&self) -> Result<(), super::Lost> {
            *lock(&self.rung) = false;
            Ok(())
        }

        #[cfg(test)]
        pub(crate) fn wait(&self) {
            let mut rung = lock(&self.rung);
            while !*rung {
                rung = crate::bridge::sync::wait(&self.heard, rung);
            }
        }

        #[cfg(test)]
        pub(crate) fn rings(&self) -> usize {
            *lock(&self.rings)
        }

        pub(crate) fn fd(&self) -> std::os::fd::RawFd {
            -1
        }
    }
}
