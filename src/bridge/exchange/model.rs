use bytes::Bytes;
use loom::thread;

use super::*;
use crate::bridge::callbacks::Callback;
use crate::bridge::config::ExecutorId;
use crate::bridge::executor::asyncio::Message;
use crate::bridge::fixture::{
    check, exchange_at, exchanges, ids, location, loop_exchanges, loop_worker, worker,
};
use crate::bridge::pipe::input::Read;
use crate::bridge::pipe::output::Closed;
use crate::bridge::tasks::Task;

#[test]
fn either_the_thread_or_the_event_loop_has_it() {
    check(3, || {
        let [exchange] = exchanges(&worker(1, 0));
        let thread = {
            let exchange = Arc::clone(&exchange);
            thread::spawn(move || {
                let started = exchange.start(7);
                // Who reads a thread's ident there has it of this request.
                assert_eq!(exchange.thread(), started.then_some(7));
                started
            })
        };
        let ident = exchange.thread();
        assert!(ident.is_none_or(|ident| ident == 7));
        let expired = exchange.expire();
        let started = thread.join().unwrap();
        assert!(started != expired, "one of them, and not both");
        assert!(ident.is_none() || started);
    });
}

#[test]
fn what_comes_after_a_response_is_counted_before_it_can_be_done() {
    check(3, || {
        let worker = worker(1, 0);
        let [exchange] = exchanges(&worker);
        assert!(exchange.start(7));
        // A thread of the application's own asks while the request's thread leaves.
        let asking = {
            let exchange = Arc::clone(&exchange);
            thread::spawn(move || exchange.after(Callback::new(|| ())).is_some())
        };
        exchange.over();
        let after = exchange.done().after;
        let taken = !after.is_empty();
        after.into_iter().for_each(Callback::call);
        if taken {
            exchange.followed_up();
            assert_eq!(worker.follow_ups(), 0);
        }
        let refused = asking.join().unwrap();
        assert!(refused != taken, "one of them calls it, and not both");
        assert_eq!(worker.follow_ups(), 0);
    });
}

#[test]
fn a_request_that_is_closed_keeps_no_thread_waiting() {
    check(2, || {
        let worker = worker(1, 0);
        let [exchange] = exchanges(&worker);
        assert!(exchange.start(7));
        let thread = {
            let exchange = Arc::clone(&exchange);
            thread::spawn(move || {
                let send = |text: &'static str| {
                    exchange.push(None, Bytes::from_static(text.as_bytes()), None, |wait| wait())
                };
                send("abcd").and_then(|_| send("ef"))
            })
        };
        exchange.close(InputError::ClientGone);
        assert_eq!(thread.join().unwrap().unwrap_err(), Closed);
    });
}

/// A task starts as its client leaves.
#[test]
fn a_task_is_resumed_for_what_it_did_not_see_as_it_began() {
    check(3, || {
        let worker = loop_worker();
        let [exchange] = loop_exchanges(&worker, [0]);
        let thread = {
            let exchange = Arc::clone(&exchange);
            thread::spawn(move || exchange.start(7).then(|| exchange.gone()))
        };
        exchange.set_gone(Gone::Client);
        exchange.close(InputError::ClientGone);
        let mut resumed = Vec::new();
        worker.loops[0].take(&mut resumed);
        match thread.join().unwrap() {
            Some(Some(gone)) => assert_eq!(gone, Gone::Client),
            Some(None) => assert!(matches!(resumed[..], [Message::Resume(_)])),
            None => assert!(resumed.is_empty(), "it never runs"),
        }
    });
}

/// The attendant has a task cancelled that is beyond its deadline: what that sends is refused from then on.
#[test]
fn a_task_is_cancelled_when_its_request_is_gone() {
    check(3, || {
        let worker = loop_worker();
        let [exchange] = loop_exchanges(&worker, [0]);
        assert!(exchange.start(7));
        let attendant = {
            let worker = Arc::clone(&worker);
            thread::spawn(move || match worker.tasks.next() {
                Task::LogStack(exchange) => {
                    assert!(exchange.set_overdue().is_none(), "there is no pool");
                    exchange.gone()
                }
                other => panic!("{other:?}"),
            })
        };
        exchange.set_gone(Gone::TimedOut);
        assert_eq!(attendant.join().unwrap(), Some(Gone::TimedOut));
    });
}

#[test]
fn a_task_whose_request_is_closed_is_resumed_if_it_waits() {
    check(3, || {
        let worker = loop_worker();
        let [id] = ids();
        let location = location(ExecutorId::Loop(0));
        let exchange = exchange_at(location, &worker, id, Input::streamed(false));
        assert!(exchange.start(7));
        let thread = {
            let exchange = Arc::clone(&exchange);
            thread::spawn(move || {
                let read = exchange.poll_read(9, |wait| wait());
                matches!(read, Ok(Read::Wait)) || !exchange.poll_closed()
            })
        };
        exchange.close(InputError::Answered);
        let waits = thread.join().unwrap();
        let mut resumed = Vec::new();
        worker.loops[0].take(&mut resumed);
        assert_eq!(waits, !resumed.is_empty());
    });
}

/// A stuck thread comes back as it is written off: its pool must not count it twice, nor never again.
#[test]
fn a_thread_is_written_off_exactly_if_it_finds_out() {
    check(3, || {
        let [exchange] = exchanges(&worker(1, 0));
        assert!(exchange.start(7));
        let attendant = {
            let exchange = Arc::clone(&exchange);
            thread::spawn(move || {
                let written_off = exchange.write_off();
                assert!(!written_off || exchange.thread().is_none(), "it is not interrupted again");
                written_off
            })
        };
        drop(exchange.done());
        let found = exchange.is_written_off();
        assert_eq!(attendant.join().unwrap(), found);
        assert!(exchange.is_done());
        assert!(!exchange.write_off());
    });
}

/// The deadline of a request that is written off as it ends counts once.
#[test]
fn what_is_overdue_is_counted_off_once() {
    check(2, || {
        let worker = worker(1, 0);
        let [exchange, second] = exchanges(&worker);
        assert!(exchange.start(7) && second.start(8));
        assert!(exchange.set_overdue().is_some(), "that is the pool's only thread");
        let attendant = {
            let exchange = Arc::clone(&exchange);
            thread::spawn(move || {
                if exchange.write_off() {
                    exchange.end_overdue();
                }
            })
        };
        drop(exchange.done());
        attendant.join().unwrap();
        assert!(second.set_overdue().is_some(), "it is the only one again");
    });
}
