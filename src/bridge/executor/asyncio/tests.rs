use std::thread;

use super::*;
use crate::bridge::baton::Baton;
use crate::bridge::config::{AppConfig, ExecutorId, LocationConfig};
use crate::bridge::exchange::{Exchange, Worker};
use crate::bridge::fixture::{exchange_at, ids, location, loop_exchanges, loop_worker};
use crate::bridge::id::RequestId;
use crate::bridge::pipe::input::Input;
use crate::metrics::board::Meters;

type Loop = super::Loop<Arc<Exchange>>;

/// What the loop's thread takes, each with its letter.
#[derive(Debug, PartialEq)]
enum Taken {
    Start(RequestId),
    Resume(RequestId),
    Close,
}

use Taken::{Resume, Start};

fn the(worker: &Worker) -> &Loop {
    &worker.loops[0]
}

/// A turn of the loop, which has heard the bell or not.
fn taken(own: &Loop) -> Vec<Taken> {
    let mut batch = Vec::new();
    own.hush();
    own.take(&mut batch);
    assert!(!own.rest());
    let messages = batch.into_iter().map(|message| match message {
        Message::Start(job) => Start(job.id),
        Message::Resume(job) => Resume(job.id),
        Message::Close => Taken::Close,
    });
    messages.collect()
}

#[test]
fn what_is_submitted_in_a_turn_is_rung_for_once_at_its_end() {
    let worker = loop_worker();
    let own = the(&worker);
    let [first, second] = loop_exchanges(&worker, [0, 0]);
    for _ in 0..2 {
        own.submit(first.clone()).unwrap();
        own.submit(second.clone()).unwrap();
        assert_eq!(own.doorbell.rings(), 0, "the turn goes on");
        assert!(!own.look());
        assert!(!own.look());
        assert_eq!(own.doorbell.rings(), 1);
        assert_eq!(taken(own), [Start(first.id), Start(second.id)]);
    }
    assert!(!own.look());
    assert_eq!(own.doorbell.rings(), 0, "there is nothing to look at");
}

#[test]
fn a_thread_that_is_awake_is_not_rung_for() {
    let worker = loop_worker();
    let own = the(&worker);
    let [first, second] = loop_exchanges(&worker, [0, 0]);
    own.submit_now(first.clone()).unwrap();
    own.submit_now(second.clone()).unwrap();
    own.resume(first.clone(), true);
    assert_eq!(own.doorbell.rings(), 1);
    own.hush();
    let mut batch = Vec::new();
    own.take(&mut batch);
    assert_eq!(batch.len(), 3);
    own.resume(second.clone(), true);
    assert_eq!(own.doorbell.rings(), 0);
    assert!(own.rest(), "it has to look before it rests");
    own.take(&mut batch);
    assert!(matches!(&batch[3..], [Message::Resume(job)] if job.id == second.id));
    assert!(!own.rest());
    own.resume(second, true);
    assert_eq!(own.doorbell.rings(), 1);
}

#[test]
fn who_took_all_before_the_turns_end_is_not_rung_for() {
    let worker = loop_worker();
    let own = the(&worker);
    let [job] = loop_exchanges(&worker, [0]);
    own.submit(job.clone()).unwrap();
    assert_eq!(taken(own), [Start(job.id)]);
    assert!(!own.look());
    assert_eq!(own.doorbell.rings(), 0);
}

#[test]
fn in_a_turn_of_the_event_loop_tasks_are_resumed_at_its_end() {
    let worker = loop_worker();
    let own = the(&worker);
    let [first, second] = loop_exchanges(&worker, [0, 0]);
    worker.begin_turn();
    first.resume();
    second.resume();
    assert_eq!(own.doorbell.rings(), 0);
    worker.end_turn();
    assert_eq!(own.doorbell.rings(), 1);
    assert_eq!(taken(own), [Resume(first.id), Resume(second.id)]);
    first.resume();
    assert_eq!(own.doorbell.rings(), 1, "no end of a turn is to come");
}

#[test]
fn a_location_has_no_more_in_flight_than_it_may() {
    let worker = loop_worker();
    let own = the(&worker);
    let [first, second, third, fourth, other] = loop_exchanges(&worker, [2, 2, 2, 2, 0]);
    for job in [&first, &second, &third, &fourth, &other] {
        own.submit(job.clone()).unwrap();
    }
    assert!(!own.look());
    assert_eq!(taken(own), [Start(first.id), Start(second.id), Start(other.id)]);
    assert_eq!(own.delay(&third), "no other of its location ended (asgi_max_requests_in_flight)");
    own.finished(&other);
    assert_eq!(own.doorbell.rings(), 0, "that is not of their location");
    for (ended, next) in [(&second, &third), (&first, &fourth)] {
        own.finished(ended);
        assert_eq!(own.doorbell.rings(), 1);
        assert_eq!(taken(own), [Start(next.id)]);
    }
    own.finished(&third);
    own.finished(&fourth);
    // Both places are free again, and no more.
    for job in [&first, &second, &third] {
        own.submit(job.clone()).unwrap();
    }
    assert_eq!(taken(own), [Start(first.id), Start(second.id)]);
    assert_eq!(own.delay(&first), "its event loop, busy or blocked, did not take it");
}

#[test]
fn what_is_forgotten_makes_room_if_it_was_queued() {
    let worker = loop_worker();
    let own = the(&worker);
    let [first, second, third, fourth] = loop_exchanges(&worker, [1, 1, 1, 1]);
    for job in [&first, &second, &third, &fourth] {
        own.submit(job.clone()).unwrap();
    }
    own.forget(&second);
    own.forget(&first);
    assert_eq!(own.doorbell.rings(), 1);
    assert_eq!(taken(own), [Start(third.id)]);
    // It has been taken, and comes to its end by the loop's thread.
    own.forget(&third);
    assert!(taken(own).is_empty());
    own.finished(&third);
    assert_eq!(taken(own), [Start(fourth.id)]);
    for job in [first, second, third, fourth] {
        assert_eq!(Arc::strong_count(&job), 1);
    }
}

#[test]
fn a_task_that_is_to_be_resumed_is_not_forgotten() {
    let worker = loop_worker();
    let own = the(&worker);
    let [job] = loop_exchanges(&worker, [1]);
    own.submit(job.clone()).unwrap();
    assert_eq!(taken(own), [Start(job.id)]);
    own.resume(job.clone(), true);
    own.forget(&job);
    assert_eq!(taken(own), [Resume(job.id)]);
}

#[test]
fn so_many_wait_for_the_loop_and_in_each_location() {
    let worker = loop_worker();
    let own = the(&worker);
    let jobs = loop_exchanges(&worker, [0; MAX_QUEUE + 1]);
    let (last, queued) = jobs.split_last().unwrap();
    for job in queued {
        own.submit(job.clone()).unwrap();
    }
    assert!(own.submit(last.clone()).is_err());
    assert_eq!(own.refusal(Some(last)), Refusal::LoopFull);
    assert_eq!(own.refusal(None), Refusal::GateFull);
    own.forget(&queued[0]);
    own.submit(last.clone()).unwrap();
    assert_eq!(taken(own).len(), MAX_QUEUE);
    // What has been taken does not count.
    own.submit_now(last.clone()).unwrap();

    let jobs = loop_exchanges(&worker, [1; MAX_QUEUE + 2]);
    let (last, waiting) = jobs.split_last().unwrap();
    for job in waiting {
        own.submit(job.clone()).unwrap();
    }
    assert!(own.submit(last.clone()).is_err());
    assert_eq!(own.refusal(Some(last)), Refusal::TooManyInFlight);
    // Other locations have their own queue.
    let [other] = loop_exchanges(&worker, [2]);
    own.submit(other).unwrap();
}

#[test]
fn tasks_are_counted_until_they_have_ended() {
    let worker = loop_worker();
    let own = the(&worker);
    let [first, second] = loop_exchanges(&worker, [0, 0]);
    let [id] = ids();
    let at_other = LocationConfig { app: 1, ..location(ExecutorId::Loop(0)) };
    let other = exchange_at(at_other, &worker, id, Input::buffered([].into()));
    let counts = || (worker.running_of(0), worker.running_of(1), worker.running());
    for job in [&first, &second, &other] {
        own.submit(job.clone()).unwrap();
    }
    assert_eq!(counts(), (0, 0, 0), "they have not been taken");
    own.forget(&second);
    assert_eq!(taken(own).len(), 2);
    assert_eq!(counts(), (1, 1, 2));
    assert!(first.start(7));
    assert!(first.done().is_nothing());
    assert_eq!(counts(), (1, 1, 2));
    own.finished(&first);
    assert_eq!(counts(), (0, 1, 1));
    own.finished(&other);
    assert_eq!(counts(), (0, 0, 0));
}

#[test]
fn a_loop_that_is_closed_gives_back_what_waits_and_tells_its_thread_once() {
    let worker = loop_worker();
    let own = the(&worker);
    let [runs, queued, waits, late] = loop_exchanges(&worker, [1, 0, 1, 0]);
    own.submit(runs.clone()).unwrap();
    assert_eq!(taken(own), [Start(runs.id)]);
    own.submit(queued.clone()).unwrap();
    own.submit(waits.clone()).unwrap();
    own.resume(runs.clone(), true);
    own.started();
    let given_back: Vec<_> = own.close().iter().map(|job| job.id).collect();
    assert_eq!(given_back, [queued.id, waits.id]);
    assert!(own.close().is_empty());
    assert_eq!(own.doorbell.rings(), 1);
    assert!(own.submit(late.clone()).is_err());
    assert_eq!(own.refusal(Some(&late)), Refusal::LoopEnded);
    assert_eq!(taken(own), [Resume(runs.id), Taken::Close]);
    // Its tasks are told of their clients until the thread leaves.
    own.resume(runs.clone(), true);
    own.finished(&runs);
    assert_eq!(taken(own), [Resume(runs.id)]);
}

#[test]
fn a_thread_that_leaves_its_loop_gives_back_what_it_has_not_taken() {
    let worker = loop_worker();
    let own = the(&worker);
    let [runs, queued, waits] = loop_exchanges(&worker, [1, 0, 1]);
    own.started();
    own.submit(runs.clone()).unwrap();
    assert_eq!(taken(own), [Start(runs.id)]);
    own.submit(queued.clone()).unwrap();
    own.submit(waits.clone()).unwrap();
    own.resume(runs.clone(), true);
    let given_back: Vec<_> = own.ended().iter().map(|job| job.id).collect();
    assert_eq!(given_back, [queued.id, waits.id]);
    assert!(own.submit(queued.clone()).is_err());
    own.resume(runs.clone(), true);
    assert!(own.close().is_empty());
    for job in [runs, queued, waits] {
        assert_eq!(Arc::strong_count(&job), 1);
    }
}

#[test]
fn the_end_of_a_thread_that_has_been_started_is_waited_for() {
    let worker = loop_worker();
    assert!(worker.wait_ended(Duration::ZERO), "it has no thread");
    the(&worker).started();
    assert!(!worker.wait_ended(Duration::from_millis(10)));
    let thread = {
        let worker = Arc::clone(&worker);
        thread::spawn(move || {
            thread::sleep(Duration::from_millis(20));
            assert!(the(&worker).ended().is_empty());
        })
    };
    let begin = Instant::now();
    assert!(worker.wait_ended(Duration::from_secs(20)));
    assert!(begin.elapsed() < Duration::from_secs(10), "it is told");
    thread.join().unwrap();
    assert!(worker.wait_ended(Duration::ZERO));
}

#[test]
fn nothing_comes_after_a_response() {
    let worker = loop_worker();
    let [job] = loop_exchanges(&worker, [0]);
    assert!(matches!(the(&worker).submit_again(job.clone()), Submitted::Queued));
    assert!(taken(the(&worker)).is_empty());
    assert_eq!(Arc::strong_count(&job), 1);
}

#[test]
fn each_loop_has_a_bell_of_its_own_beside_the_event_loops() {
    let mut config = loop_worker().config.clone();
    config.loops.push(config.loops[0].clone());
    config.apps = Vec::<AppConfig>::new();
    let marks = crate::bridge::marks::Marks::take_over(None, 0);
    let worker = Worker::new(config, marks, Baton::new(None, 0), Meters::default(), 500).unwrap();
    let mut numbers = vec![worker.events.fd(), worker.loops[0].fd(), worker.loops[1].fd()];
    numbers.sort_unstable();
    numbers.dedup();
    assert!(numbers.len() == 3 && numbers[0] >= 500, "{numbers:?}");
}
