use loom::thread;

use super::*;
use crate::bridge::fixture::check;
use crate::bridge::sync::{Arc, Condvar, wait};

/// What wakes a side.
#[derive(Default)]
struct Bell {
    rung: Mutex<bool>,
    changed: Condvar,
}

impl Bell {
    fn ring(&self) {
        *lock(&self.rung) = true;
        self.changed.notify_one();
    }

    fn hear(&self) {
        let mut rung = lock(&self.rung);
        while !*rung {
            rung = wait(&self.changed, rung);
        }
        *rung = false;
    }
}

struct Both {
    socket: Socket,
    event_loop: Bell,
    task: Bell,
}

fn both(limit: usize) -> Arc<Both> {
    let handshake = Handshake { accept: String::new(), deflate: None };
    let socket = Socket::new(handshake, limit);
    Arc::new(Both { socket, event_loop: Bell::default(), task: Bell::default() })
}

fn payload() -> Bytes {
    Bytes::from_static(b"x")
}

/// The event loop pauses after each part, and is asked to read on; the task is woken for each part and for the end.
#[test]
fn all_parts_and_the_end_arrive() {
    check(3, || {
        let both = both(1);
        let task = {
            let both = Arc::clone(&both);
            thread::spawn(move || {
                let mut parts = 0;
                loop {
                    match both.socket.poll_receive(|| both.event_loop.ring()) {
                        Received::Part(_) => parts += 1,
                        Received::Closed(_) => return parts,
                        Received::Wait => both.task.hear(),
                    }
                }
            })
        };
        for _ in 0..2 {
            let part = Part { kind: Kind::Text, compressed: false, last: true, payload: payload() };
            let pushed = both.socket.push(part);
            if pushed.wakes {
                both.task.ring();
            }
            if pushed.pauses {
                while both.socket.is_paused() {
                    both.event_loop.hear();
                    both.socket.take(&mut VecDeque::new());
                }
            }
        }
        if both.socket.end(Close::abnormal()) {
            both.task.ring();
        }
        assert_eq!(task.join().unwrap(), 2);
    });
}

/// The task waits for room with its second frame; the event loop is told of both, and of the close frame.
#[test]
fn all_frames_arrive() {
    check(3, || {
        let both = both(1);
        let task = {
            let both = Arc::clone(&both);
            thread::spawn(move || {
                for _ in 0..2 {
                    let mut frame = payload();
                    while let Some(rest) =
                        both.socket.poll_send(frame, || both.event_loop.ring()).unwrap()
                    {
                        frame = rest;
                        both.task.hear();
                    }
                }
                both.socket.close(Close::abnormal(), || both.event_loop.ring()).unwrap();
            })
        };
        let (mut frames, mut total, mut closing) = (VecDeque::new(), 0, None);
        while closing.is_none() {
            both.event_loop.hear();
            closing = both.socket.take(&mut frames);
            for frame in frames.drain(..) {
                total += 1;
                if both.socket.sent(frame.len()) {
                    both.task.ring();
                }
            }
        }
        task.join().unwrap();
        assert_eq!(total, 3);
    });
}
