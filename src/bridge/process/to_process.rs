//! What a web worker tells an application process.

use std::time::Duration;

use bytes::Bytes;

use super::frames::{
    Cut, Encoded, FileRange, Foreign, LARGEST_MESSAGE, MORE, Message, TooLarge, decode_close,
    encode_close, expect_none, index_of, of_index,
};
use super::heads::{handshake, put_handshake, put_request_head, request_head};
use super::wire::{Reader, put_duration, put_option, put_u16, put_u32, put_u64};
use crate::bridge::callbacks::Gone;
use crate::bridge::pipe::input::InputError;
use crate::bridge::pipe::messages::Part;
use crate::http::request_head::RequestHead;
use crate::http::websocket::close::Close;
use crate::http::websocket::frame::Kind;
use crate::http::websocket::handshake::Handshake;

/// About one request.
#[derive(Clone, Debug)]
pub(crate) enum ToProcess {
    /// There is a request.
    Begin(Box<Begin>),
    /// A part of its body.
    Body(Bytes),
    /// A part of its body, in a file.
    BodyFile(FileRange),
    /// Its body is complete.
    BodyEnd,
    /// The rest of its body will not come.
    BodyFailed(InputError),
    /// So much of its response has gone to its client.
    Taken(Taken),
    /// Nobody waits for its response any more.
    Gone(Gone),
    /// Nothing more goes to its client. Whoever still reads its body gets this error.
    Close(InputError),
    /// nginx has freed it: what comes after the response may run. Nothing more comes.
    Over(Over),
    /// For how long has its application run?
    Ask,
    /// A part of a message of its WebSocket.
    Part(Part),
    /// Nothing more comes from the client of its WebSocket.
    Closed(Close),
    /// The web worker exits: when does the task of its WebSocket only wait for a message?
    Drain,
    /// About no request: none comes after this. It answers [`ToWorker::Leaving`](super::to_worker::ToWorker::Leaving).
    Bye,
    /// About no request: the code of its group has changed at that moment, and can be imported. A process that had begun
    /// before is replaced.
    Renew(u64),
}

/// What the client has taken of a response, or of the frames of a WebSocket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Taken {
    /// Bytes that came as blocks or as frames.
    pub(crate) memory: u64,
    /// Bytes of temporary files.
    pub(crate) file: u64,
    /// Temporary files that are closed.
    pub(crate) files: u32,
    /// Descriptors that are closed, of these files and of the application's.
    pub(crate) descriptors: u32,
    /// It takes no more now.
    pub(crate) stalled: bool,
}

/// What is known of a request that is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Over {
    pub(crate) status: Option<u16>,
    /// Bytes of the response's body that nginx has sent.
    pub(crate) sent: u64,
}

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Begin {
    /// [`LocationConfig::in_group`](crate::bridge::config::LocationConfig::in_group)
    pub(crate) location: usize,
    /// The web worker's process id, for the [request's id](RequestHead::id).
    pub(crate) worker: u32,
    /// For how long the web worker has had it.
    pub(crate) waited: Duration,
    /// So many bytes of its response's body may come that have not been [`ToProcess::Taken`].
    pub(crate) credit: u64,
    pub(crate) body: Body,
    pub(crate) head: RequestHead,
    /// If it asks for a WebSocket.
    pub(crate) handshake: Option<Handshake>,
}

/// How a request's body comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    /// All of it follows, up to [`ToProcess::BodyEnd`], before the request can run.
    Buffered,
    /// It follows as it is wanted.
    Streamed,
    /// It follows as it is wanted, and the client waits for that.
    Idle,
}

const BEGIN: u8 = 1;
const BODY: u8 = 2;
const BODY_FILE: u8 = 3;
const BODY_END: u8 = 4;
const BODY_FAILED: u8 = 5;
const TAKEN: u8 = 6;
const GONE: u8 = 7;
const OVER: u8 = 8;
const ASK: u8 = 9;
const PART: u8 = 10;
const CLOSED: u8 = 11;
const BYE: u8 = 12;
const CLOSE: u8 = 13;
const DRAIN: u8 = 14;
const RENEW: u8 = 15;

/// The flag of [`TAKEN`].
const STALLED: u8 = 1;

/// The flags of [`PART`].
const BINARY: u8 = 1;
const COMPRESSED: u8 = 2;
const LAST: u8 = 4;

const BODIES: [Body; 3] = [Body::Buffered, Body::Streamed, Body::Idle];
const REASONS: [Gone; 3] = [Gone::Client, Gone::Answered, Gone::TimedOut];
const INPUT_ERRORS: [InputError; 6] = [
    InputError::ClientGone,
    InputError::TimedOut,
    InputError::Refused,
    InputError::Answered,
    InputError::File,
    InputError::Taken,
];

impl Message for ToProcess {
    fn encode<'a>(&'a self, text: &mut Vec<u8>) -> Result<Encoded<'a>, TooLarge> {
        Ok(match self {
            Self::Begin(begin) => begin.encode(text),
            Self::Body(bytes) => Encoded { body: Some(bytes), ..Encoded::bare(BODY, 0) },
            Self::BodyFile(range) => range.encode(BODY_FILE, text),
            Self::BodyEnd => Encoded::bare(BODY_END, 0),
            Self::BodyFailed(why) => Encoded::bare(BODY_FAILED, index_of(&INPUT_ERRORS, why)),
            Self::Taken(taken) => {
                put_u64(text, taken.file);
                put_u32(text, taken.files);
                put_u32(text, taken.descriptors);
                let flags = if taken.stalled { STALLED } else { 0 };
                Encoded { flags, ..Encoded::bare(TAKEN, taken.memory) }
            }
            Self::Gone(why) => Encoded::bare(GONE, index_of(&REASONS, why)),
            Self::Close(error) => Encoded::bare(CLOSE, index_of(&INPUT_ERRORS, error)),
            Self::Over(over) => {
                put_option(text, over.status, put_u16);
                Encoded::bare(OVER, over.sent)
            }
            Self::Ask => Encoded::bare(ASK, 0),
            Self::Drain => Encoded::bare(DRAIN, 0),
            Self::Bye => Encoded::bare(BYE, 0),
            Self::Renew(when) => Encoded::bare(RENEW, *when),
            Self::Part(part) => encode_part(part),
            Self::Closed(close) => encode_close(CLOSED, close, text),
        })
    }

    fn decode(kind: u8, flags: u8, value: u64, body: Vec<u8>) -> Result<Self, Foreign> {
        Ok(match kind {
            BEGIN => Self::Begin(Box::new(Begin::decode(of_index(&BODIES, value)?, &body)?)),
            BODY => Self::Body(body.into()),
            BODY_FILE => Self::BodyFile(FileRange::decode(value, &body)?),
            PART => Self::Part(decode_part(flags, body)),
            CLOSED => Self::Closed(decode_close(value, &body)?),
            TAKEN => {
                let mut reader = Reader::new(&body, "what a client has taken");
                let (file, files, descriptors) = (reader.u64()?, reader.u32()?, reader.u32()?);
                reader.end()?;
                let stalled = flags & STALLED != 0;
                Self::Taken(Taken { memory: value, file, files, descriptors, stalled })
            }
            OVER => {
                let mut reader = Reader::new(&body, "the end of a request");
                let status = reader.option(Reader::u16)?;
                reader.end()?;
                Self::Over(Over { status, sent: value })
            }
            _ => {
                expect_none(&body)?;
                match kind {
                    BODY_END => Self::BodyEnd,
                    BODY_FAILED => Self::BodyFailed(of_index(&INPUT_ERRORS, value)?),
                    GONE => Self::Gone(of_index(&REASONS, value)?),
                    CLOSE => Self::Close(of_index(&INPUT_ERRORS, value)?),
                    ASK => Self::Ask,
                    DRAIN => Self::Drain,
                    BYE => Self::Bye,
                    RENEW => Self::Renew(value),
                    _ => return Err(Foreign::Kind(kind)),
                }
            }
        })
    }

    fn cut(kind: u8) -> Cut {
        match kind {
            BODY | PART => Cut::Divided,
            _ => Cut::Whole(LARGEST_MESSAGE),
        }
    }
}

impl Begin {
    fn encode<'a>(&self, text: &mut Vec<u8>) -> Encoded<'a> {
        put_u64(text, self.location as u64);
        put_u32(text, self.worker);
        put_duration(text, self.waited);
        put_u64(text, self.credit);
        put_option(text, self.handshake.as_ref(), put_handshake);
        put_request_head(text, &self.head);
        Encoded::bare(BEGIN, index_of(&BODIES, &self.body))
    }

    fn decode(body: Body, bytes: &[u8]) -> Result<Self, Foreign> {
        let mut reader = Reader::new(bytes, "a request");
        let begin = Self {
            location: reader.usize()?,
            worker: reader.u32()?,
            waited: reader.duration()?,
            credit: reader.u64()?,
            body,
            handshake: reader.option(handshake)?,
            head: request_head(&mut reader)?,
        };
        reader.end()?;
        Ok(begin)
    }
}

fn encode_part(part: &Part) -> Encoded<'_> {
    let Part { kind, compressed, last, payload } = part;
    let mut flags = 0;
    for (set, flag) in [(*kind == Kind::Binary, BINARY), (*compressed, COMPRESSED), (*last, LAST)] {
        flags |= if set { flag } else { 0 };
    }
    Encoded { kind: PART, flags, value: 0, body: Some(payload) }
}

fn decode_part(flags: u8, payload: Vec<u8>) -> Part {
    Part {
        kind: if flags & BINARY != 0 { Kind::Binary } else { Kind::Text },
        compressed: flags & COMPRESSED != 0,
        // Of a part that was cut only the last piece may end the message.
        last: flags & LAST != 0 && flags & MORE == 0,
        payload: payload.into(),
    }
}
