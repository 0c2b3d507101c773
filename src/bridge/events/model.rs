use std::sync::Arc;

use loom::thread;

use crate::bridge::fixture::{check, ids};
use crate::bridge::lines::LIMIT;
use crate::bridge::log::{self, About, Kind, Level};

type Events = super::Events<()>;
type Event = super::Event<()>;
type LogLine = super::LogLine<()>;

/// The event loop, until it has taken `count` messages.
fn take(events: &Events, count: usize) {
    let (mut batch, mut batches) = (Vec::new(), 0);
    while batch.len() < count {
        events.doorbell.wait();
        events.hush();
        loop {
            events.take(&mut batch);
            batches += 1;
            if !events.rest() {
                break;
            }
        }
        assert!(events.doorbell.rings() <= batches + 1, "one ring per batch");
    }
    assert_eq!(batch.len(), count);
}

#[test]
fn no_message_is_left_lying() {
    check(3, || {
        let events = Arc::new(Events::new(0).unwrap());
        let threads: Vec<_> = ids::<2>()
            .into_iter()
            .map(|id| {
                let events = Arc::clone(&events);
                thread::spawn(move || {
                    events.push(Event::Output(id));
                    events.push(Event::ReadBody(id));
                })
            })
            .collect();
        take(&events, 4);
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

#[test]
fn what_is_pushed_while_the_event_loop_is_awake_is_taken_or_rung_for() {
    check(3, || {
        let events = Arc::new(Events::new(0).unwrap());
        let thread = {
            let events = Arc::clone(&events);
            let [id] = ids();
            thread::spawn(move || {
                events.push(Event::Output(id));
                events.push(Event::ReadBody(id));
            })
        };
        let mut batch = Vec::new();
        events.stay_awake();
        loop {
            events.take(&mut batch);
            if !events.rest() {
                break;
            }
        }
        let left = 2 - batch.len();
        if left > 0 {
            take(&events, left);
        }
        thread.join().unwrap();
    });
}

/// A full log.
fn full() -> Events {
    let events = Events::new(0).unwrap();
    while events.try_log(long_line()).is_ok() {}
    events
}

fn long_line() -> LogLine {
    LogLine {
        level: Level::Info,
        about: About::Worker,
        kind: Kind::Message,
        text: "x".repeat(log::LONGEST),
    }
}

#[test]
fn every_writer_that_waits_for_room_gets_it() {
    check(2, || {
        let events = Arc::new(full());
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let events = Arc::clone(&events);
                thread::spawn(move || events.log(long_line()))
            })
            .collect();
        let mut left = LIMIT / log::LONGEST + 2;
        while left > 0 {
            events.doorbell.wait();
            events.hush();
            loop {
                left -= events.take_lines().len();
                if !events.rest() {
                    break;
                }
            }
        }
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

#[test]
fn who_sees_what_came_after_a_line_finds_the_line() {
    check(3, || {
        let events = Arc::new(Events::new(0).unwrap());
        let [id] = ids();
        let thread = {
            let events = Arc::clone(&events);
            thread::spawn(move || {
                events.log(long_line());
                events.push(Event::Output(id));
            })
        };
        let mut batch = Vec::new();
        events.take(&mut batch);
        assert!(batch.is_empty() || events.has_lines());
        thread.join().unwrap();
    });
}

#[test]
fn a_writer_does_not_outwait_the_end() {
    check(3, || {
        let events = Arc::new(full());
        let writer = {
            let events = Arc::clone(&events);
            thread::spawn(move || events.log(long_line()))
        };
        events.close();
        writer.join().unwrap();
    });
}
