use std::thread;

use super::*;
use crate::http::random::Random;

fn memory(bytes: usize) -> Arc<Vec<AtomicU64>> {
    Arc::new((0..words(bytes)).map(|_| AtomicU64::new(0)).collect())
}

fn ring(bytes: usize) -> (Arc<Vec<AtomicU64>>, Producer, Consumer) {
    let memory = memory(bytes);
    let shared: Arc<dyn Longs> = Arc::clone(&memory) as _;
    (memory, Producer::new(Arc::clone(&shared), 0, bytes), Consumer::new(shared, 0, bytes))
}

fn head(number: u64) -> Head {
    Head { kind: number as u8, flags: !number as u8, request: number, value: !number }
}

/// What a body of a frame is in these tests.
fn body(random: &mut Random, largest: usize) -> Vec<u8> {
    let len = match random.below(4) {
        0 => 0,
        1 => random.below(20),
        2 => random.below(largest + 1),
        _ => largest,
    };
    random.bytes(len)
}

#[test]
fn frames_come_out_as_they_went_in() {
    for seed in 0..200 {
        let mut random = Random::new(seed);
        // Any size: also one that is not a power of two.
        let bytes = 256 + random.below(4096);
        let (_, mut producer, mut consumer) = ring(bytes);
        let mut sent = std::collections::VecDeque::new();
        for number in 0..300 {
            let frame = Frame { head: head(number), body: body(&mut random, producer.largest()) };
            if producer.write(frame.head, &frame.body).unwrap() {
                sent.push_back(frame);
            } else {
                producer.publish().unwrap();
                while let Some(frame) = consumer.read().unwrap() {
                    assert_eq!(Some(frame), sent.pop_front(), "seed {seed}");
                }
                let _rings = consumer.release().unwrap();
                assert!(sent.is_empty());
                assert!(producer.write(frame.head, &frame.body).unwrap());
                sent.push_back(frame);
            }
        }
        producer.publish().unwrap();
        while let Some(frame) = consumer.read().unwrap() {
            assert_eq!(Some(frame), sent.pop_front(), "seed {seed}");
        }
        assert!(sent.is_empty(), "seed {seed}");
    }
}

#[test]
fn what_has_no_room_is_not_written() {
    let (memory, mut producer, mut consumer) = ring(SMALLEST);
    let largest = vec![7; producer.largest()];
    let mut written = 0;
    while producer.write(head(written), &largest).unwrap() {
        written += 1;
    }
    assert_eq!(written, FRAMES as u64);
    assert!(!producer.has_room(largest.len()).unwrap());
    assert_eq!(producer.write(head(9), &vec![0; largest.len() + 1]), Err(Corrupt::Length));
    assert!(consumer.read().unwrap().is_none(), "it is not published");
    producer.publish().unwrap();
    for number in 0..written {
        assert_eq!(consumer.read().unwrap().unwrap().head, head(number));
    }
    assert!(consumer.read().unwrap().is_none());
    assert_eq!(memory[WRITTEN].load(Ordering::Relaxed), memory[READ].load(Ordering::Relaxed));
}

#[test]
fn the_largest_frame_has_64_kilobytes() {
    for (bytes, largest) in
        [(0, 0), (8 * 12, 0), (SMALLEST, 16 * 1024 - 24), (1 << 20, LARGEST_BODY)]
    {
        let (_, producer, _) = ring(bytes);
        assert_eq!(producer.largest(), largest);
    }
}

#[test]
fn who_sleeps_is_rung_for_once_in_a_batch() {
    let (_, mut producer, mut consumer) = ring(SMALLEST);
    assert!(!producer.publish().unwrap(), "there is nothing");
    assert!(producer.write(head(0), b"").unwrap());
    assert!(!producer.publish().unwrap(), "the consumer has not slept yet");
    assert!(consumer.rest().unwrap());
    assert!(consumer.read().unwrap().is_some());
    assert!(!consumer.release().unwrap());
    assert!(!consumer.rest().unwrap());
    for number in 1..4 {
        assert!(producer.write(head(number), b"").unwrap());
    }
    assert!(producer.publish().unwrap());
    assert!(producer.write(head(4), b"").unwrap());
    assert!(!producer.publish().unwrap(), "it has been rung for");
    consumer.wake().unwrap();
    for _ in 1..5 {
        assert!(consumer.read().unwrap().is_some());
    }
    assert!(!consumer.rest().unwrap());
    consumer.wake().unwrap();
    assert!(producer.write(head(5), b"").unwrap());
    assert!(!producer.publish().unwrap(), "it is awake by itself");
}

#[test]
fn who_waits_for_room_is_rung_for_when_half_is_free() {
    let (_, mut producer, mut consumer) = ring(SMALLEST);
    let largest = vec![7; producer.largest()];
    while producer.write(head(0), &largest).unwrap() {}
    producer.publish().unwrap();
    assert!(!producer.wait(largest.len()).unwrap());
    assert!(consumer.read().unwrap().is_some());
    assert!(!consumer.release().unwrap(), "a quarter is free");
    assert!(producer.wait(largest.len()).unwrap(), "who looks finds that room");
    assert!(producer.write(head(0), &largest).unwrap());
    producer.publish().unwrap();
    assert!(!producer.wait(largest.len()).unwrap());
    assert!(consumer.read().unwrap().is_some());
    assert!(consumer.read().unwrap().is_some());
    assert!(consumer.release().unwrap());
    assert!(!consumer.release().unwrap(), "it has been rung for");
    assert!(producer.has_room(2 * largest.len()).unwrap());
}

#[test]
fn two_threads_lose_nothing_and_do_not_sleep_for_ever() {
    const COUNT: u64 = 50_000;
    let (_, mut producer, mut consumer) = ring(SMALLEST);
    let reader = thread::current();
    let writer = thread::spawn(move || {
        let mut random = Random::new(1);
        for number in 0..COUNT {
            let body = random.bytes(number as usize % 300);
            while !producer.write(head(number), &body).unwrap() {
                if producer.publish().unwrap() {
                    reader.unpark();
                }
                if !producer.wait(body.len()).unwrap() {
                    thread::park();
                }
            }
            if random.chance(10) && producer.publish().unwrap() {
                reader.unpark();
            }
        }
        if producer.publish().unwrap() {
            reader.unpark();
        }
        // Nobody rings for a thread that has ended.
    });
    let (mut random, mut number) = (Random::new(1), 0);
    while number < COUNT {
        while let Some(frame) = consumer.read().unwrap() {
            assert_eq!(frame.head, head(number));
            assert!(frame.body == random.bytes(number as usize % 300));
            random.chance(10);
            number += 1;
        }
        if consumer.release().unwrap() {
            writer.thread().unpark();
        }
        if number < COUNT && !consumer.rest().unwrap() {
            thread::park();
            consumer.wake().unwrap();
        }
    }
    writer.join().unwrap();
}

#[test]
fn a_consumer_believes_no_index() {
    for written in [u64::MAX, SMALLEST as u64 / 8 + 1, 1 << 63] {
        let (memory, _, mut consumer) = ring(SMALLEST);
        memory[WRITTEN].store(written, Ordering::Relaxed);
        assert_eq!(consumer.read(), Err(Corrupt::Index));
        assert_eq!(consumer.rest(), Err(Corrupt::Index));
    }
    let (memory, mut producer, mut consumer) = ring(SMALLEST);
    producer.write(head(0), b"12").unwrap();
    producer.publish().unwrap();
    assert!(consumer.read().unwrap().is_some());
    memory[WRITTEN].store(3, Ordering::Relaxed);
    assert_eq!(consumer.read(), Err(Corrupt::Index), "it goes backwards");
}

#[test]
fn a_producer_believes_no_index() {
    let largest = vec![7; SMALLEST / FRAMES - HEAD * WORD];
    for read in [u64::MAX, SMALLEST as u64 / 8 + 1, 1 << 63] {
        let (memory, mut producer, _) = ring(SMALLEST);
        while producer.write(head(0), &largest).unwrap() {}
        producer.publish().unwrap();
        memory[READ].store(read, Ordering::Relaxed);
        assert_eq!(producer.write(head(0), &largest), Err(Corrupt::Index));
        assert_eq!(producer.has_room(0), Err(Corrupt::Index));
        assert_eq!(producer.wait(0), Err(Corrupt::Index));
    }
    let (memory, mut producer, mut consumer) = ring(SMALLEST);
    while producer.write(head(0), &largest).unwrap() {}
    producer.publish().unwrap();
    consumer.read().unwrap();
    let _rings = consumer.release().unwrap();
    assert!(producer.has_room(largest.len()).unwrap());
    memory[READ].store(1, Ordering::Relaxed);
    assert_eq!(producer.has_room(SMALLEST), Err(Corrupt::Index), "it goes backwards");
}

#[test]
fn an_own_index_is_not_read_back() {
    let (memory, mut producer, mut consumer) = ring(SMALLEST);
    producer.write(head(0), b"first").unwrap();
    producer.publish().unwrap();
    memory[READ].store(99, Ordering::Relaxed);
    assert_eq!(consumer.read().unwrap().unwrap().body, b"first");
    let _rings = consumer.release().unwrap();
    assert_eq!(memory[READ].load(Ordering::Relaxed), 4);
    memory[WRITTEN].store(99, Ordering::Relaxed);
    producer.write(head(1), b"second").unwrap();
    producer.publish().unwrap();
    assert_eq!(consumer.read().unwrap().unwrap().body, b"second");
}

#[test]
fn a_length_is_at_most_that_of_a_frame_and_of_what_is_there() {
    for (tag, published, error) in [
        (u64::from(u32::MAX), 8192, Corrupt::Length),
        (16 * 1024, 8192, Corrupt::Length),
        (9, 4, Corrupt::Length),
        (0, 1, Corrupt::Length),
        (0, 2, Corrupt::Length),
        (1 << 48, 3, Corrupt::Reserved),
        (1 << 63, 3, Corrupt::Reserved),
    ] {
        let (memory, _, mut consumer) = ring(SMALLEST);
        memory[CONTROL].store(tag, Ordering::Relaxed);
        memory[WRITTEN].store(published, Ordering::Relaxed);
        assert_eq!(consumer.read(), Err(error), "{tag:#x} {published}");
    }
}

#[test]
fn memory_that_is_too_small_is_an_error() {
    for count in [0, 1, CONTROL, words(SMALLEST) - 1] {
        let memory: Arc<dyn Longs> =
            Arc::new((0..count).map(|_| AtomicU64::new(0)).collect::<Vec<_>>());
        let mut producer = Producer::new(Arc::clone(&memory), 0, SMALLEST);
        assert_eq!(producer.write(head(0), b""), Err(Corrupt::Memory));
        let mut consumer = Consumer::new(Arc::clone(&memory), usize::MAX, SMALLEST);
        assert_eq!(consumer.read(), Err(Corrupt::Memory));
        assert_eq!(Consumer::new(memory, 0, usize::MAX).rest(), Err(Corrupt::Memory));
    }
}

#[test]
fn a_ring_without_room_is_always_full() {
    let (_, mut producer, mut consumer) = ring(0);
    assert!(!producer.write(head(0), b"").unwrap());
    assert!(!producer.wait(0).unwrap());
    assert!(consumer.read().unwrap().is_none());
    assert!(!consumer.release().unwrap());
}

#[test]
fn words_of_a_stranger_break_nothing() {
    for seed in 0..2000 {
        let mut random = Random::new(seed);
        let bytes = 512;
        let (memory, mut producer, mut consumer) = ring(bytes);
        let (mut writes, mut reads) = (true, true);
        for number in 0..100 {
            for _ in 0..random.below(4) {
                let at = match random.below(3) {
                    0 => [WRITTEN, READ, SLEEPS, WAITS][random.below(4)],
                    _ => random.below(memory.len()),
                };
                let value = match random.below(4) {
                    0 => random.next(),
                    1 => random.below(100) as u64,
                    2 => 1 << random.below(64),
                    _ => memory[at].load(Ordering::Relaxed).wrapping_add(random.below(9) as u64),
                };
                memory[at].store(value, Ordering::Relaxed);
            }
            // After an error its owner does not use it any more; here it does: it must not panic.
            let size = random.below(producer.largest() + 1);
            writes &= producer.write(head(number), &random.bytes(size)).is_ok();
            writes &= producer.publish().is_ok() && producer.wait(size).is_ok();
            match consumer.read() {
                Ok(None) => {}
                Ok(Some(frame)) => assert!(frame.body.len() <= bytes / FRAMES),
                Err(_) => reads = false,
            }
            reads &= consumer.release().is_ok() && consumer.rest().is_ok();
        }
        let _either = (writes, reads);
    }
}
