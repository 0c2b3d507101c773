//! A process that says what it likes.

use std::fs::File;

use rustix::fs::{MemfdFlags, memfd_create};

use super::super::frames::{DESCRIPTORS, FileRange, Message};
use super::super::ring::{self, Head, Producer};
use super::super::samples;
use super::super::to_process::{Begin, Body, ToProcess};
use super::*;
use crate::bridge::config::WebSocketConfig;
use crate::bridge::executor::Refusal;
use crate::bridge::pipe::messages::Socket;
use crate::bridge::pipe::output::parts::FilePart;
use crate::http::random::Random;
use crate::http::websocket::close::Close;
use crate::http::websocket::handshake::Handshake;

pub(super) struct Hostile {
    web: Arc<Worker>,
    pub(super) relay: Relay,
    pub(super) link: ProcessLink,
    pub(super) exchange: Arc<Exchange>,
    pub(super) number: Number,
    memory: Arc<dyn Longs>,
}

impl Hostile {
    pub(super) fn new() -> Self {
        Self::with(None)
    }

    /// `queue`: the request is one for a WebSocket.
    fn with(queue: Option<usize>) -> Self {
        let web = worker_as(Role::Web, vec![], vec![group()]);
        let mut relay = Relay::new(&web, 64);
        let (memory, own, process) = ends();
        relay.connect(0, WebLink::of_worker(own));
        let mut link = ProcessLink::of_process(process);
        link.send(Number::NONE, &ToWorker::Hello).unwrap();
        let _more = link.flush(false).unwrap();
        let mut table = Table::new();
        let websocket = queue.map(|queue| WebSocketConfig {
            max_message_size: 1 << 20,
            ping_interval: None,
            ping_timeout: None,
            deflate: false,
            queue,
        });
        let location = LocationConfig { websocket, ..site(ExecutorId::Process(0)) };
        let input = match queue {
            Some(_) => Input::streamed(false),
            None => Input::buffered(VecDeque::new()),
        };
        let id = table.insert(());
        let mut exchange = Exchange::new(id, Arc::new(location), Arc::clone(&web), input);
        let handshake = || Handshake { accept: "x".to_owned(), deflate: None };
        Arc::get_mut(&mut exchange).unwrap().socket =
            queue.map(|queue| Box::new(Socket::new(handshake(), queue)));
        let _queued = web.submit(Arc::clone(&exchange)).unwrap();
        relay.turn();
        let _more = relay.flush();
        let mut number = None;
        let _more = link.receive(|_, of, _| {
            number.get_or_insert(of);
            Ok(())
        });
        Self { web, relay, link, exchange, number: number.unwrap(), memory }
    }

    /// Both sides take what there is.
    fn carry(&mut self) {
        let _more = self.link.flush(false).unwrap();
        self.relay.turn();
        let _more = self.relay.flush();
    }

    /// Another request.
    fn another(&mut self) -> (Arc<Exchange>, Number) {
        let location = Arc::new(site(ExecutorId::Process(0)));
        let input = Input::buffered(VecDeque::new());
        let id = Table::new().insert(());
        let exchange = Exchange::new(id, location, Arc::clone(&self.web), input);
        let _queued = self.web.submit(Arc::clone(&exchange)).unwrap();
        self.relay.turn();
        let _more = self.relay.flush();
        let mut number = None;
        let _more = self.link.receive(|_, of, _| {
            number.get_or_insert(of);
            Ok(())
        });
        (exchange, number.unwrap())
    }

    /// What the web worker thinks of these, many of which fit into the ring.
    fn says_at_once(&mut self, messages: &[ToWorker]) -> Option<Broken> {
        for message in messages {
            if self.link.send(self.number, message).is_err() {
                self.carry();
            }
        }
        self.carry();
        self.relay.take_lost().pop().map(|lost| lost.why)
    }

    /// What writes frames in the place of the process's link, as they are.
    fn take_over(&mut self) -> Producer {
        Producer::taking_over(self.memory.clone(), ring::words(RING), RING)
    }

    /// What the web worker thinks of these.
    pub(super) fn says(&mut self, messages: &[ToWorker]) -> Option<Broken> {
        for message in messages {
            let mut is_sent = false;
            // A large one goes piece by piece.
            for _ in 0..100 {
                is_sent = is_sent || self.link.send(self.number, message).is_ok();
                let _more = self.link.flush(false).unwrap();
                self.relay.turn();
                let _more = self.relay.flush();
            }
            assert!(is_sent);
        }
        assert_eq!(self.web.running(), 0);
        self.relay.take_lost().pop().map(|lost| lost.why)
    }
}

/// A file that another one can be sent after.
fn file(length: u64) -> File {
    let file = File::from(memfd_create("some", MemfdFlags::CLOEXEC).unwrap());
    file.set_len(length).unwrap();
    file
}

const ALL: FileRange = FileRange { start: 0, end: 10, again: false };

pub(super) fn response(length: u64) -> ToWorker {
    let mut head = head();
    head.set_content_length(Some(length));
    ToWorker::Head(Box::new(head))
}

fn block(length: usize) -> ToWorker {
    ToWorker::Block(Bytes::from(vec![b'x'; length]))
}

pub(super) fn end() -> ToWorker {
    let report = Report::default();
    let ended = Ended { end: End::Complete, trailers: Vec::new(), report, follows: false };
    ToWorker::End(Box::new(ended))
}

#[test]
fn what_a_process_must_not_say_ends_its_link() {
    let switching = ToWorker::Head(Box::new(ResponseHead::new(101, b"Switching Protocols")));
    for (messages, expected) in [
        (vec![response(10), response(10)], Broken::Order),
        (vec![block(1)], Broken::Order),
        (vec![switching], Broken::Order),
        (vec![ToWorker::Frame(Bytes::from_static(b"x"))], Broken::Order),
        // It would be taken for another response.
        (vec![response(10), block(10), block(1)], Broken::Order),
        (
            vec![response(1 << 20); 1].into_iter().chain((0..8).map(|_| block(10_000))).collect(),
            Broken::Credit,
        ),
        (vec![ToWorker::Hints(vec![(vec![b'x'; 10], vec![b'x'; 500_000])]); 3], Broken::Credit),
        // Another answer behind a head.
        (vec![response(10), ToWorker::Refused(Refusal::QueueFull)], Broken::Order),
    ] {
        let mut hostile = Hostile::new();
        assert_eq!(hostile.says(&messages), Some(expected), "{messages:?}");
        assert!(taken(&hostile.exchange).end.is_some(), "the client is told");
    }
}

#[test]
fn a_response_that_is_shorter_than_it_says_has_failed() {
    let mut hostile = Hostile::new();
    assert_eq!(hostile.says(&[response(10), block(9), end()]), None);
    assert_eq!(taken(&hostile.exchange).end, Some(End::Failed));
    let mut hostile = Hostile::new();
    assert_eq!(hostile.says(&[end()]), None);
    assert_eq!(taken(&hostile.exchange).end, Some(End::Failed));
}

#[test]
fn what_is_about_another_request_is_dropped() {
    let mut hostile = Hostile::new();
    for number in [
        Number { slot: hostile.number.slot, generation: hostile.number.generation + 1 },
        Number { slot: 4_000_000_000, generation: 0 },
        Number::NONE,
    ] {
        hostile.link.send(number, &block(1)).unwrap();
    }
    assert_eq!(hostile.says(&[response(1), block(1), end()]), None);
    assert_eq!(taken(&hostile.exchange).end, Some(End::Complete));
}

#[test]
fn hints_without_fields_end() {
    let mut hostile = Hostile::new();
    let hints = vec![ToWorker::Hints(Vec::new()); 1000];
    let broken = (0..100).find_map(|_| hostile.says_at_once(&hints));
    assert_eq!(broken, Some(Broken::Credit));
}

#[test]
fn nothing_answers_a_second_time() {
    let mut hostile = Hostile::new();
    let refused = match end() {
        ToWorker::End(ended) => ToWorker::End(Box::new(Ended { end: End::Refused, ..*ended })),
        other => other,
    };
    assert_eq!(hostile.says(&[response(1), block(1), refused]), None);
    assert_eq!(taken(&hostile.exchange).end, Some(End::Failed));
}

#[test]
fn a_response_has_a_few_descriptors() {
    let mut hostile = Hostile::new();
    assert_eq!(hostile.says(&[response(1 << 40)]), None);
    for number in 0..=DESCRIPTORS {
        assert!(hostile.relay.take_lost().is_empty(), "{number}");
        hostile.link.send_file(hostile.number, &file(10), ALL, ToWorker::File).unwrap();
        hostile.carry();
    }
    assert_eq!(hostile.relay.take_lost().pop().map(|lost| lost.why), Some(Broken::Credit));
}

#[test]
fn parts_of_one_file_are_bounded() {
    let mut hostile = Hostile::new();
    assert_eq!(hostile.says(&[response(1 << 40)]), None);
    hostile.link.send_file(hostile.number, &file(10), ALL, ToWorker::File).unwrap();
    let again = vec![ToWorker::File(FileRange { again: true, ..ALL }); 100];
    let broken = (0..100).find_map(|_| hostile.says_at_once(&again));
    assert_eq!(broken, Some(Broken::Credit));
}

#[test]
fn descriptors_that_no_message_names_stay_in_the_socket() {
    let mut hostile = Hostile::new();
    // The next one is taken for it; its payload is nobody's.
    assert_eq!(hostile.says(&[response(10)]), None);
    hostile.link.send(hostile.number, &ToWorker::File(ALL)).unwrap();
    hostile.carry();
    assert_eq!(hostile.relay.take_lost().pop().map(|lost| lost.why), Some(Broken::NoFile));
}

#[test]
fn a_process_with_many_descriptors_is_not_read_until_some_are_closed() {
    let mut hostile = Hostile::new();
    let mut exchanges = vec![Arc::clone(&hostile.exchange)];
    let mut numbers = vec![hostile.number];
    for _ in 0..3 {
        let (exchange, number) = hostile.another();
        exchanges.push(exchange);
        numbers.push(number);
    }
    for &number in &numbers {
        hostile.link.send(number, &response(1 << 40)).unwrap();
    }
    // 32 for each process of the group would be allowed, and 64 at least.
    for &number in &numbers {
        for _ in 0..20 {
            hostile.link.send_file(number, &file(10), ALL, ToWorker::File).unwrap();
        }
    }
    hostile.carry();
    assert!(hostile.relay.take_lost().is_empty());
    assert!(hostile.relay.has_to_look_again());
    assert!(!hostile.relay.flush(), "it is not looked at all the time");
    let blocks: usize = exchanges.iter().map(|it| taken(it).blocks.len()).sum();
    assert_eq!(blocks, 64);
    // They have gone with the batches.
    hostile.carry();
    assert!(!hostile.relay.has_to_look_again());
    let blocks: usize = exchanges.iter().map(|it| taken(it).blocks.len()).sum();
    assert_eq!(blocks, 16);
}

#[test]
fn an_application_sends_as_many_files_as_it_likes() {
    let mut both = Both::new();
    let web = both.get();
    let (_, carried) = both.only();
    assert!(carried.start(7));
    let part = |at: u64| FilePart { file: Arc::new(file(100)), start: at, end: at + 1 };
    carried.push_file(Some(head()), part(0), None).unwrap();
    for at in 1..100 {
        carried.push_file(None, part(at), None).unwrap();
    }
    carried.end(None, End::Complete).unwrap();
    let _due = carried.done();
    let mut starts = Vec::new();
    let mut most = 0;
    for _ in 0..100 {
        both.turn();
        let batch = taken(&web);
        most = most.max(batch.blocks.len());
        starts.extend(batch.blocks.iter().map(|block| match block {
            Block::File(part) => part.start,
            other => panic!("{other:?}"),
        }));
        let is_over = batch.end.is_some();
        drop(batch);
        web.drained(0, 0, false);
        if is_over {
            break;
        }
    }
    assert_eq!(starts, (0..100).collect::<Vec<_>>());
    assert!(most <= DESCRIPTORS, "{most}");
}

#[test]
fn frames_come_after_the_handshake_and_within_the_queue() {
    let switching = ToWorker::Head(Box::new(ResponseHead::new(101, b"Switching Protocols")));
    let frame = |length| ToWorker::Frame(Bytes::from(vec![b'x'; length]));
    for (messages, expected) in [
        (vec![frame(10)], Some(Broken::Order)),
        (vec![ToWorker::Closing(Close::new(1000, ""))], Some(Broken::Order)),
        (vec![response(10), frame(10)], Some(Broken::Order)),
        (vec![switching.clone(), block(10)], Some(Broken::Order)),
        // The pipe has the first one, and one more waits.
        (vec![switching.clone(), frame(100_000), frame(100_000)], None),
        (vec![switching.clone(), frame(100_000), frame(100_000), frame(1)], Some(Broken::Credit)),
        ([vec![switching.clone()], vec![frame(0); 11]].concat(), Some(Broken::Credit)),
    ] {
        let mut hostile = Hostile::with(Some(500));
        assert_eq!(hostile.says(&messages), expected, "{messages:?}");
    }
}

/// What may be in a frame after something has changed in it.
fn mutated<M: Message>(random: &mut Random, message: &M, number: Number) -> (Head, Vec<u8>) {
    let mut text = Vec::new();
    let Ok(encoded) = message.encode(&mut text) else { return (Head::default(), Vec::new()) };
    let mut head = encoded.head(number);
    let mut body = encoded.body.map_or_else(|| text.clone(), |body| body.to_vec());
    for _ in 0..random.below(4) {
        let strange = [0, 1, 2, 0x7f, 0xff, u64::from(u32::MAX), 1 << 63, u64::MAX];
        let word = strange[random.below(strange.len())];
        let at = random.below(body.len() + 1);
        match random.below(9) {
            0 => head.kind = random.next() as u8 % 24,
            1 => head.flags ^= 1 << random.below(8),
            2 => head.value = word,
            3 => head.request = random.next(),
            4 => body.truncate(at),
            5 => body.extend_from_slice(&word.to_ne_bytes()),
            6 => drop(body.splice(at..at, (word as u32).to_ne_bytes())),
            7 => body.iter_mut().skip(at).take(1).for_each(|byte| *byte = word as u8),
            _ => body.iter_mut().skip(at).take(8).for_each(|byte| *byte ^= random.next() as u8),
        }
    }
    (head, body)
}

/// How many links are tried, each with some hundred messages. `PYWSGI_LONG`: more.
fn links() -> u64 {
    if std::env::var_os("PYWSGI_LONG").is_some() { 20_000 } else { 300 }
}

#[test]
fn a_worker_survives_messages_with_something_changed() {
    for seed in 0..links() {
        let mut random = Random::new(seed);
        let mut hostile = Hostile::with(random.chance(2).then_some(64 * 1024));
        let mut producer = hostile.take_over();
        for _ in 0..200 {
            let message = samples::to_worker(&mut random);
            let (head, body) = mutated(&mut random, &message, hostile.number);
            let body = &body[..body.len().min(producer.largest())];
            if !producer.write(head, body).unwrap_or(false) {
                break;
            }
            let _rings = producer.publish();
            hostile.relay.turn();
            let _more = hostile.relay.flush();
            let _batch = taken(&hostile.exchange);
            if !hostile.relay.take_lost().is_empty() {
                break;
            }
        }
        hostile.relay.ended(0);
        assert_eq!(hostile.web.running(), 0);
    }
}

#[test]
fn a_process_survives_messages_with_something_changed() {
    for seed in 0..links() {
        let mut random = Random::new(seed);
        let role = Role::Application { group: 0, slot: 0 };
        let worker = worker_as(role, vec![pool_config(4, 8)], vec![group()]);
        assert!(worker.open_gate(0).is_empty());
        let mut front = Front::new(&worker, vec![Arc::new(site(ExecutorId::Pool(0)))]);
        let (memory, _web, process) = ends();
        front.connect(ProcessLink::of_process(process));
        let mut producer = Producer::new(memory, 0, RING);
        for _ in 0..200 {
            let message = match samples::to_process(&mut random) {
                ToProcess::Begin(begin) => ToProcess::Begin(Box::new(Begin {
                    location: 7,
                    body: if random.chance(2) { Body::Streamed } else { begin.body },
                    ..*begin
                })),
                other => other,
            };
            let number = Number { slot: random.below(3) as u32, generation: 1 };
            let (head, body) = mutated(&mut random, &message, number);
            let body = &body[..body.len().min(producer.largest())];
            if !producer.write(head, body).unwrap_or(false) {
                break;
            }
            let _rings = producer.publish();
            front.receive();
            front.send();
            let _more = front.flush();
            if !front.take_lost().is_empty() {
                break;
            }
        }
        front.ended(0);
    }
}
