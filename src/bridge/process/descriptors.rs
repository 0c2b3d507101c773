//! Descriptors that cross from one process to another: over a socket, one with each message.

use std::fs::File;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, fstat};
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

/// A file that another process has sent, whose first `end` bytes are wanted. Only a regular file is taken: nothing is
/// waited for that only its sender could end.
pub(super) fn regular(descriptor: OwnedFd, end: u64) -> Result<File, Broken> {
    let stat = fstat(&descriptor).map_err(|_| Broken::File)?;
    let is_regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    let size = u64::try_from(stat.st_size).unwrap_or_default();
    if !is_regular || size < end {
        return Err(Broken::File);
    }
    Ok(File::from(descriptor))
}
