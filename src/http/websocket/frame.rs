//! Frames (RFC 6455, section 5): a client's are decoded as they arrive, the server's are encoded.

use thiserror::Error;

use super::close;

/// Bytes of the payload of a close, ping or pong (RFC 6455, section 5.5).
pub(crate) const MAX_CONTROL: usize = 125;

/// The longest head of a client's frame: two bytes, a length of eight, a mask of four.
const MAX_HEAD: usize = 14;

const FIN: u8 = 0x80;
const RSV1: u8 = 0x40;
const RSV2: u8 = 0x20;
const RSV3: u8 = 0x10;
const MASK: u8 = 0x80;

/// The values of the seven bits of length that stand for a length in the next two and eight bytes.
const LENGTH_16: u8 = 126;
const LENGTH_64: u8 = 127;

/// What a message contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Binary,
}

/// The opcodes of section 11.8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Opcode {
    Continuation = 0,
    Text = 1,
    Binary = 2,
    Close = 8,
    Ping = 9,
    Pong = 10,
}

impl Opcode {
    fn of(byte: u8) -> Result<Self, FrameError> {
        Ok(match byte & 0x0f {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            other => return Err(FrameError::Opcode(other)),
        })
    }

    fn is_control(self) -> bool {
        self as u8 >= Self::Close as u8
    }
}

impl From<Kind> for Opcode {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Text => Self::Text,
            Kind::Binary => Self::Binary,
        }
    }
}

/// What a client must not send. The text is the reason in the close frame.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(crate) enum FrameError {
    #[error("reserved bit RSV{0} is set")]
    ReservedBit(u8),
    #[error("opcode {0:#x} is reserved")]
    Opcode(u8),
    #[error("frame is not masked")]
    NotMasked,
    #[error("control frame is fragmented")]
    FragmentedControl,
    #[error("control frame is longer than 125 bytes")]
    LongControl,
    #[error("payload length is not in its shortest form")]
    LengthForm,
    #[error("payload length has 64 bits")]
    Length,
    #[error("continuation frame without a message")]
    NoMessage,
    #[error("new message inside a fragmented one")]
    InsideMessage,
    #[error("message is larger than {0} bytes")]
    TooLarge(u64),
}

impl FrameError {
    /// The status code of the close frame (section 7.4.1).
    pub(crate) fn code(self) -> u16 {
        match self {
            Self::TooLarge(_) => close::MESSAGE_TOO_BIG,
            _ => close::PROTOCOL_ERROR,
        }
    }
}

/// What [`Decoder::decode`] finds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event<'a> {
    Part(Part<'a>),
    Ping(Control),
    Pong(Control),
    Close(Control),
}

/// A part of a message, with its mask removed. It is empty only if it is the last one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Part<'a> {
    pub(crate) kind: Kind,
    /// The message's payload is compressed.
    pub(crate) compressed: bool,
    pub(crate) first: bool,
    pub(crate) last: bool,
    pub(crate) payload: &'a [u8],
}

/// The payload of a control frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Control {
    len: u8,
    bytes: [u8; MAX_CONTROL],
}

impl Control {
    const EMPTY: Self = Self { len: 0, bytes: [0; MAX_CONTROL] };

    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// Adds what has room.
    fn push(&mut self, part: &[u8]) {
        let start = usize::from(self.len);
        if let Some(room) = self.bytes.get_mut(start..start + part.len()) {
            room.copy_from_slice(part);
            self.len += part.len() as u8;
        }
    }
}

impl PartialEq for Control {
    fn eq(&self, other: &Self) -> bool {
        self.bytes() == other.bytes()
    }
}

impl Eq for Control {}

/// Decodes a client's frames from bytes that arrive in any pieces. It keeps no payload but that of a control frame.
#[derive(Debug)]
pub(crate) struct Decoder {
    /// RSV1 may say that a message is compressed.
    deflate: bool,
    /// Bytes of a message that is not compressed. A compressed one is limited where it is inflated.
    max_message: u64,
    /// The head that is incomplete, and how many bytes of it are here.
    head: [u8; MAX_HEAD],
    have: usize,
    /// The frame whose payload is being read.
    frame: Option<Frame>,
    /// The message of which not all frames have come.
    message: Option<Message>,
    control: Control,
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    opcode: Opcode,
    fin: bool,
    /// Starts with the byte for the payload's next byte.
    mask: [u8; 4],
    left: u64,
}

#[derive(Clone, Copy, Debug)]
struct Message {
    kind: Kind,
    compressed: bool,
    /// No part of it has been given out.
    fresh: bool,
    /// Bytes of its frames so far.
    size: u64,
}

impl Decoder {
    pub(crate) fn new(deflate: bool, max_message: usize) -> Self {
        Self {
            deflate,
            max_message: max_message as u64,
            head: [0; MAX_HEAD],
            have: 0,
            frame: None,
            message: None,
            control: Control::EMPTY,
        }
    }

    /// Is the decoder between two messages, with nothing of a frame pending?
    #[cfg(test)]
    fn is_idle(&self) -> bool {
        self.have == 0 && self.frame.is_none() && self.message.is_none()
    }

    /// Decodes `input`, which is not empty, up to the next event or the end of a frame. Returns how many bytes it has
    /// used, at least one. The payload of a part is unmasked in place. After an error the decoder is of no use.
    pub(crate) fn decode<'a>(
        &mut self,
        input: &'a mut [u8],
    ) -> Result<(usize, Option<Event<'a>>), FrameError> {
        let mut used = 0;
        let frame = loop {
            if let Some(frame) = self.frame.as_mut() {
                break frame;
            }
            let rest = input.get(used..).unwrap_or_default();
            let (taken, frame) = self.read_head(rest)?;
            used += taken;
            let Some(frame) = frame else { return Ok((used, None)) };
            self.frame = Some(frame);
        };
        let rest = input.get_mut(used..).unwrap_or_default();
        let size = rest.len().min(usize::try_from(frame.left).unwrap_or(usize::MAX));
        let payload = rest.get_mut(..size).unwrap_or_default();
        unmask(payload, frame.mask);
        frame.mask.rotate_left(size % 4);
        frame.left -= size as u64;
        used += size;
        let frame = *frame;
        let ended = frame.left == 0;
        if ended {
            self.frame = None;
        }
        Ok((used, self.event(frame, ended, payload)))
    }

    /// Takes bytes of a frame's head. Gives the frame back when its head is complete.
    fn read_head(&mut self, input: &[u8]) -> Result<(usize, Option<Frame>), FrameError> {
        let mut used = 0;
        for &byte in input {
            if let Some(place) = self.head.get_mut(self.have) {
                *place = byte;
            }
            self.have += 1;
            used += 1;
            let [first, second, ..] = self.head;
            if self.have == 2 {
                self.check(first, second)?;
            }
            if self.have >= 2 && self.have == head_len(second) {
                self.have = 0;
                return Ok((used, Some(self.begin()?)));
            }
        }
        Ok((used, None))
    }

    /// Checks what the first two bytes of a head say.
    fn check(&self, first: u8, second: u8) -> Result<(), FrameError> {
        let opcode = Opcode::of(first)?;
        let may_compress = self.deflate && matches!(opcode, Opcode::Text | Opcode::Binary);
        let allowed = if may_compress { RSV1 } else { 0 };
        match first & (RSV1 | RSV2 | RSV3) & !allowed {
            0 => {}
            bits if bits & RSV1 != 0 => return Err(FrameError::ReservedBit(1)),
            bits if bits & RSV2 != 0 => return Err(FrameError::ReservedBit(2)),
            _ => return Err(FrameError::ReservedBit(3)),
        }
        if opcode.is_control() {
            if first & FIN == 0 {
                return Err(FrameError::FragmentedControl);
            }
            if usize::from(second & !MASK) > MAX_CONTROL {
                return Err(FrameError::LongControl);
            }
        } else if self.message.is_some() != (opcode == Opcode::Continuation) {
            return Err(if self.message.is_some() {
                FrameError::InsideMessage
            } else {
                FrameError::NoMessage
            });
        }
        if second & MASK == 0 {
            return Err(FrameError::NotMasked);
        }
        Ok(())
    }

    /// Begins the frame whose head is complete, and the message if the frame is its first.
    fn begin(&mut self) -> Result<Frame, FrameError> {
        let [first, second, ..] = self.head;
        let after_length = head_len(second) - 4;
        let length = self.head.get(2..after_length).unwrap_or_default();
        let length = match length.len() {
            0 => u64::from(second & !MASK),
            _ => length.iter().fold(0, |length, &byte| length << 8 | u64::from(byte)),
        };
        match second & !MASK {
            LENGTH_16 if length < u64::from(LENGTH_16) => return Err(FrameError::LengthForm),
            LENGTH_64 if length <= u64::from(u16::MAX) => return Err(FrameError::LengthForm),
            LENGTH_64 if length >> 63 != 0 => return Err(FrameError::Length),
            _ => {}
        }
        let mask = self.head.get(after_length..).and_then(<[u8]>::first_chunk::<4>);
        let opcode = Opcode::of(first)?;
        match opcode {
            Opcode::Text | Opcode::Binary => {
                let kind = if opcode == Opcode::Text { Kind::Text } else { Kind::Binary };
                let compressed = first & RSV1 != 0;
                self.message = Some(Message { kind, compressed, fresh: true, size: 0 });
            }
            Opcode::Continuation => {}
            Opcode::Close | Opcode::Ping | Opcode::Pong => self.control = Control::EMPTY,
        }
        if let Some(message) = self.message.as_mut().filter(|_| !opcode.is_control()) {
            message.size = message.size.saturating_add(length);
            if !message.compressed && message.size > self.max_message {
                return Err(FrameError::TooLarge(self.max_message));
            }
        }
        let mask = mask.copied().unwrap_or_default();
        Ok(Frame { opcode, fin: first & FIN != 0, mask, left: length })
    }

    /// What a piece of a frame's payload gives. `ended` is set if it is the frame's last.
    fn event<'a>(&mut self, frame: Frame, ended: bool, payload: &'a [u8]) -> Option<Event<'a>> {
        if frame.opcode.is_control() {
            self.control.push(payload);
            return ended.then_some(match frame.opcode {
                Opcode::Ping => Event::Ping(self.control),
                Opcode::Pong => Event::Pong(self.control),
                _ => Event::Close(self.control),
            });
        }
        let last = ended && frame.fin;
        let message = self.message.as_mut()?;
        if payload.is_empty() && !last {
            return None;
        }
        let Message { kind, compressed, fresh: first, .. } = *message;
        message.fresh = false;
        if last {
            self.message = None;
        }
        Some(Event::Part(Part { kind, compressed, first, last, payload }))
    }
}

/// A frame of the server's: never masked, never fragmented.
pub(crate) fn encode(opcode: Opcode, compressed: bool, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(10 + payload.len());
    frame.push(FIN | if compressed { RSV1 } else { 0 } | opcode as u8);
    match payload.len() {
        len @ 0..=125 => frame.push(len as u8),
        len @ 126..=0xffff => {
            frame.push(LENGTH_16);
            frame.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            frame.push(LENGTH_64);
            frame.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(payload);
    frame
}

/// The length of a client's head whose second byte this is.
fn head_len(second: u8) -> usize {
    match second & !MASK {
        LENGTH_16 => 8,
        LENGTH_64 => 14,
        _ => 6,
    }
}

/// Removes the mask (section 5.3), eight bytes at a time.
fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let word = u64::from(u32::from_ne_bytes(mask));
    let word = word | word << 32;
    let mut words = payload.chunks_exact_mut(8);
    for chunk in &mut words {
        if let Some(bytes) = chunk.first_chunk_mut::<8>() {
            *bytes = (u64::from_ne_bytes(*bytes) ^ word).to_ne_bytes();
        }
    }
    for (byte, mask) in words.into_remainder().iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}

#[cfg(test)]
mod tests;
