use std::cell::Cell;

use super::*;

const LIMIT: usize = 1000;

fn socket() -> Socket {
    let handshake = Handshake { accept: String::new(), deflate: None };
    Socket::new(handshake, LIMIT)
}

fn part(len: usize, last: bool) -> Part {
    let payload = Bytes::from(vec![b'x'; len]);
    Part { kind: Kind::Binary, compressed: false, last, payload }
}

fn frame(len: usize) -> Bytes {
    Bytes::from(vec![b'x'; len])
}

const QUIET: Pushed = Pushed { pauses: false, wakes: false };

fn never() {
    panic!("the event loop need not be told");
}

#[test]
fn a_task_that_waits_is_woken_once() {
    let socket = socket();
    assert_eq!(socket.poll_receive(never), Received::Wait);
    assert_eq!(socket.push(part(1, false)), Pushed { pauses: false, wakes: true });
    assert_eq!(socket.push(part(2, true)), QUIET);
    assert_eq!(socket.poll_receive(never), Received::Part(part(1, false)));
    assert_eq!(socket.poll_receive(never), Received::Part(part(2, true)));
    assert_eq!(socket.poll_receive(never), Received::Wait);
    socket.stop_receiving();
    assert_eq!(socket.push(part(3, true)), QUIET);
}

#[test]
fn the_event_loop_pauses_at_the_limit_and_is_asked_at_half() {
    let socket = socket();
    for _ in 0..4 {
        assert_eq!(socket.push(part(100, true)), QUIET);
    }
    assert!(!socket.is_paused());
    assert_eq!(socket.push(part(900, true)), Pushed { pauses: true, wakes: false });
    assert!(socket.is_paused());
    let asked = Cell::new(0);
    let ask = || asked.set(asked.get() + 1);
    for _ in 0..4 {
        assert_eq!(socket.poll_receive(ask), Received::Part(part(100, true)));
    }
    assert_eq!((asked.get(), socket.is_paused()), (0, true));
    assert_eq!(socket.poll_receive(ask), Received::Part(part(900, true)));
    assert_eq!((asked.get(), socket.is_paused()), (1, false));
    assert_eq!(socket.poll_receive(ask), Received::Wait);
    assert_eq!(asked.get(), 1);
}

#[test]
fn small_parts_count_with_what_they_cost() {
    let socket = socket();
    let paused = (1..).find(|_| socket.push(part(1, true)).pauses);
    assert_eq!(paused, Some(LIMIT.div_ceil(1 + OVERHEAD)));
}

#[test]
fn frames_are_taken_up_to_the_limit() {
    let socket = socket();
    let told = Cell::new(0);
    let tell = || told.set(told.get() + 1);
    assert_eq!(socket.poll_send(frame(300), tell), Ok(None));
    assert_eq!(socket.poll_send(frame(300), never), Ok(None));
    assert_eq!(socket.poll_send(frame(300), never), Ok(Some(frame(300))));
    assert_eq!(told.get(), 1);
    let mut frames = VecDeque::new();
    assert_eq!(socket.take(&mut frames), None);
    assert_eq!(frames.len(), 2);
    // What the event loop has taken but not sent has no room either.
    assert_eq!(socket.poll_send(frame(300), never), Ok(Some(frame(300))));
    assert!(socket.sent(frames[0].len()));
    assert_eq!(socket.poll_send(frame(300), tell), Ok(None));
    assert!(!socket.sent(frames[1].len()));
    assert_eq!(told.get(), 2);
}

#[test]
fn one_frame_may_be_larger_than_the_limit() {
    let socket = socket();
    assert_eq!(socket.poll_send(frame(9 * LIMIT), || ()), Ok(None));
    assert_eq!(socket.poll_send(frame(1), never), Ok(Some(frame(1))));
    let mut frames = VecDeque::new();
    socket.take(&mut frames);
    assert!(socket.sent(frames[0].len()));
    assert_eq!(socket.poll_send(frame(1), || ()), Ok(None));
    assert_eq!(socket.poll_send(frame(9 * LIMIT), never), Ok(Some(frame(9 * LIMIT))));
    socket.take(&mut frames);
    assert!(socket.sent(frames[1].len()));
    assert_eq!(socket.poll_send(frame(9 * LIMIT), || ()), Ok(None));
    socket.stop_sending();
    assert!(!socket.sent(frame(9 * LIMIT).len()));
}

#[test]
fn the_end_comes_after_the_last_part() {
    let socket = socket();
    assert_eq!(socket.poll_receive(never), Received::Wait);
    assert!(socket.push(part(1, true)).wakes);
    let close = Close::new(1001, "bye");
    assert!(!socket.end(close.clone()));
    assert!(!socket.end(Close::abnormal()));
    assert_eq!(socket.push(part(2, true)), QUIET);
    assert_eq!(socket.poll_receive(never), Received::Part(part(1, true)));
    for _ in 0..2 {
        assert_eq!(socket.poll_receive(never), Received::Closed(close.clone()));
    }
    assert_eq!(socket.poll_send(frame(1), never), Err(Closed));
    assert_eq!(socket.close(Close::abnormal(), never), Err(Closed));
}

#[test]
fn the_end_wakes_who_waits_for_a_message_or_for_room() {
    let socket = socket();
    assert_eq!(socket.poll_send(frame(LIMIT), || ()), Ok(None));
    assert_eq!(socket.poll_send(frame(1), never), Ok(Some(frame(1))));
    assert!(socket.end(Close::abnormal()));
    assert!(!socket.end(Close::abnormal()));
    let mut frames = VecDeque::new();
    assert_eq!((socket.take(&mut frames), frames.len()), (None, 0));
}

#[test]
fn a_close_frame_always_has_room_and_is_the_last() {
    let socket = socket();
    assert_eq!(socket.poll_send(frame(9 * LIMIT), || ()), Ok(None));
    assert!(socket.push(part(LIMIT, true)).pauses);
    let close = Close::new(1000, "done");
    assert_eq!(socket.close(close.clone(), never), Ok(()));
    assert!(!socket.is_paused());
    assert_eq!(socket.close(close.clone(), never), Err(Closed));
    assert_eq!(socket.poll_send(frame(1), never), Err(Closed));
    let mut frames = VecDeque::new();
    assert_eq!(socket.take(&mut frames), Some(close));
    assert_eq!(frames[1][..], *b"\x88\x06\x03\xe8done");
    // What the client still sends is not wanted, and how it ends is.
    assert_eq!(socket.push(part(1, true)), QUIET);
    assert_eq!(socket.poll_receive(never), Received::Wait);
    assert!(socket.end(Close::new(1000, "")));
    assert_eq!(socket.poll_receive(never), Received::Closed(Close::new(1000, "")));
}

#[test]
fn an_exiting_worker_learns_when_the_task_only_waits() {
    let socket = socket();
    assert!(!socket.drain());
    assert!(!socket.push(part(1, true)).wakes);
    assert_eq!(socket.poll_receive(never), Received::Part(part(1, true)));
    assert_eq!(socket.poll_send(frame(1), || ()), Ok(None));
    // The frame has not been sent: the event loop looks after it has.
    assert_eq!(socket.poll_receive(never), Received::Wait);
    assert!(!socket.may_go());
    let mut frames = VecDeque::new();
    socket.take(&mut frames);
    assert!(!socket.sent(frames[0].len()));
    assert!(socket.may_go());
    let told = Cell::new(false);
    assert_eq!(socket.poll_receive(|| told.set(true)), Received::Wait);
    assert!(told.get());
    assert!(socket.drain());
}
