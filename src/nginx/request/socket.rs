//! What the event loop keeps of the connection of an open WebSocket.
//!
//! | stage | meaning | left when |
//! |---|---|---|
//! | `Open` | frames go both ways | a close frame is received or sent, or the client breaks the rules |
//! | `Closing` | the last frame to the client is a close frame; what it sends is dropped until its own | its close frame has come, or too late |
//! | `Ending` | nothing more is read | what waits has been sent; then the request ends |

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use bytes::Bytes;

use crate::http::websocket::frame::Decoder;

/// The connection of an open WebSocket. As in the context, all that changes is a cell, and none is borrowed while nginx
/// is called: but for `sending` while its bytes are sent, by a function of nginx that calls nobody back.
pub(super) struct Upgraded {
    pub(super) decoder: RefCell<Decoder>,
    /// What has been read and not decoded, because the pipe was full.
    pub(super) unread: RefCell<Vec<u8>>,
    pub(super) sending: RefCell<Sending>,
    pub(super) stage: Cell<Stage>,
    /// When something was last received, in milliseconds of the worker's clock.
    pub(super) heard: Cell<u64>,
    /// When a ping was sent to which nothing has been received yet.
    pub(super) pinged: Cell<Option<u64>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Open,
    /// Since that time, in milliseconds of the worker's clock.
    Closing(u64),
    Ending,
}

/// The frames that wait for the client, in order.
#[derive(Default)]
pub(super) struct Sending {
    pub(super) frames: VecDeque<Frame>,
    /// Bytes of the first frame that have been sent.
    sent: usize,
    /// The pong that waits for the frame that is being sent. A later one replaces it (RFC 6455, section 5.5.3).
    pub(super) pong: Option<Bytes>,
    /// What [`Socket::take`](crate::bridge::pipe::messages::Socket::take) moves frames through.
    pub(super) taken: VecDeque<Bytes>,
}

pub(super) struct Frame {
    pub(super) bytes: Bytes,
    /// It is counted in the pipe.
    pub(super) from_pipe: bool,
}

impl Upgraded {
    /// `unread`: what nginx has read behind the request's head.
    pub(super) fn new(decoder: Decoder, unread: Vec<u8>, now: u64) -> Self {
        Self {
            decoder: RefCell::new(decoder),
            unread: RefCell::new(unread),
            sending: RefCell::default(),
            stage: Cell::new(Stage::Open),
            heard: Cell::new(now),
            pinged: Cell::new(None),
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.stage.get() == Stage::Open
    }
}

impl Sending {
    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty() && self.pong.is_none()
    }

    /// Adds a frame behind that which is being sent.
    pub(super) fn add_control(&mut self, bytes: Bytes) {
        let place = usize::from(self.sent > 0).min(self.frames.len());
        self.frames.insert(place, Frame { bytes, from_pipe: false });
    }

    /// Adds the close frame, behind which there is none.
    pub(super) fn add_last(&mut self, bytes: Bytes) {
        self.pong = None;
        self.frames.push_back(Frame { bytes, from_pipe: false });
    }

    /// The bytes that are sent next: of one frame, or of several short ones in `gathered`. `None` if there are none.
    pub(super) fn next<'a>(&'a mut self, gathered: &'a mut Vec<u8>) -> Option<&'a [u8]> {
        if let Some(pong) = self.pong.take() {
            self.add_control(pong);
        }
        let first = self.frames.front()?.bytes.get(self.sent..).unwrap_or_default();
        if self.frames.len() == 1 || first.len() >= SHORT {
            return Some(first);
        }
        gathered.clear();
        gathered.extend_from_slice(first);
        for frame in self.frames.iter().skip(1) {
            if gathered.len() + frame.bytes.len() > GATHERED {
                break;
            }
            gathered.extend_from_slice(&frame.bytes);
        }
        Some(gathered)
    }

    /// So many bytes have been sent. True if `gone` is so for any of the frames that have gone with them.
    pub(super) fn advance(&mut self, size: usize, gone: impl Fn(&Frame) -> bool) -> bool {
        let mut any = false;
        self.sent += size;
        while let Some(frame) = self.frames.front().filter(|frame| frame.bytes.len() <= self.sent) {
            self.sent -= frame.bytes.len();
            any |= gone(frame);
            self.frames.pop_front();
        }
        any
    }
}

/// Frames shorter than this are sent together, up to [`GATHERED`] bytes.
const SHORT: usize = 4 * 1024;
const GATHERED: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(len: usize) -> Frame {
        Frame { bytes: Bytes::from(vec![b'x'; len]), from_pipe: true }
    }

    fn lengths(sending: &Sending) -> Vec<usize> {
        sending.frames.iter().map(|frame| frame.bytes.len()).collect()
    }

    #[test]
    fn short_frames_are_sent_together() {
        let mut sending = Sending::default();
        let mut gathered = Vec::new();
        assert_eq!(sending.next(&mut gathered), None);
        sending.frames.extend([frame(10), frame(20), frame(GATHERED), frame(SHORT)]);
        assert_eq!(sending.next(&mut gathered).map(<[u8]>::len), Some(30));
        assert!(!sending.advance(5, |frame| frame.bytes.len() == 20));
        assert_eq!((lengths(&sending), sending.sent), (vec![10, 20, GATHERED, SHORT], 5));
        assert_eq!(sending.next(&mut gathered).map(<[u8]>::len), Some(25));
        assert!(sending.advance(25, |frame| frame.bytes.len() == 20));
        assert_eq!(sending.next(&mut gathered).map(<[u8]>::len), Some(GATHERED));
        assert!(!sending.advance(GATHERED + 1, |_| false));
        assert_eq!((lengths(&sending), sending.sent), (vec![SHORT], 1));
        assert_eq!(sending.next(&mut gathered).map(<[u8]>::len), Some(SHORT - 1));
    }

    #[test]
    fn a_control_frame_does_not_break_another_frame() {
        let mut sending = Sending::default();
        let mut gathered = Vec::new();
        sending.frames.extend([frame(10), frame(20)]);
        sending.pong = Some(Bytes::from_static(b"1"));
        sending.pong = Some(Bytes::from_static(b"12"));
        sending.next(&mut gathered);
        assert_eq!(lengths(&sending), [2, 10, 20]);
        sending.advance(3, |_| false);
        sending.add_control(Bytes::from_static(b"123"));
        sending.add_last(Bytes::from_static(b"1234"));
        assert_eq!((lengths(&sending), sending.sent), (vec![10, 3, 20, 4], 1));
    }
}
