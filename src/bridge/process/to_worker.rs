//! What an application process tells a web worker.

use bytes::Bytes;

use super::frames::{
    Cut, Encoded, FileRange, Foreign, LARGEST_MESSAGE, Message, Report, TooLarge, decode_close,
    encode_close, expect_none, index_of, of_index, put_report, report,
};
use super::heads::{hints, put_fields, put_response_head, response_head, trailers};
use super::wire::{Reader, put_flag};
use crate::bridge::executor::Refusal;
use crate::bridge::pipe::output::parts::End;
use crate::bridge::trays::Filled;
use crate::http::field::Field;
use crate::http::response_head::ResponseHead;
use crate::http::websocket::close::Close;

/// About one request.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ToWorker {
    /// About no request: the process is there, or stays after all.
    Hello,
    /// About no request: the process ends when it has answered those that come before
    /// [`ToProcess::Bye`](super::to_process::ToProcess::Bye).
    Leaving,
    /// About no request: whether the process is dormant, and would start Python for a request.
    Dormant(bool),
    /// About no request: the code of its group has changed at that moment, in milliseconds of the system's time. It answers
    /// [`ToProcess::Renew`](super::to_process::ToProcess::Renew), or nothing if the new code is of no use.
    Changed(u64),
    /// It has not been taken, and will not be.
    Refused(Refusal),
    /// So many more bytes may come, of its body or of the parts of its WebSocket's messages.
    Credit(u64),
    /// A 103 (Early Hints).
    Hints(Vec<Field>),
    /// The head of its response. For a WebSocket that the application accepts its code is 101.
    Head(Box<ResponseHead>),
    /// A part of the response's body.
    Block(Bytes),
    /// A part of the response's body, in a tray.
    Tray(Filled),
    /// A part of the response's body, in a file of the application's.
    File(FileRange),
    /// A part of the response's body, in the response's temporary file.
    Spilled(FileRange),
    /// Its response has ended.
    End(Box<Ended>),
    /// A frame for the client of its WebSocket, or some.
    Frame(Bytes),
    /// The application closes its WebSocket: the close frame has been sent as the last one.
    Closing(Close),
    /// After [`ToProcess::Drain`](super::to_process::ToProcess::Drain): the task of its WebSocket only waits for a message,
    /// and has got so many parts.
    Idle(u64),
    /// It answers [`ToProcess::Ask`](super::to_process::ToProcess::Ask): its application has run for so many milliseconds,
    /// without those for which it has waited for its client. `None`: it has no deadline any more.
    Elapsed(Option<u64>),
}

/// How a response has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) end: End,
    /// What follows the body.
    pub(crate) trailers: Vec<Field>,
    /// What is known by now.
    pub(crate) report: Report,
    /// [`ToProcess::Over`](super::to_process::ToProcess::Over) has to follow, because something comes after the response.
    /// Otherwise nothing follows.
    pub(crate) follows: bool,
}

const HELLO: u8 = 1;
const REFUSED: u8 = 2;
const CREDIT: u8 = 3;
const HINTS: u8 = 4;
const HEAD: u8 = 5;
const BLOCK: u8 = 6;
const FILE: u8 = 7;
const SPILLED: u8 = 8;
const END: u8 = 9;
const FRAME: u8 = 10;
const CLOSING: u8 = 11;
const LEAVING: u8 = 12;
const ELAPSED: u8 = 13;
const DORMANT: u8 = 20;
const IDLE: u8 = 14;
const TRAY: u8 = 15;
const CHANGED: u8 = 21;

/// The time of [`ToWorker::Elapsed`] that is none.
const NO_TIME: u64 = u64::MAX;

/// Bytes of one frame of a WebSocket. It waits in the web worker's memory until its client has taken it.
pub(crate) const LARGEST_FRAME: usize = 64 << 20;

const ENDS: [End; 3] = [End::Complete, End::Failed, End::Refused];
const REFUSALS: [Refusal; 7] = [
    Refusal::QueueFull,
    Refusal::GateFull,
    Refusal::LoopFull,
    Refusal::TooManyInFlight,
    Refusal::LoopEnded,
    Refusal::Broken,
    Refusal::ProcessesFull,
];

impl Message for ToWorker {
    fn encode<'a>(&'a self, text: &mut Vec<u8>) -> Result<Encoded<'a>, TooLarge> {
        let shared = |kind, body| Encoded { body: Some(body), ..Encoded::bare(kind, 0) };
        Ok(match self {
            Self::Hello => Encoded::bare(HELLO, 0),
            Self::Leaving => Encoded::bare(LEAVING, 0),
            Self::Idle(parts) => Encoded::bare(IDLE, *parts),
            Self::Changed(when) => Encoded::bare(CHANGED, *when),
            Self::Dormant(dormant) => Encoded::bare(DORMANT, (*dormant).into()),
            Self::Elapsed(time) => Encoded::bare(ELAPSED, time.unwrap_or(NO_TIME)),
            Self::Refused(why) => Encoded::bare(REFUSED, index_of(&REFUSALS, why)),
            Self::Credit(bytes) => Encoded::bare(CREDIT, *bytes),
            Self::Hints(fields) => {
                put_fields(text, fields)?;
                Encoded::bare(HINTS, 0)
            }
            Self::Head(head) => {
                put_response_head(text, head)?;
                Encoded::bare(HEAD, 0)
            }
            Self::Block(bytes) => shared(BLOCK, bytes),
            Self::Tray(Filled { tray, length }) => {
                Encoded::bare(TRAY, u64::from(*tray) << 32 | u64::from(*length))
            }
            Self::File(range) => range.encode(FILE, text),
            Self::Spilled(range) => range.encode(SPILLED, text),
            Self::End(ended) => {
                put_report(text, &ended.report);
                put_fields(text, &ended.trailers)?;
                put_flag(text, ended.follows);
                Encoded::bare(END, index_of(&ENDS, &ended.end))
            }
            Self::Frame(bytes) => shared(FRAME, bytes),
            Self::Closing(close) => encode_close(CLOSING, close, text),
        })
    }

    fn decode(kind: u8, _flags: u8, value: u64, body: Vec<u8>) -> Result<Self, Foreign> {
        let read = |name| Reader::new(&body, name);
        Ok(match kind {
            HINTS => {
                let mut reader = read("an early hint");
                let fields = hints(&mut reader)?;
                reader.end()?;
                Self::Hints(fields)
            }
            HEAD => {
                let mut reader = read("a response's head");
                let head = response_head(&mut reader)?;
                reader.end()?;
                Self::Head(Box::new(head))
            }
            BLOCK => Self::Block(body.into()),
            FILE => Self::File(FileRange::decode(value, &body)?),
            SPILLED => Self::Spilled(FileRange::decode(value, &body)?),
            END => {
                let mut reader = read("a response's end");
                let end = of_index(&ENDS, value)?;
                let report = report(&mut reader)?;
                let trailers = trailers(&mut reader)?;
                let follows = reader.flag()?;
                reader.end()?;
                Self::End(Box::new(Ended { end, trailers, report, follows }))
            }
            FRAME => Self::Frame(body.into()),
            CLOSING => Self::Closing(decode_close(value, &body)?),
            _ => {
                expect_none(&body)?;
                match kind {
                    HELLO => Self::Hello,
                    LEAVING => Self::Leaving,
                    DORMANT => Self::Dormant(value != 0),
                    IDLE => Self::Idle(value),
                    CHANGED => Self::Changed(value),
                    ELAPSED => Self::Elapsed(Some(value).filter(|&time| time != NO_TIME)),
                    REFUSED => Self::Refused(of_index(&REFUSALS, value)?),
                    CREDIT => Self::Credit(value),
                    TRAY => Self::Tray(Filled { tray: (value >> 32) as u32, length: value as u32 }),
                    _ => return Err(Foreign::Kind(kind)),
                }
            }
        })
    }

    fn cut(kind: u8) -> Cut {
        match kind {
            BLOCK => Cut::Divided,
            FRAME => Cut::Whole(LARGEST_FRAME),
            _ => Cut::Whole(LARGEST_MESSAGE),
        }
    }
}
