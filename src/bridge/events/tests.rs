use std::sync::Arc;
use std::thread;

use crate::bridge::fixture::{ids, until};
use crate::bridge::lines::{BUSY_LIMIT, LIMIT};
use crate::bridge::log::{About, Kind, Level};

type Events = super::Events<()>;
type Event = super::Event<()>;
type LogLine = super::LogLine<()>;

fn line(text: &str) -> LogLine {
    LogLine { level: Level::Info, about: About::Worker, kind: Kind::Message, text: text.into() }
}

/// The lines that the event loop has to write.
fn lines(events: &Events) -> Vec<String> {
    events.take_lines().into_iter().map(|line| line.text).collect()
}

/// A turn of the event loop, which has heard the bell.
fn taken(events: &Events) -> Vec<Event> {
    let mut batch = Vec::new();
    events.hush();
    events.take(&mut batch);
    assert!(!events.rest());
    batch
}

/// Fills the log, with lines of `len` bytes; says how many.
fn fill(events: &Events, len: usize) -> usize {
    let text = "x".repeat(len);
    (0..).take_while(|_| events.try_log(line(&text)).is_ok()).count()
}

#[test]
fn a_batch_is_in_order_and_rings_once() {
    let events = Events::new(0).unwrap();
    let [id] = ids();
    events.push(Event::Output(id));
    events.log(line("a line"));
    events.try_log(line("another")).unwrap();
    events.push(Event::ReadBody(id));
    assert_eq!(events.doorbell.rings(), 1);
    assert_eq!(lines(&events), ["a line", "another"]);
    let batch = taken(&events);
    let [Event::Output(output), Event::ReadBody(body)] = batch.as_slice() else {
        panic!("{batch:?}");
    };
    assert_eq!((*output, *body), (id, id));
    assert!(taken(&events).is_empty());
    assert!(lines(&events).is_empty());
    for _ in 0..2 {
        events.push(Event::Output(id));
        events.push(Event::Output(id));
        assert_eq!(events.doorbell.rings(), 1);
        assert_eq!(taken(&events).len(), 2);
    }
}

#[test]
fn a_line_is_something_to_take() {
    let events = Events::new(0).unwrap();
    events.log(line("a line"));
    assert_eq!(events.doorbell.rings(), 1);
    events.hush();
    assert_eq!(events.doorbell.rings(), 0);
    assert!(events.rest(), "it has to look before it rests");
    assert_eq!(lines(&events), ["a line"]);
    assert!(!events.rest());
}

#[test]
fn nobody_rings_while_the_event_loop_is_awake() {
    let events = Events::new(0).unwrap();
    let [id] = ids();
    events.stay_awake();
    assert!(events.is_empty());
    events.push(Event::Output(id));
    assert!(!events.is_empty());
    assert!(events.rest(), "it has to look before it rests");
    events.push(Event::Output(id));
    assert_eq!(events.doorbell.rings(), 0);
    let mut batch = Vec::new();
    events.take(&mut batch);
    assert_eq!(batch.len(), 2);
    assert!(!events.rest());
    events.push(Event::Output(id));
    assert_eq!(events.doorbell.rings(), 1);
    events.ring_again();
    assert_eq!(events.doorbell.rings(), 1);
}

#[test]
fn the_log_is_bounded() {
    for len in [0, 1, 4096] {
        let events = Events::new(0).unwrap();
        let each = len + size_of::<LogLine>();
        assert_eq!(fill(&events, len), LIMIT / each + 1);
        assert_eq!(events.try_log(line("no more")).unwrap_err().text, "no more");
        // Messages are bounded elsewhere.
        let [id] = ids();
        events.push(Event::Output(id));
        assert_eq!(lines(&events).len(), LIMIT / each + 1);
        assert!(matches!(taken(&events).last(), Some(Event::Output(_))));
        assert_eq!(fill(&events, len), LIMIT / each + 1);
    }
}

#[test]
fn a_writer_waits_while_the_log_is_full() {
    let events = Arc::new(Events::new(0).unwrap());
    let full = fill(&events, 4096);
    let writer = {
        let events = Arc::clone(&events);
        thread::spawn(move || events.log(line("waited")))
    };
    thread::sleep(std::time::Duration::from_millis(50));
    assert!(!writer.is_finished());
    events.hush();
    assert_eq!(lines(&events).len(), full);
    writer.join().unwrap();
    assert!(events.rest(), "there is something to take");
    assert_eq!(lines(&events), ["waited"]);
}

#[test]
fn nobody_waits_while_the_event_loop_is_in_an_application() {
    let events = Arc::new(Events::new(0).unwrap());
    let full = fill(&events, 4096);
    let writer = {
        let events = Arc::clone(&events);
        thread::spawn(move || events.log(line("waited")))
    };
    until(|| events.lines.is_waited_for());
    events.while_busy(|| {
        assert!(events.is_busy());
        writer.join().unwrap();
        events.try_log(line("its own")).unwrap();
        events.log(line("another's"));
    });
    assert!(!events.is_busy());
    assert_eq!(events.try_log(line("no more")).unwrap_err().text, "no more");
    assert_eq!(lines(&events)[full..], ["waited", "its own", "another's"]);
}

#[test]
fn the_log_of_a_call_is_bounded() {
    let events = Events::new(0).unwrap();
    let each = 4096 + size_of::<LogLine>();
    events.while_busy(|| assert_eq!(fill(&events, 4096), BUSY_LIMIT / each + 1));
    lines(&events);
    assert_eq!(fill(&events, 4096), LIMIT / each + 1);
}

#[test]
fn a_closed_log_keeps_nobody_waiting_and_nothing() {
    let events = Arc::new(Events::new(0).unwrap());
    let full = fill(&events, 4096);
    let writer = {
        let events = Arc::clone(&events);
        thread::spawn(move || events.log(line("waited")))
    };
    thread::sleep(std::time::Duration::from_millis(20));
    events.close();
    writer.join().unwrap();
    events.try_log(line("late")).unwrap();
    events.log(line("later"));
    assert_eq!(lines(&events).len(), full);
    assert!(lines(&events).is_empty());
}
