use std::sync::Arc;

use loom::thread;

use super::*;
use crate::bridge::bell::Bell;
use crate::bridge::fixture::check;

/// Room for one frame without a body.
const ONE: usize = 4 * WORD;

/// Room for two.
const TWO: usize = 6 * WORD;

fn ring(bytes: usize) -> (Producer, Consumer) {
    let memory: Vec<AtomicU64> = (0..words(bytes)).map(|_| AtomicU64::new(0)).collect();
    let memory: Arc<dyn Longs> = Arc::new(memory);
    (Producer::new(Arc::clone(&memory), 0, bytes), Consumer::new(memory, 0, bytes))
}

fn bells() -> [Arc<Bell>; 2] {
    std::array::from_fn(|_| Arc::new(Bell::new(0).unwrap()))
}

fn head(number: u64) -> Head {
    Head { kind: 1, flags: 2, request: number, value: !number }
}

/// Writes `count` frames in batches that are as large as there is room, and sleeps if there is none.
fn produce(mut producer: Producer, count: u64, [to, from]: [&Bell; 2]) -> usize {
    let mut batches = 0;
    for number in 0..count {
        while !producer.write(head(number), b"").unwrap() {
            batches += 1;
            if producer.publish().unwrap() {
                to.ring().unwrap();
            }
            if !producer.wait(0).unwrap() {
                from.wait();
                from.hush().unwrap();
            }
        }
    }
    if producer.publish().unwrap() {
        to.ring().unwrap();
    }
    batches + 1
}

/// Reads `count` frames, and sleeps if there is none.
fn consume(mut consumer: Consumer, count: u64, [to, from]: [&Bell; 2]) -> usize {
    let (mut number, mut batches) = (0, 0);
    while number < count {
        let mut frames = 0;
        while let Some(frame) = consumer.read().unwrap() {
            assert_eq!(frame, Frame { head: head(number), body: Vec::new() });
            number += 1;
            frames += 1;
        }
        batches += usize::from(frames > 0);
        if consumer.release().unwrap() {
            to.ring().unwrap();
        }
        if number < count && !consumer.rest().unwrap() {
            from.wait();
            from.hush().unwrap();
            consumer.wake().unwrap();
        }
    }
    batches
}

/// Passes `count` frames through a ring of `bytes` bytes. Neither side sleeps for ever.
fn pass(bytes: usize, count: u64) {
    check(3, move || {
        let (producer, consumer) = ring(bytes);
        let [to_consumer, to_producer] = bells();
        let thread = {
            let bells = [Arc::clone(&to_consumer), Arc::clone(&to_producer)];
            thread::spawn(move || produce(producer, count, [&*bells[0], &*bells[1]]))
        };
        let read = consume(consumer, count, [&*to_producer, &*to_consumer]);
        let written = thread.join().unwrap();
        assert!(to_consumer.rings() <= written, "one ring per batch");
        assert!(to_producer.rings() <= read + 1, "one ring per batch");
    });
}

#[test]
fn a_sleeping_consumer_gets_what_is_published() {
    pass(TWO, 2);
}

#[test]
fn a_producer_that_waits_gets_room() {
    pass(ONE, 3);
}

#[test]
fn what_is_published_while_the_consumer_is_awake_is_read_or_rung_for() {
    check(3, || {
        let (mut producer, mut consumer) = ring(TWO);
        let thread = thread::spawn(move || {
            assert!(producer.write(head(0), b"").unwrap());
            producer.publish().unwrap()
        });
        let mut read = usize::from(consumer.read().unwrap().is_some());
        let _rings = consumer.release().unwrap();
        let more = consumer.rest().unwrap();
        read += usize::from(more && consumer.read().unwrap().is_some());
        let rung = thread.join().unwrap();
        assert!(read == 1 || rung, "it sleeps, and is not woken");
    });
}

/// The frame's words were written before they are read, wherever they are.
#[test]
fn a_body_is_whole() {
    check(3, || {
        let bytes = 20 * WORD;
        let (mut producer, mut consumer) = ring(bytes);
        let body = *b"0123456789abcdef";
        let thread = thread::spawn(move || {
            for number in 0..2 {
                assert!(producer.write(head(number), &body).unwrap());
                producer.publish().unwrap();
            }
        });
        let mut read = 0;
        while let Some(frame) = consumer.read().unwrap() {
            assert_eq!((frame.head, &*frame.body), (head(read), &body[..]));
            read += 1;
        }
        thread.join().unwrap();
        while let Some(frame) = consumer.read().unwrap() {
            assert_eq!((frame.head, &*frame.body), (head(read), &body[..]));
            read += 1;
        }
        assert_eq!(read, 2);
    });
}
