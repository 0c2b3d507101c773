//! Descriptors that cross from one process to another: over a socket, one with each message.

use std::fs::File;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, OFlags, fcntl_getfl, fstat};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

use super::broken::Broken;

/// What has been received.
#[derive(Debug)]
pub(crate) enum Received {
    /// The bytes of the message are in the buffer: so many.
    Message(usize, Vec<OwnedFd>),
    /// There is none now.
    Nothing,
    /// The other end is closed.
    Ended,
}

/// Descriptors of one message, at most.
pub(crate) const MOST: usize = 4;

/// Sends a message with descriptors, without waiting. False if there is no room.
pub(crate) fn send(
    socket: impl AsFd,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> Result<bool, Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(Errno::INVAL);
    }
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    let bytes = [IoSlice::new(bytes)];
    match retry_on_intr(|| sendmsg(&socket, &bytes, &mut ancillary, flags)) {
        Ok(_) => Ok(true),
        // The last: too many descriptors of this user are on their way.
        Err(Errno::AGAIN | Errno::NOBUFS | Errno::TOOMANYREFS) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Receives a message, without waiting. What it has besides descriptors is refused.
pub(crate) fn receive(socket: impl AsFd, bytes: &mut [u8]) -> Result<Received, Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let mut buffer = [IoSliceMut::new(bytes)];
    let message = match retry_on_intr(|| recvmsg(&socket, &mut buffer, &mut ancillary, flags)) {
        Ok(message) => message,
        Err(Errno::AGAIN) => return Ok(Received::Nothing),
        Err(Errno::CONNRESET) => return Ok(Received::Ended),
        Err(error) => return Err(error),
    };
    let mut descriptors = Vec::new();
    for part in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = part {
            descriptors.extend(received);
        }
    }
    if message.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return Err(Errno::MSGSIZE);
    }
    if message.bytes == 0 && descriptors.is_empty() {
        return Ok(Received::Ended);
    }
    Ok(Received::Message(message.bytes, descriptors))
}

/// A file that another process has sent, whose first `end` bytes are wanted. Only a regular file is taken that can be read:
/// nothing is waited for that only its sender could end.
pub(super) fn regular(descriptor: OwnedFd, end: u64) -> Result<File, Broken> {
    let stat = fstat(&descriptor).map_err(|_| Broken::File)?;
    let is_regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    let size = u64::try_from(stat.st_size).unwrap_or_default();
    let flags = fcntl_getfl(&descriptor).map_err(|_| Broken::File)?;
    // A path alone (O_PATH) is neither for reading nor for writing, and says that it is the former.
    let is_readable =
        !flags.contains(OFlags::PATH) && flags.intersection(OFlags::RWMODE) != OFlags::WRONLY;
    if !is_regular || !is_readable || size < end {
        return Err(Broken::File);
    }
    Ok(File::from(descriptor))
}

#[cfg(test)]
#[cfg(not(feature = "loom"))]
mod tests {
    use std::io::Write;
    use std::path::Path;

    use rustix::fs::{MemfdFlags, Mode, memfd_create, open};
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    use rustix::pipe::pipe;

    use super::*;

    fn opened(path: impl AsRef<Path>, flags: OFlags) -> OwnedFd {
        open(path.as_ref(), flags, Mode::empty()).unwrap()
    }

    #[test]
    fn a_file_is_regular_readable_and_long_enough() {
        let memory = memfd_create("some", MemfdFlags::CLOEXEC).unwrap();
        File::from(memory.try_clone().unwrap()).write_all(b"0123456789").unwrap();
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&memory));
        let again = |flags| opened(&path, flags);
        assert!(regular(again(OFlags::RDONLY), 10).is_ok());
        assert!(regular(again(OFlags::RDWR | OFlags::APPEND), 9).is_ok());
        assert_eq!(regular(again(OFlags::RDONLY), 11).unwrap_err(), Broken::File);
        assert_eq!(regular(again(OFlags::WRONLY), 1).unwrap_err(), Broken::File);
        assert_eq!(regular(again(OFlags::PATH), 1).unwrap_err(), Broken::File);
        let (read, write) = pipe().unwrap();
        for other in [
            read,
            write,
            opened("/dev/zero", OFlags::RDONLY),
            opened("/tmp", OFlags::RDONLY),
            opened("/tmp", OFlags::PATH),
        ] {
            assert_eq!(regular(other, 0).unwrap_err(), Broken::File);
        }
    }

    #[test]
    fn a_message_with_more_descriptors_is_not_taken() {
        let pair = || {
            let flags = SocketFlags::NONBLOCK;
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap()
        };
        let ((ours, theirs), (probe, sent)) = (pair(), pair());
        // The buffer may have room for a few more.
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST + 10))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let many = [sent.as_fd(); MOST + 10];
        assert!(ancillary.push(SendAncillaryMessage::ScmRights(&many)));
        sendmsg(&theirs, &[IoSlice::new(b"f")], &mut ancillary, SendFlags::empty()).unwrap();
        assert_eq!(receive(&ours, &mut [0; 1]).unwrap_err(), Errno::MSGSIZE);
        drop(sent);
        // None of them is open any more.
        assert!(rustix::io::read(&probe, &mut [0; 1]).is_ok_and(|size| size == 0));
    }

    #[test]
    fn a_full_socket_is_no_error() {
        let flags = SocketFlags::NONBLOCK;
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
        let file = opened("/dev/null", OFlags::RDONLY);
        let sent = (0..100_000).take_while(|_| send(&ours, b"f", &[file.as_fd()]).unwrap()).count();
        assert!((1..100_000).contains(&sent), "{sent}");
        let Received::Message(1, received) = receive(&theirs, &mut [0; 1]).unwrap() else {
            panic!("nothing has come");
        };
        assert_eq!(received.len(), 1);
    }
}
