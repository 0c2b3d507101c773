use std::thread;
use std::time::Duration;

use super::*;
use crate::bridge::callbacks::Callback;
use crate::bridge::executor::pool::{Next, Turn};
use crate::bridge::fixture::{exchange, exchanges, ids, until, worker};
use crate::bridge::pipe::input::Read;
use crate::bridge::pipe::output::Closed;
use crate::bridge::pipe::output::parts::{End, SHARED_FROM};
use crate::bridge::tasks::Task;

fn detached(wait: &mut (dyn FnMut() + Send)) {
    wait();
}

fn not_detached(_: &mut (dyn FnMut() + Send)) {
    panic!("there is nothing to wait for");
}

fn events(worker: &Worker) -> Vec<Event<Exchange>> {
    let mut batch = Vec::new();
    worker.events.take(&mut batch);
    batch
}

#[test]
fn a_request_is_started_or_expires() {
    let [started, expired] = exchanges(&worker(1, 0));
    assert_eq!((started.progress(), started.thread()), (Progress::Waiting, None));
    assert!(started.start(7));
    assert!(!started.expire());
    assert!(matches!(started.progress(), Progress::Running(_)));
    assert_eq!(started.thread(), Some(7));
    assert!(started.done().is_nothing());
    assert_eq!((started.progress(), started.thread()), (Progress::Done, None));

    assert!(expired.expire());
    assert!(!expired.expire());
    assert!(!expired.start(7));
    assert_eq!((expired.progress(), expired.thread()), (Progress::Done, None));
}

#[test]
fn a_running_application_is_told_that_its_client_is_gone() {
    let worker = worker(1, 0);
    let [told, not_asked, done] = exchanges(&worker);
    for exchange in [&told, &not_asked, &done] {
        assert!(exchange.start(7));
    }
    for exchange in [&told, &done] {
        assert!(exchange.on_gone(Callback::new(|| ())).is_none());
    }
    assert!(done.done().is_nothing());
    for exchange in [&told, &not_asked, &done] {
        exchange.set_gone(Gone::Client);
        assert_eq!(exchange.gone(), Some(Gone::Client));
    }
    worker.tasks.push(Task::Stop);
    let Task::Gone(exchange) = worker.tasks.next() else { panic!("nobody is told") };
    assert_eq!((exchange.id, exchange.take_on_gone().len()), (told.id, 1));
    assert!(matches!(worker.tasks.next(), Task::Stop));
}

#[test]
fn what_comes_after_a_response_is_counted_until_it_is_done() {
    let worker = worker(1, 0);
    let [slow_client, slow_thread] = exchanges(&worker);
    for exchange in [&slow_client, &slow_thread] {
        assert!(exchange.start(7));
        assert!(exchange.after(Callback::new(|| ())).is_none());
        assert!(exchange.after(Callback::new(|| ())).is_none());
    }
    assert_eq!(worker.follow_ups(), 2);

    slow_thread.over();
    assert_eq!(slow_thread.done().after.len(), 2);
    slow_thread.followed_up();
    assert_eq!(worker.follow_ups(), 1);

    assert!(slow_client.done().is_nothing());
    slow_client.over();
    let Next::Run { job: exchange, .. } = worker.pools[0].take(&mut Turn::default()) else {
        panic!("the pool has nothing to do")
    };
    assert!(exchange.is_done());
    assert_eq!((exchange.id, exchange.take_after().len()), (slow_client.id, 2));
    exchange.followed_up();
    assert_eq!(worker.follow_ups(), 0);
}

#[test]
fn a_request_that_is_closed_runs_no_more() {
    let worker = worker(1, 0);
    let [waiting, running] = ids().map(|id| exchange(&worker, id, Input::streamed(false)));
    waiting.close(InputError::Answered);
    assert!(!waiting.start(7));
    assert!(running.start(7));
    running.close(InputError::ClientGone);
    assert!(matches!(running.progress(), Progress::Running(_)));
    assert_eq!(running.read_waiting(9, not_detached).unwrap_err(), InputError::ClientGone);
    assert_eq!(running.push(None, "x".into(), None, not_detached).unwrap_err(), Closed);
    assert_eq!(running.end(None, End::Failed).unwrap_err(), Closed);
    assert!(events(&worker).is_empty());
}

#[test]
fn a_request_that_is_closed_leaves_its_queue() {
    let worker = worker(1, 9);
    let [at_the_gate, in_the_pool, taken] = exchanges(&worker);
    worker.submit(Arc::clone(&at_the_gate)).unwrap();
    at_the_gate.close(InputError::ClientGone);
    assert!(worker.open_gate(0).is_empty());
    for exchange in [&taken, &in_the_pool] {
        worker.submit(Arc::clone(exchange)).unwrap();
    }
    let held = Arc::strong_count(&taken);
    assert!(taken.start(7));
    taken.close(InputError::ClientGone);
    in_the_pool.close(InputError::ClientGone);
    assert_eq!((Arc::strong_count(&taken), Arc::strong_count(&in_the_pool)), (held, 1));
}

#[test]
fn blocks_that_are_dropped_with_a_request_are_collected() {
    let worker = worker(1, 9);
    let [small, shared] = exchanges(&worker);
    for (exchange, len) in [(&small, SHARED_FROM - 1), (&shared, SHARED_FROM)] {
        assert!(exchange.start(7));
        exchange.push(None, vec![0; len].into(), None, not_detached).unwrap();
    }
    small.close(InputError::ClientGone);
    worker.stop();
    assert!(matches!(worker.tasks.next(), Task::Stop));
    shared.close(InputError::ClientGone);
    worker.stop();
    assert!(matches!(worker.tasks.next(), Task::Collect));
    assert!(matches!(worker.tasks.next(), Task::Stop));
}

#[test]
fn the_event_loop_is_told_of_output_and_asked_for_the_body() {
    let worker = worker(1, 0);
    let [id] = ids();
    let exchange = exchange(&worker, id, Input::streamed(true));
    assert!(exchange.start(7));
    exchange.push(None, "ab".into(), None, not_detached).unwrap();
    exchange.end(None, End::Complete).unwrap();
    assert!(matches!(events(&worker)[..], [Event::Output(told)] if told == id));
    let thread = {
        let exchange = Arc::clone(&exchange);
        thread::spawn(move || exchange.read_waiting(9, detached))
    };
    let mut asked = Vec::new();
    until(|| {
        asked.append(&mut events(&worker));
        !asked.is_empty()
    });
    assert!(matches!(asked[..], [Event::ReadBody(told)] if told == id));
    exchange.push_input("body".into());
    exchange.notify_input();
    assert!(matches!(thread.join().unwrap(), Ok(Read::Data(bytes)) if bytes == "body"));
}

#[test]
fn what_need_not_wait_is_not_detached() {
    let worker = worker(1, 0);
    let [id] = ids();
    let exchange = exchange(&worker, id, Input::streamed(false));
    assert!(exchange.start(7));
    exchange.push_input("ab".into());
    exchange.notify_input();
    assert!(matches!(exchange.read_waiting(9, not_detached), Ok(Read::Data(_))));
    exchange.end_input();
    assert!(matches!(exchange.read_waiting(9, not_detached), Ok(Read::End)));
}

fn running(exchange: &Arc<Exchange>) -> u64 {
    match exchange.progress() {
        Progress::Running(milliseconds) => milliseconds,
        progress => panic!("{progress:?}"),
    }
}

#[test]
fn the_clock_stands_still_while_the_client_is_waited_for() {
    let worker = worker(1, 0);
    let [id] = ids();
    let exchange = exchange(&worker, id, Input::streamed(false));
    assert!(exchange.start(7));
    let (begin, before) = (worker.now(), running(&exchange));
    // The buffer is four bytes, and nobody takes them: the second block waits.
    let sender = {
        let exchange = Arc::clone(&exchange);
        thread::spawn(move || {
            exchange.push(None, "abcd".into(), None, not_detached).unwrap();
            exchange.push(None, "ef".into(), None, detached).unwrap();
        })
    };
    until(|| exchange.client_wait.is_on());
    let waiting = running(&exchange);
    thread::sleep(Duration::from_millis(100));
    assert!(running(&exchange) <= waiting + 1);
    exchange.drained(4, 0, false);
    sender.join().unwrap();
    let reader = {
        let exchange = Arc::clone(&exchange);
        thread::spawn(move || drop(exchange.read_waiting(9, detached)))
    };
    until(|| exchange.client_wait.is_on());
    thread::sleep(Duration::from_millis(100));
    exchange.end_input();
    reader.join().unwrap();
    assert!(running(&exchange) + 200 <= before + (worker.now() - begin) + 2);
    let after = running(&exchange);
    thread::sleep(Duration::from_millis(20));
    assert!(running(&exchange) >= after + 20 - 1, "it runs again");
}

#[test]
fn a_pool_is_overdue_with_its_last_thread() {
    let worker = worker(2, 0);
    let [first, second] = exchanges(&worker);
    for exchange in [&first, &second] {
        assert!(exchange.start(7));
    }
    for _ in 0..2 {
        assert!(first.set_overdue().is_none());
    }
    assert!(second.set_overdue().is_some());
    assert!(second.done().is_nothing());
    let [third] = exchanges(&worker);
    assert!(third.start(7));
    assert!(third.set_overdue().is_some(), "it is said again");
    assert!(second.set_overdue().is_none(), "it has ended");
    assert!(third.done().is_nothing());
    assert!(first.done().is_nothing());
    assert!(third.set_overdue().is_none());
}
