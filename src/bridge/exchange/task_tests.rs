//! Exchanges whose application is a task of a loop.

use std::thread;
use std::time::Duration;

use super::*;
use crate::bridge::config::{ExecutorId, LocationConfig};
use crate::bridge::executor::asyncio::Message;
use crate::bridge::fixture::{exchange_at, ids, location, loop_exchanges, loop_worker};
use crate::bridge::id::RequestId;
use crate::bridge::pipe::input::Read;
use crate::bridge::pipe::output::Closed;
use crate::bridge::tasks::Task;

fn not_detached(_: &mut (dyn FnMut() + Send)) {
    panic!("there is no file");
}

/// A request whose task runs, with a body that comes bit by bit.
fn running(worker: &Arc<Worker>, config: LocationConfig) -> Arc<Exchange> {
    let [id] = ids();
    let exchange = exchange_at(config, worker, id, Input::streamed(false));
    assert!(exchange.start(7));
    exchange
}

fn config() -> LocationConfig {
    let timeout = Some(Duration::from_secs(9));
    LocationConfig { timeout, ..location(ExecutorId::Loop(0)) }
}

/// The tasks that the loop's thread has to look at.
fn resumed(worker: &Worker) -> Vec<RequestId> {
    let mut batch = Vec::new();
    worker.loops[0].take(&mut batch);
    let ids = batch.iter().map(|message| match message {
        Message::Resume(exchange) => exchange.id,
        message => panic!("{message:?}"),
    });
    ids.collect()
}

fn elapsed(exchange: &Exchange) -> u64 {
    match exchange.progress() {
        Progress::Running(milliseconds) => milliseconds,
        progress => panic!("{progress:?}"),
    }
}

#[test]
fn a_task_is_resumed_for_what_it_waits_for() {
    let worker = loop_worker();
    let exchange = running(&worker, config());
    let told = || resumed(&worker).len();
    assert!(matches!(exchange.poll_read(9, not_detached), Ok(Read::Wait)));
    exchange.notify_input();
    assert_eq!(told(), 0);
    assert!(exchange.push_input("ab".into()));
    exchange.notify_input();
    assert_eq!(told(), 1);
    assert!(matches!(exchange.poll_read(9, not_detached), Ok(Read::Data(bytes)) if bytes == "ab"));
    assert!(matches!(exchange.poll_read(9, not_detached), Ok(Read::Wait)));
    exchange.end_input();
    assert_eq!(told(), 1);
    assert!(matches!(exchange.poll_read(9, not_detached), Ok(Read::End)));

    let sent = exchange.push(None, "abcd".into(), None, not_detached).unwrap();
    assert!(sent.rest.is_none());
    let sent = exchange.push(None, "efgh".into(), None, not_detached).unwrap();
    assert_eq!(told(), 0);
    exchange.drained(4, 0, false);
    assert_eq!(told(), 1);
    assert!(exchange.push_rest(sent.rest.unwrap(), not_detached).unwrap().rest.is_none());
    exchange.drained(4, 0, false);
    assert!(!exchange.poll_closed());
    exchange.close(InputError::Answered);
    assert_eq!(told(), 1);
    assert!(exchange.poll_closed());
    let late = exchange.push(None, "ij".into(), None, not_detached);
    assert_eq!(late.unwrap_err(), Closed);
}

#[test]
fn a_running_task_is_resumed_when_its_client_leaves_and_nobody_is_interrupted() {
    for client_abort in [ClientAbort::Ignore, ClientAbort::Notify, ClientAbort::Cancel] {
        let worker = loop_worker();
        let told = running(&worker, LocationConfig { client_abort, ..config() });
        let [waiting, done] = loop_exchanges(&worker, [0, 0]);
        assert!(done.start(7));
        assert!(done.done().is_nothing());
        for exchange in [&told, &waiting, &done] {
            exchange.set_gone(Gone::Client);
        }
        assert_eq!(resumed(&worker), [told.id]);
        assert_eq!((told.gone(), told.is_overdue()), (Some(Gone::Client), false));
        worker.tasks.push(Task::Stop);
        assert!(matches!(worker.tasks.next(), Task::Stop), "an attendant is not needed for that");
    }
}

#[test]
fn a_task_learns_that_its_deadline_has_passed_whether_its_client_has_left_or_not() {
    let worker = loop_worker();
    let timed_out = running(&worker, config());
    timed_out.set_gone(Gone::TimedOut);
    assert!(timed_out.is_overdue());
    assert_eq!(resumed(&worker), [timed_out.id]);

    let left = running(&worker, config());
    left.set_gone(Gone::Client);
    assert_eq!(resumed(&worker), [left.id]);
    assert!(!left.is_overdue());
    assert!(left.set_overdue().is_none(), "there is no pool");
    assert!(left.is_overdue());
    assert_eq!(left.gone(), Some(Gone::Client));
    assert_eq!(resumed(&worker), [left.id]);
    assert!(left.set_overdue().is_none());
    assert!(resumed(&worker).is_empty(), "once");

    let answered = running(&worker, config());
    answered.set_gone(Gone::Answered);
    assert!(!answered.is_overdue());
}

#[test]
fn the_deadline_of_a_task_begins_again() {
    let worker = loop_worker();
    let exchange = running(&worker, config());
    // It has waited for its client before, which must not count twice.
    assert!(matches!(exchange.poll_read(9, not_detached), Ok(Read::Wait)));
    thread::sleep(Duration::from_millis(60));
    exchange.stop_reading();
    thread::sleep(Duration::from_millis(60));
    let before = elapsed(&exchange);
    assert!((50..110).contains(&before), "{before}");
    exchange.touch();
    let begun = worker.now();
    assert_eq!(elapsed(&exchange), worker.now() - begun);
    thread::sleep(Duration::from_millis(60));
    let (after, since) = (elapsed(&exchange), worker.now() - begun);
    assert!(after + 5 >= since && after >= 50, "{after} of {since}");
    assert!(exchange.time_left().is_some());

    exchange.lift_deadline();
    assert!(exchange.time_left().is_none());
    exchange.touch();
    assert!(exchange.time_left().is_none(), "it does not come back");
    assert_eq!(elapsed(&exchange), 0);
}

#[test]
fn the_clock_of_a_task_stands_still_while_it_waits_for_its_client() {
    let worker = loop_worker();
    let exchange = running(&worker, config());
    assert!(!exchange.client_wait.is_on());
    assert!(matches!(exchange.poll_read(9, not_detached), Ok(Read::Wait)));
    assert!(exchange.client_wait.is_on());
    exchange.stop_reading();
    exchange.stop_reading();
    assert!(!exchange.client_wait.is_on());
    let send = |text: &'static str| exchange.push(None, text.into(), None, not_detached);
    assert!(send("abcd").unwrap().rest.is_none());
    let rest = send("efgh").unwrap().rest.unwrap();
    assert!(matches!(exchange.poll_read(9, not_detached), Ok(Read::Wait)));
    exchange.push_input("ab".into());
    assert!(matches!(exchange.poll_read(9, not_detached), Ok(Read::Data(_))));
    assert!(exchange.client_wait.is_on(), "it still waits for room");
    exchange.drained(4, 0, false);
    assert!(exchange.push_rest(rest, not_detached).unwrap().rest.is_none());
    assert!(!exchange.client_wait.is_on());
    let rest = send("ijkl").unwrap().rest;
    assert!(rest.is_some() && exchange.client_wait.is_on());
    exchange.stop_pushing();
    assert!(!exchange.client_wait.is_on());
    assert!(send("mnop").unwrap().rest.is_some());
    exchange.close(InputError::ClientGone);
    exchange.stop_pushing();
    assert!(!exchange.client_wait.is_on());
}

#[test]
fn a_body_that_is_all_here_is_not_waited_for() {
    let worker = loop_worker();
    let [exchange] = loop_exchanges(&worker, [0]);
    assert!(exchange.start(7));
    assert!(matches!(exchange.poll_read(9, not_detached), Ok(Read::End)));
    assert!(!exchange.client_wait.is_on());
}

#[test]
fn the_number_of_a_call_is_the_loops() {
    let worker = loop_worker();
    let [exchange] = loop_exchanges(&worker, [0]);
    assert_eq!((exchange.call(), exchange.take_call()), (None, None));
    exchange.set_call(0);
    assert_eq!(exchange.call(), Some(0));
    assert_eq!((exchange.take_call(), exchange.call()), (Some(0), None));
}
