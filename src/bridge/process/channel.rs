//! Messages over a ring.
//!
//! A message that is larger than a frame is sent as several that follow one another: until the last of them is in the
//! ring, nothing else is sent. So the other side puts together one message at a time, whatever it is sent.

use std::marker::PhantomData;

use bytes::{Buf, Bytes};

use super::frames::{Cut, Foreign, MORE, Message, Number, SendError, TooLarge};
use super::ring::{Consumer, Corrupt, Frame, Head, Producer};

/// Sends messages.
#[derive(Debug)]
pub(crate) struct Sender<M> {
    producer: Producer,
    /// What is encoded as text. The memory is used again.
    text: Vec<u8>,
    left: Option<Left>,
    sends: PhantomData<fn(&M)>,
}

/// What is left of a message for which there was not enough room.
#[derive(Debug)]
struct Left {
    head: Head,
    /// `None`: what is left is in `text`, from `at` on.
    body: Option<Bytes>,
    at: usize,
}

/// Receives messages.
#[derive(Debug)]
pub(crate) struct Receiver<M> {
    consumer: Consumer,
    /// What has come of a message that is not complete.
    begun: Option<Frame>,
    receives: PhantomData<fn() -> M>,
}

impl<M: Message> Sender<M> {
    pub(crate) fn new(producer: Producer) -> Self {
        Self { producer, text: Vec::new(), left: None, sends: PhantomData }
    }

    /// Bytes of a body that one frame of this ring can have.
    pub(crate) fn largest(&self) -> usize {
        self.producer.largest()
    }

    /// Sends a message, which the other side sees after [`publish`](Self::publish). False if there is no room: nothing
    /// of it is sent then, and it has to be sent again when there is ([`wait`](Self::wait)). If it is larger than a
    /// frame, and only a part of it has room, it counts as sent: the rest goes first when there is room.
    pub(crate) fn send(&mut self, number: Number, message: &M) -> Result<bool, SendError> {
        if !self.resume()? {
            return Ok(false);
        }
        self.text.clear();
        let encoded = message.encode(&mut self.text)?;
        let head = encoded.head(number);
        let body = encoded.body.map_or(&*self.text, |body| body);
        if let Cut::Whole(most) = M::cut(head.kind) {
            if body.len() > most {
                return Err(TooLarge(most).into());
            }
        }
        let sent = write(&mut self.producer, head, body)?;
        if sent.is_some_and(|sent| sent < body.len()) {
            let (body, at) = (encoded.body.cloned(), sent.unwrap_or_default());
            self.left = Some(Left { head, body, at });
        } else if self.text.capacity() > KEPT {
            self.text = Vec::new();
        }
        Ok(sent.is_some())
    }

    /// Would a message that is not larger than a frame be sent now?
    pub(crate) fn has_room(&mut self) -> Result<bool, Corrupt> {
        Ok(self.resume()? && self.producer.has_room(self.largest())?)
    }

    /// Sends what is left of a message. True if nothing is.
    pub(crate) fn resume(&mut self) -> Result<bool, Corrupt> {
        let Some(left) = &mut self.left else { return Ok(true) };
        let body = left.body.as_deref().unwrap_or(&self.text);
        let mut rest = body.get(left.at..).unwrap_or_default();
        if let Some(sent) = write(&mut self.producer, left.head, rest)? {
            left.at += sent;
            rest.advance(sent);
            if rest.is_empty() {
                self.left = None;
            }
        }
        Ok(self.left.is_none())
    }

    /// Shows the other side what has been sent. True if it sleeps: the caller must ring for it.
    pub(crate) fn publish(&mut self) -> Result<bool, Corrupt> {
        self.producer.publish()
    }

    /// After [`send`](Self::send) was false, or to send what is left, and after [`publish`](Self::publish): waits for
    /// room. True if there is some now; otherwise the other side rings when there is.
    pub(crate) fn wait(&mut self) -> Result<bool, Corrupt> {
        self.producer.wait(self.largest())
    }
}

impl<M: Message> Receiver<M> {
    pub(crate) fn new(consumer: Consumer) -> Self {
        Self { consumer, begun: None, receives: PhantomData }
    }

    /// The next message, if there is one that is complete. If it has many pieces, some are left to the next call:
    /// [`rest`](Self::rest) says so. The other side may send without end: the caller takes a limited number in a turn.
    pub(crate) fn receive(&mut self) -> Result<Option<(Number, M)>, Foreign> {
        for _ in 0..PIECES {
            let Some(frame) = self.consumer.read()? else { break };
            if let Some(Frame { head, body }) = self.join(frame)? {
                let message = M::decode(head.kind, head.flags, head.value, body)?;
                return Ok(Some((Number::of_word(head.request), message)));
            }
        }
        Ok(None)
    }

    /// Gives the room of what has been received back. True if the other side waits for it: the caller must ring for it.
    pub(crate) fn release(&mut self) -> Result<bool, Corrupt> {
        self.consumer.release()
    }

    /// After [`release`](Self::release): wants to sleep. True if there is something to receive now; otherwise the other
    /// side rings when there is.
    pub(crate) fn rest(&mut self) -> Result<bool, Corrupt> {
        self.consumer.rest()
    }

    /// Is awake, by a bell or by itself: the other side need not ring.
    pub(crate) fn wake(&mut self) -> Result<(), Corrupt> {
        self.consumer.wake()
    }

    /// Adds a frame to those of the same message. Gives the message if it is complete.
    fn join(&mut self, frame: Frame) -> Result<Option<Frame>, Foreign> {
        let Cut::Whole(most) = M::cut(frame.head.kind) else {
            let whole = self.begun.is_none().then_some(frame);
            return whole.map(Some).ok_or(Foreign::Broken);
        };
        let goes_on = frame.head.flags & MORE != 0;
        let head = Head { flags: frame.head.flags & !MORE, ..frame.head };
        let joined = match self.begun.take() {
            None => Frame { head, body: frame.body },
            Some(begun) if begun.head != head => return Err(Foreign::Broken),
            // An empty piece would be no progress.
            Some(_) if frame.body.is_empty() => return Err(Foreign::Broken),
            Some(mut begun) => {
                if frame.body.len() > most.saturating_sub(begun.body.len()) {
                    return Err(Foreign::TooLarge(most));
                }
                begun.body.extend_from_slice(&frame.body);
                begun
            }
        };
        if goes_on {
            self.begun = Some(joined);
            return Ok(None);
        }
        Ok(Some(joined))
    }
}

/// Writes as many frames of a message as there is room for. Gives the number of bytes, or `None` if there is no room for
/// the first.
fn write(producer: &mut Producer, head: Head, body: &[u8]) -> Result<Option<usize>, Corrupt> {
    let mut rest = body;
    loop {
        let (piece, after) = rest.split_at(rest.len().min(producer.largest()));
        let more = if after.is_empty() { 0 } else { MORE };
        if !producer.write(Head { flags: head.flags | more, ..head }, piece)? {
            let written = body.len() - rest.len();
            return Ok((written > 0).then_some(written));
        }
        rest = after;
        if rest.is_empty() {
            return Ok(Some(body.len()));
        }
    }
}

/// Frames that are put together at once: the event loop has more to do.
const PIECES: usize = 16;

/// Bytes that are kept for the next message. Heads are seldom larger.
const KEPT: usize = 64 * 1024;

#[cfg(test)]
#[cfg(not(feature = "loom"))]
mod tests;
