//! Random messages for the tests.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::frames::{FileRange, Number, Report};
use super::to_process::{Begin, Body, Over, Taken, ToProcess};
use super::to_worker::{Ended, ToWorker};
use crate::bridge::callbacks::Gone;
use crate::bridge::executor::Refusal;
use crate::bridge::pipe::input::InputError;
use crate::bridge::pipe::messages::Part;
use crate::bridge::pipe::output::parts::End;
use crate::bridge::timings::Measured;
use crate::bridge::trays::Filled;
use crate::http::field::Field;
use crate::http::header::classify;
use crate::http::random::Random;
use crate::http::request_head::RequestHead;
use crate::http::response_head::ResponseHead;
use crate::http::tls::Tls;
use crate::http::trailer;
use crate::http::websocket::close::Close;
use crate::http::websocket::extension::{Deflate, Side};
use crate::http::websocket::frame::Kind;
use crate::http::websocket::handshake::Handshake;

pub(super) fn number(random: &mut Random) -> Number {
    Number { slot: random.next() as u32, generation: random.next() as u32 }
}

pub(super) fn to_process(random: &mut Random) -> ToProcess {
    match random.below(16) {
        0 => ToProcess::Begin(Box::new(begin(random))),
        1 => ToProcess::Body(bytes(random)),
        2 => ToProcess::BodyFile(range(random)),
        3 => ToProcess::Close(of(random, &INPUT_ERRORS)),
        4 => ToProcess::BodyEnd,
        5 => ToProcess::BodyFailed(of(random, &INPUT_ERRORS)),
        6 => ToProcess::Taken(Taken {
            memory: random.next(),
            file: random.next(),
            files: random.next() as u32,
            descriptors: random.next() as u32,
            stalled: random.chance(2),
        }),
        7 => ToProcess::Gone(of(random, &[Gone::Client, Gone::Answered, Gone::TimedOut])),
        8 => ToProcess::Over(Over {
            status: random.chance(2).then(|| random.next() as u16),
            sent: random.next(),
        }),
        9 => ToProcess::Part(Part {
            kind: of(random, &[Kind::Text, Kind::Binary]),
            compressed: random.chance(2),
            last: random.chance(2),
            payload: bytes(random),
        }),
        10 => ToProcess::Ask,
        11 => ToProcess::Drain,
        12 => ToProcess::Bye,
        13 => ToProcess::Renew(random.next()),
        _ => ToProcess::Closed(close(random)),
    }
}

pub(super) fn to_worker(random: &mut Random) -> ToWorker {
    match random.below(17) {
        0 => ToWorker::Hello,
        1 => ToWorker::Refused(of(random, &REFUSALS)),
        2 => ToWorker::Credit(random.next()),
        3 => ToWorker::Hints(fields(random)),
        4 => ToWorker::Head(Box::new(response_head(random))),
        5 => ToWorker::Block(bytes(random)),
        6 => ToWorker::File(range(random)),
        7 => ToWorker::Spilled(range(random)),
        8 => ToWorker::End(Box::new(Ended {
            end: of(random, &[End::Complete, End::Failed, End::Refused]),
            trailers: trailers(random),
            report: report(random),
            follows: random.chance(2),
        })),
        9 => ToWorker::Frame(bytes(random)),
        10 => ToWorker::Closing(close(random)),
        11 => ToWorker::Leaving,
        12 => ToWorker::Idle(random.next()),
        13 => ToWorker::Tray(Filled { tray: random.next() as u32, length: random.next() as u32 }),
        14 => ToWorker::Changed(random.next()),
        _ => ToWorker::Elapsed(random.chance(2).then(|| random.next() >> 1)),
    }
}

pub(super) fn begin(random: &mut Random) -> Begin {
    Begin {
        location: random.below(1000),
        worker: random.next() as u32,
        waited: duration(random),
        credit: random.next(),
        body: of(random, &[Body::Buffered, Body::Streamed, Body::Idle]),
        head: request_head(random),
        handshake: random.chance(3).then(|| handshake(random)),
    }
}

pub(super) fn request_head(random: &mut Random) -> RequestHead {
    let mut head = RequestHead::default();
    for _ in 0..random.below(20) {
        let (name, value) = field(random);
        head.push_field(&name, &value);
    }
    for _ in 0..random.below(4) {
        head.push_param(&blob(random, 9), &blob(random, 9));
    }
    head.method = head.put(&blob(random, 9));
    head.path = head.put(&blob(random, 99));
    head.query = head.put(&blob(random, 99));
    head.target = head.put(&blob(random, 99));
    head.protocol = head.put(b"HTTP/1.1");
    head.remote_addr = head.put(&blob(random, 20));
    head.remote_port = head.put_number(random.next());
    head.server_name = head.put(&blob(random, 20));
    head.server_port = head.put_number(random.next());
    head.local_addr = head.put(&blob(random, 20));
    head.connection = random.next();
    head.connection_requests = random.below(1000);
    head.takes_hints = random.chance(2);
    head.https = random.chance(2);
    head.head_only = random.chance(2);
    head.content_length = random.chance(2).then(|| random.next());
    head.tls = random.chance(3).then(|| {
        Arc::new(Tls {
            server_cert: random.chance(2).then(|| certificate(random)),
            client_certs: (0..random.below(3)).map(|_| certificate(random)).collect(),
            client_name: random.chance(2).then(|| random.text(20)),
            client_error: random.chance(2).then(|| random.text(20)),
            version: random.chance(2).then(|| random.next() as u16),
            cipher: random.chance(2).then(|| random.next() as u16),
        })
    });
    head
}

pub(super) fn response_head(random: &mut Random) -> ResponseHead {
    let code = if random.chance(9) { 101 } else { 200 + random.below(800) as u16 };
    let mut head = ResponseHead::new(code, of(random, &[&b""[..], b"OK", b"Not\xe9 Found"]));
    for _ in 0..random.below(20) {
        let (name, value) = field(random);
        head.push(classify(&name), &name, &value);
    }
    head.set_content_length(random.chance(2).then(|| random.next() >> 1));
    if random.chance(3) {
        head.set_file();
    }
    if random.chance(3) {
        head.expect_trailers();
    }
    head
}

fn handshake(random: &mut Random) -> Handshake {
    let mut side =
        |least| Side { takes_over: random.chance(2), bits: least + random.below(7) as u8 };
    let deflate = Deflate::of_sides(side(9), side(8)).unwrap();
    Handshake { accept: random.text(20), deflate: random.chance(2).then_some(deflate) }
}

fn report(random: &mut Random) -> Report {
    Report {
        measured: Measured {
            queue: duration(random),
            application: random.chance(2).then(|| duration(random)),
            gil_wait: duration(random),
            input: duration(random),
            cpu: random.chance(2).then(|| duration(random)),
        },
        thread: random.chance(2).then(|| random.next()),
        exception: random.chance(2).then(|| random.text(20)),
        interrupted: random.chance(2),
    }
}

fn fields(random: &mut Random) -> Vec<Field> {
    (0..random.below(5)).map(|_| field(random)).collect()
}

fn trailers(random: &mut Random) -> Vec<Field> {
    let mut trailers = fields(random);
    trailers.retain(|(name, value)| trailer::check(name, value).is_ok());
    trailers
}

/// One that may be in a head or an early hint.
fn field(random: &mut Random) -> Field {
    let name = of(random, &["X-Some", "x", "Link", "ETag", "Set-Cookie", "Server"]);
    let value = random.text(30);
    (name.as_bytes().to_vec(), value.into_bytes())
}

fn certificate(random: &mut Random) -> String {
    "-".repeat(64) + &random.text(40)
}

fn close(random: &mut Random) -> Close {
    Close::new(random.next() as u16, &random.text(30))
}

fn range(random: &mut Random) -> FileRange {
    let end = random.next() >> 1;
    FileRange { start: end / 2, end, again: random.chance(2) }
}

fn duration(random: &mut Random) -> Duration {
    Duration::from_nanos(random.next())
}

/// Bytes, sometimes more than a frame has.
fn bytes(random: &mut Random) -> Bytes {
    let most = if random.chance(20) { 100_000 } else { 500 };
    blob(random, most).into()
}

fn blob(random: &mut Random, most: usize) -> Vec<u8> {
    let len = random.below(most);
    random.bytes(len)
}

fn of<T: Copy>(random: &mut Random, all: &[T]) -> T {
    all[random.below(all.len())]
}

const INPUT_ERRORS: [InputError; 6] = [
    InputError::ClientGone,
    InputError::TimedOut,
    InputError::Refused,
    InputError::Answered,
    InputError::File,
    InputError::Taken,
];

const REFUSALS: [Refusal; 6] = [
    Refusal::QueueFull,
    Refusal::GateFull,
    Refusal::LoopFull,
    Refusal::TooManyInFlight,
    Refusal::LoopEnded,
    Refusal::Broken,
];
