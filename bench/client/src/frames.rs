//! WebSocket frames (RFC 6455, section 5): those that are sent, and a reader of the server's.

const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xa;
const FINAL: u8 = 0x80;
/// The first reserved bit: the message is compressed (RFC 7692).
const COMPRESSED: u8 = 0x40;
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

pub(crate) fn message(payload: &[u8], text: bool, compressed: bool) -> Vec<u8> {
    let opcode = if text { TEXT } else { BINARY };
    masked(FINAL | opcode | if compressed { COMPRESSED } else { 0 }, payload)
}

pub(crate) fn pong(payload: &[u8]) -> Vec<u8> {
    masked(FINAL | PONG, payload)
}

fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        length @ 0..126 => frame.push(0x80 | length as u8),
        length @ 126..65536 => {
            frame.push(0x80 | 126);
            frame.extend((length as u16).to_be_bytes());
        }
        length => {
            frame.push(0x80 | 127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.extend(MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// What a server has sent.
#[derive(Debug, PartialEq)]
pub(crate) enum Received {
    /// The last byte of a message of `length` payload bytes.
    Message {
        length: u64,
        compressed: bool,
    },
    Ping(Vec<u8>),
    /// Its code; 1005 if it has none.
    Close(u16),
}

/// Reads a server's frames from blocks of any size. A message's payload is counted, not kept.
#[derive(Default)]
pub(crate) struct Frames {
    /// The head of the current frame as far as it has arrived: two to ten bytes.
    head: Vec<u8>,
    /// The head is complete, and this much of its payload is to come.
    payload: Option<u64>,
    /// The payload of a control frame.
    control: Vec<u8>,
    /// Of the current message.
    length: u64,
    compressed: bool,
}

impl Frames {
    /// Takes bytes from `data` up to the next event; None if there is none in it.
    pub(crate) fn next(&mut self, data: &mut &[u8]) -> Option<Received> {
        loop {
            let left = match self.payload {
                Some(left) => left,
                None => self.take_head(data)?,
            };
            let taken = data.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let (payload, rest) = data.split_at(taken);
            *data = rest;
            if self.is_control() {
                self.control.extend(payload);
            } else {
                self.length += taken as u64;
            }
            self.payload = Some(left - taken as u64);
            if left > taken as u64 {
                return None;
            }
            if let Some(received) = self.end_of_frame() {
                return Some(received);
            }
        }
    }

    fn take_head(&mut self, data: &mut &[u8]) -> Option<u64> {
        loop {
            let needed = match self.head.get(1).map(|second| second & 0x7f) {
                None => 2,
                Some(126) => 4,
                Some(127) => 10,
                Some(_) => 2,
            };
            if self.head.len() == needed {
                break;
            }
            let (byte, rest) = data.split_first()?;
            self.head.push(*byte);
            *data = rest;
        }
        if !self.is_control() && self.opcode() != 0 {
            self.length = 0;
            self.compressed = self.head[0] & COMPRESSED != 0;
        }
        Some(match self.head[..] {
            [_, length] => u64::from(length & 0x7f),
            ref longer => longer[2..].iter().fold(0, |length, byte| length << 8 | u64::from(*byte)),
        })
    }

    fn end_of_frame(&mut self) -> Option<Received> {
        let (opcode, last) = (self.opcode(), self.head[0] & FINAL != 0);
        let control = std::mem::take(&mut self.control);
        self.head.clear();
        self.payload = None;
        match opcode {
            PING => Some(Received::Ping(control)),
            CLOSE => Some(Received::Close(match control[..] {
                [first, second, ..] => u16::from_be_bytes([first, second]),
                _ => 1005,
            })),
            PONG => None,
            _ => last
                .then_some(Received::Message { length: self.length, compressed: self.compressed }),
        }
    }

    fn opcode(&self) -> u8 {
        self.head[0] & 0x0f
    }

    fn is_control(&self) -> bool {
        self.opcode() >= CLOSE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(frames: &mut Frames, mut data: &[u8]) -> Vec<Received> {
        std::iter::from_fn(|| frames.next(&mut data)).collect()
    }

    #[test]
    fn a_message_has_the_smallest_head() {
        assert_eq!(message(b"", true, false), [0x81, 0x80, 0x37, 0xfa, 0x21, 0x3d]);
        assert_eq!(message(b"Hello", true, false)[..6], [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d]);
        assert_eq!(message(b"Hello", true, false)[6..], [0x7f, 0x9f, 0x4d, 0x51, 0x58]);
        assert_eq!(message(&[0; 126], false, false)[..4], [0x82, 0xfe, 0, 126]);
        assert_eq!(message(&[0; 65536], false, true)[..5], [0xc2, 0xff, 0, 0, 0]);
    }

    #[test]
    fn frames_are_read_from_blocks_of_any_size() {
        let mut wire = vec![0x81, 5];
        wire.extend(b"Hello");
        // A ping between two fragments, the first compressed.
        wire.extend([0x41, 1, b'x', 0x89, 2, 1, 2, 0x80, 126, 1, 0]);
        wire.extend([0; 256]);
        wire.extend([0x8a, 0, 0x88, 2, 3, 0xe9]);
        let expected = [
            Received::Message { length: 5, compressed: false },
            Received::Ping(vec![1, 2]),
            Received::Message { length: 257, compressed: true },
            Received::Close(1001),
        ];
        for size in [1, 2, 3, 7, wire.len()] {
            let mut frames = Frames::default();
            let found: Vec<_> =
                wire.chunks(size).flat_map(|block| read(&mut frames, block)).collect();
            assert_eq!(found, expected, "in blocks of {size}");
        }
    }

    #[test]
    fn an_empty_message_and_a_close_without_a_code_are_read() {
        let mut frames = Frames::default();
        let found = read(&mut frames, &[0x82, 0, 0x88, 0]);
        assert_eq!(
            found,
            [Received::Message { length: 0, compressed: false }, Received::Close(1005)]
        );
    }
}
