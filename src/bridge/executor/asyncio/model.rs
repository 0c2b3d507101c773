use loom::thread;

use super::*;
use crate::bridge::exchange::{Exchange, Worker};
use crate::bridge::fixture::{check, loop_exchanges, loop_worker};
use crate::bridge::id::RequestId;

/// The loop's thread: deals with each message by `act`, until that says that it was the last.
fn serve(worker: &Worker, mut act: impl FnMut(Message<Arc<Exchange>>) -> bool) {
    let own = &worker.loops[0];
    let (mut batch, mut last) = (Vec::new(), false);
    while !last {
        own.doorbell.wait();
        own.hush();
        loop {
            own.take(&mut batch);
            for message in batch.drain(..) {
                assert!(!last, "nothing comes after it");
                last = act(message);
            }
            if !own.rest() {
                break;
            }
        }
    }
}

#[test]
fn no_message_is_missed() {
    check(3, || {
        let worker = loop_worker();
        let [first, second] = loop_exchanges(&worker, [0, 0]);
        let thread = {
            let worker = Arc::clone(&worker);
            let mut left = 3;
            let act = move |_| {
                left -= 1;
                left == 0
            };
            thread::spawn(move || serve(&worker, act))
        };
        let own = &worker.loops[0];
        own.submit(first.clone()).unwrap();
        assert!(!own.look());
        own.submit(second).unwrap();
        own.resume(first, false);
        assert!(!own.look());
        thread.join().unwrap();
    });
}

#[test]
fn tasks_that_several_threads_resume_are_resumed() {
    check(2, || {
        let worker = loop_worker();
        let [first, second] = loop_exchanges(&worker, [0, 0]);
        let attendant = {
            let (worker, job) = (Arc::clone(&worker), second);
            thread::spawn(move || worker.loops[0].resume(job, true))
        };
        let thread = {
            let worker = Arc::clone(&worker);
            let mut left = 2;
            let act = move |_| {
                left -= 1;
                left == 0
            };
            thread::spawn(move || serve(&worker, act))
        };
        worker.loops[0].resume(first, true);
        attendant.join().unwrap();
        thread.join().unwrap();
    });
}

#[test]
fn what_waits_for_others_of_its_location_is_started() {
    check(3, || {
        let worker = loop_worker();
        let [first, second] = loop_exchanges(&worker, [1, 1]);
        let thread = {
            let worker = Arc::clone(&worker);
            thread::spawn(move || {
                for _ in 0..2 {
                    let mut started = None;
                    serve(&worker, |message| {
                        let Message::Start(job) = message else { panic!("{message:?}") };
                        started = Some(job);
                        true
                    });
                    // The task ends later, when the thread has rested.
                    worker.loops[0].finished(&started.unwrap());
                }
            })
        };
        for job in [first, second] {
            worker.loops[0].submit(job).unwrap();
            assert!(!worker.loops[0].look());
        }
        thread.join().unwrap();
    });
}

#[test]
fn what_waits_is_started_though_what_was_before_it_is_forgotten() {
    check(3, || {
        let worker = loop_worker();
        let [first, second] = loop_exchanges(&worker, [1, 1]);
        let last = second.id;
        let own = &worker.loops[0];
        own.submit(first.clone()).unwrap();
        own.submit(second).unwrap();
        assert!(!own.look());
        let thread = {
            let worker = Arc::clone(&worker);
            thread::spawn(move || {
                serve(&worker, |message| {
                    let Message::Start(job) = message else { panic!("{message:?}") };
                    worker.loops[0].finished(&job);
                    job.id == last
                });
            })
        };
        own.forget(&first);
        thread.join().unwrap();
        assert_eq!(worker.running(), 0);
    });
}

#[test]
fn at_the_end_each_is_started_or_given_back() {
    check(3, || {
        let worker = loop_worker();
        let [first, second] = loop_exchanges(&worker, [1, 1]);
        let own = &worker.loops[0];
        own.submit(first.clone()).unwrap();
        own.submit(second.clone()).unwrap();
        assert!(!own.look());
        let thread = {
            let worker = Arc::clone(&worker);
            thread::spawn(move || {
                let mut started = Vec::new();
                serve(&worker, |message| match message {
                    Message::Start(job) => {
                        worker.loops[0].finished(&job);
                        started.push(job.id);
                        false
                    }
                    Message::Resume(_) => panic!("nobody is resumed"),
                    Message::Close => true,
                });
                started
            })
        };
        let given_back: Vec<RequestId> = own.close().iter().map(|job| job.id).collect();
        let mut all = thread.join().unwrap();
        all.extend(given_back);
        assert_eq!(all, [first.id, second.id]);
    });
}
