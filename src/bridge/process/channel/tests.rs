use std::fmt::Debug;
use std::sync::Arc;

use super::*;
use crate::bridge::memory::Longs;
use crate::bridge::pipe::messages::Part;
use crate::bridge::process::ring::{SMALLEST, words};
use crate::bridge::process::samples;
use crate::bridge::process::to_process::ToProcess;
use crate::bridge::process::to_worker::{LARGEST_FRAME, ToWorker};
use crate::bridge::sync::{AtomicU64, Ordering};
use crate::http::field::Field;
use crate::http::random::Random;
use crate::http::response_head::ResponseHead;
use crate::http::websocket::frame::Kind;

const SOME: Number = Number { slot: 7, generation: 9 };

type Memory = Arc<Vec<AtomicU64>>;

fn memory(bytes: usize) -> Memory {
    Arc::new((0..words(bytes)).map(|_| AtomicU64::new(0)).collect())
}

fn channel<M: Message>(bytes: usize) -> (Sender<M>, Receiver<M>) {
    let memory: Arc<dyn Longs> = memory(bytes);
    (
        Sender::new(Producer::new(Arc::clone(&memory), 0, bytes)),
        Receiver::new(Consumer::new(memory, 0, bytes)),
    )
}

/// A channel, and what writes frames to it as they are.
fn raw<M: Message>() -> (Producer, Receiver<M>) {
    let memory: Arc<dyn Longs> = memory(SMALLEST);
    (
        Producer::new(Arc::clone(&memory), 0, SMALLEST),
        Receiver::new(Consumer::new(memory, 0, SMALLEST)),
    )
}

/// Sends a message that may need more room than there is, and gives all that comes out.
fn pass<M: Message>(
    sender: &mut Sender<M>,
    receiver: &mut Receiver<M>,
    number: Number,
    message: &M,
) -> Vec<(Number, M)> {
    let mut received = Vec::new();
    let mut sent = false;
    loop {
        sent = sent || sender.send(number, message).unwrap();
        let done = sent && sender.resume().unwrap();
        let _rings = sender.publish().unwrap();
        loop {
            received.extend(receiver.receive().unwrap());
            let _rings = receiver.release().unwrap();
            if !receiver.rest().unwrap() {
                break;
            }
        }
        if done {
            return received;
        }
    }
}

/// Many random messages, in rings of several sizes. `divides` gives the bytes of a message that may come in parts.
fn pass_all<M: Message + Clone + Debug>(
    sample: fn(&mut Random) -> M,
    divides: fn(&M) -> Option<&[u8]>,
) {
    for seed in 0..1500 {
        let mut random = Random::new(seed);
        let (mut sender, mut receiver) = channel([1 << 13, SMALLEST, 1 << 20][random.below(3)]);
        for _ in 0..3 {
            let (number, message) = (samples::number(&mut random), sample(&mut random));
            let received = pass(&mut sender, &mut receiver, number, &message);
            assert!(received.iter().all(|(other, _)| *other == number));
            if let Some(bytes) = divides(&message) {
                let parts: Vec<u8> = received
                    .iter()
                    .flat_map(|(_, part)| divides(part).unwrap_or_default().to_vec())
                    .collect();
                assert!(parts == bytes, "seed {seed}");
            } else {
                let [(_, received)] = &received[..] else { panic!("seed {seed}: {received:?}") };
                assert_eq!(format!("{received:?}"), format!("{message:?}"), "seed {seed}");
            }
        }
    }
}

#[test]
fn what_a_worker_says_arrives() {
    pass_all(samples::to_process, |message| match message {
        ToProcess::Body(bytes) => Some(bytes),
        ToProcess::Part(part) => Some(&part.payload),
        _ => None,
    });
}

#[test]
fn what_a_process_says_arrives() {
    pass_all(samples::to_worker, |message| match message {
        ToWorker::Block(bytes) => Some(bytes),
        _ => None,
    });
}

#[test]
fn only_the_last_piece_of_a_part_ends_the_message() {
    let (mut sender, mut receiver) = channel(SMALLEST);
    let payload = Bytes::from(Random::new(0).bytes(40_000));
    for last in [true, false] {
        let part = Part { kind: Kind::Binary, compressed: true, last, payload: payload.clone() };
        let received = pass(&mut sender, &mut receiver, SOME, &ToProcess::Part(part));
        let mut whole = Vec::new();
        for (at, (_, message)) in received.iter().enumerate() {
            let ToProcess::Part(piece) = message else { panic!("{message:?}") };
            assert_eq!((piece.kind, piece.compressed), (Kind::Binary, true));
            assert_eq!(piece.last, last && at == received.len() - 1);
            whole.extend_from_slice(&piece.payload);
        }
        assert!(received.len() > 1 && whole == payload);
    }
}

#[test]
fn a_message_that_is_larger_than_the_ring_arrives_whole_and_alone() {
    let (mut sender, mut receiver) = channel(SMALLEST);
    let frame = ToWorker::Frame(Random::new(0).bytes(1_000_000).into());
    assert!(sender.send(SOME, &frame).unwrap(), "a part of it has room");
    let other = Number { slot: 1, generation: 0 };
    assert!(!sender.send(other, &ToWorker::Credit(1)).unwrap(), "the rest comes first");
    assert!(!sender.publish().unwrap());
    assert!(!sender.wait().unwrap());
    let mut sleeps = 0;
    let received = loop {
        if let Some(received) = receiver.receive().unwrap() {
            break received;
        }
        sleeps += usize::from(receiver.release().unwrap());
        while !sender.resume().unwrap() && sender.wait().unwrap() {}
        let _rings = sender.publish().unwrap();
    };
    assert!(received == (SOME, frame));
    assert!(sleeps > 0);
    assert!(sender.send(other, &ToWorker::Credit(1)).unwrap());
    let _rings = sender.publish().unwrap();
    assert_eq!(receiver.receive().unwrap(), Some((other, ToWorker::Credit(1))));
}

#[test]
fn what_the_other_side_would_not_take_is_not_sent() {
    let (mut sender, mut receiver) = channel(SMALLEST);
    let fields = |count| -> Vec<Field> { vec![(b"X".to_vec(), vec![b'y'; 67]); count] };
    let mut head = ResponseHead::new(200, b"OK");
    for (name, value) in fields(70_000) {
        head.push(crate::http::header::HeaderKind::Other, &name, &value);
    }
    for message in [
        ToWorker::Frame(vec![0; LARGEST_FRAME + 1].into()),
        ToWorker::Hints(fields(11_000)),
        ToWorker::Head(Box::new(head)),
    ] {
        assert!(matches!(sender.send(SOME, &message), Err(SendError::TooLarge(_))));
    }
    let hints = ToWorker::Hints(fields(10_000));
    let received = pass(&mut sender, &mut receiver, SOME, &hints);
    assert!(received == [(SOME, hints)]);
}

#[test]
fn pieces_of_different_messages_are_broken() {
    let first = Head { kind: 5, flags: MORE, request: 1, value: 0 };
    for second in [
        Head { request: 2, ..first },
        Head { kind: 9, ..first },
        Head { value: 1, ..first },
        Head { flags: MORE | 1, ..first },
        // A block, of which each frame is a message.
        Head { kind: 6, ..first },
    ] {
        let (mut producer, mut receiver) = raw::<ToWorker>();
        producer.write(first, b"some").unwrap();
        producer.write(second, b"more").unwrap();
        producer.publish().unwrap();
        assert_eq!(receiver.receive(), Err(Foreign::Broken), "{second:?}");
    }
    let (mut producer, mut receiver) = raw::<ToWorker>();
    producer.write(first, b"some").unwrap();
    producer.write(first, b"").unwrap();
    producer.publish().unwrap();
    assert_eq!(receiver.receive(), Err(Foreign::Broken), "no progress");
}

#[test]
fn a_message_that_never_ends_is_too_large() {
    let (mut producer, mut receiver) = raw::<ToWorker>();
    let piece = vec![0; producer.largest()];
    let head = Head { kind: 5, flags: MORE, request: 1, value: 0 };
    let mut pieces = 0;
    let error = loop {
        pieces += usize::from(producer.write(head, &piece).unwrap());
        producer.publish().unwrap();
        match receiver.receive() {
            Ok(received) => assert_eq!(received, None),
            Err(error) => break error,
        }
        let _rings = receiver.release().unwrap();
    };
    assert_eq!(error, Foreign::TooLarge(4 << 20));
    assert!(pieces <= (4 << 20) / piece.len() + 1);
}

#[test]
fn many_small_pieces_are_not_put_together_at_once() {
    let (mut producer, mut receiver) = raw::<ToWorker>();
    let head = Head { kind: 10, flags: MORE, request: 1, value: 0 };
    for _ in 0..PIECES {
        assert!(producer.write(head, b"x").unwrap());
    }
    assert!(producer.write(Head { flags: 0, ..head }, b"y").unwrap());
    producer.publish().unwrap();
    assert_eq!(receiver.receive(), Ok(None));
    assert!(receiver.rest().unwrap());
    let (_, message) = receiver.receive().unwrap().unwrap();
    assert_eq!(message, ToWorker::Frame([&[b'x'; PIECES][..], b"y"].concat().into()));
}

/// A message as the frame that it is sent as.
fn encoded<M: Message>(message: &M, number: Number) -> (Head, Vec<u8>) {
    let mut text = Vec::new();
    let encoded = message.encode(&mut text).unwrap();
    let body = encoded.body.map(|body| body.to_vec());
    (encoded.head(number), body.unwrap_or(text))
}

/// Changes some bytes.
fn mutate(random: &mut Random, head: &mut Head, body: &mut Vec<u8>) {
    for _ in 0..1 + random.below(3) {
        match random.below(8) {
            0 => head.kind = random.below(16) as u8,
            1 => head.value = 1 << random.below(64),
            2 => head.flags = 1 << random.below(8),
            3 => body.truncate(random.below(body.len() + 1)),
            4 => body.extend(random.bytes(8)),
            _ if body.is_empty() => *body = random.bytes(99),
            5 => {
                let at = random.below(body.len());
                body[at] = random.next() as u8;
            }
            6 => {
                let at = random.below(body.len());
                let number = [0, u32::MAX, body.len() as u32, 1 << random.below(32)];
                let number = number[random.below(4)].to_ne_bytes();
                body[at..].iter_mut().zip(number).for_each(|(to, from)| *to = from);
            }
            _ => {
                let at = random.below(body.len());
                body[at] ^= 1 << random.below(8);
            }
        }
    }
}

/// Decodes 120,000 messages that have been changed, and gives how many of them were still messages.
fn decode_changed<M: Message + Debug>(sample: fn(&mut Random) -> M) -> usize {
    let mut taken = 0;
    for seed in 0..30_000 {
        let mut random = Random::new(seed);
        let (mut head, mut body) = encoded(&sample(&mut random), SOME);
        body.truncate(4000);
        for _ in 0..4 {
            mutate(&mut random, &mut head, &mut body);
            if let Ok(message) = M::decode(head.kind, head.flags, head.value, body.clone()) {
                // What was taken can be looked at, and sent on.
                let (_, again) = encoded(&message, SOME);
                assert!(again.len() <= body.len() + 64, "{message:?}");
                taken += 1;
            }
        }
    }
    taken
}

#[test]
fn a_changed_message_is_an_error_or_a_message() {
    let (of_worker, of_process) =
        (decode_changed(samples::to_process), decode_changed(samples::to_worker));
    assert!((1000..119_000).contains(&of_worker), "{of_worker}");
    assert!((1000..119_000).contains(&of_process), "{of_process}");
}

#[test]
fn random_bytes_are_an_error_or_a_message() {
    for seed in 0..100_000 {
        let mut random = Random::new(seed);
        let len = random.below(200);
        let (kind, flags, value) = (random.below(14) as u8, random.next() as u8, random.next());
        let body = random.bytes(len);
        let _process = ToProcess::decode(kind, flags, value, body.clone());
        let _worker = ToWorker::decode(kind, flags, value % 8, body);
    }
}

/// Sends messages over a ring in which somebody else writes as well, until that is found out. True if it was.
fn meet_stranger(seed: u64) -> bool {
    let mut random = Random::new(seed);
    let shared = memory(SMALLEST);
    let longs: Arc<dyn Longs> = Arc::clone(&shared) as _;
    let mut sender = Sender::new(Producer::new(Arc::clone(&longs), 0, SMALLEST));
    let mut receiver = Receiver::<ToWorker>::new(Consumer::new(longs, 0, SMALLEST));
    for _ in 0..20 {
        let message = samples::to_worker(&mut random);
        let sent = sender.send(samples::number(&mut random), &message);
        if sent.is_err() || sender.publish().is_err() {
            return true;
        }
        if random.chance(3) {
            let at = random.below(shared.len().min(300));
            shared[at].store(random.next() >> random.below(64), Ordering::Relaxed);
        }
        loop {
            match receiver.receive() {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => return true,
            }
        }
        if receiver.release().is_err() {
            return true;
        }
    }
    false
}

#[test]
fn a_stranger_in_the_ring_is_found_out_or_does_no_harm() {
    let found = (0..3000).filter(|&seed| meet_stranger(seed)).count();
    assert!((300..3000).contains(&found), "{found}");
}
