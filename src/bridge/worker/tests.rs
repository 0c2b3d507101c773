use std::thread;

use super::*;
use crate::bridge::config::{AsgiConfig, Lifespan, LifespanConfig};
use crate::bridge::exchange::{Exchange, Worker};
use crate::bridge::executor::asyncio::{MAX_QUEUE, Message};
use crate::bridge::executor::inline::MAX_WAITING;
use crate::bridge::executor::pool::{Next, Turn};
use crate::bridge::fixture::{
    exchanges, inline_exchanges, loop_exchanges, loop_worker, pool_config, worker, worker_of,
};
use crate::bridge::id::RequestId;
use crate::metrics::board::Meters;

fn refusal(worker: &Worker, exchange: Arc<Exchange>) -> Option<Refusal> {
    worker.submit(exchange).err()
}

/// What a thread of the only pool finds.
fn taken(worker: &Worker) -> Option<Arc<Exchange>> {
    match worker.pools[0].take(&mut Turn::default()) {
        Next::Run { job: exchange, .. } => Some(exchange),
        Next::Sleep | Next::End => None,
    }
}

#[test]
fn requests_wait_for_their_application_and_then_for_a_thread() {
    let worker = worker(2, 9);
    let [first, second, third] = exchanges(&worker);
    worker.submit(first.clone()).unwrap();
    worker.submit(second.clone()).unwrap();
    assert!(taken(&worker).is_none());
    worker.forget(&first);
    assert!(worker.open_gate(0).is_empty());
    worker.submit(third.clone()).unwrap();
    assert!(taken(&worker).is_some_and(|exchange| exchange.id == second.id));
    worker.forget(&third);
    assert!(taken(&worker).is_none());
    assert!(worker.open_gate(9).is_empty());
}

#[test]
fn the_queue_is_as_long_before_the_application_is_there() {
    let worker = worker(1, 1);
    let [first, second, third, fourth] = exchanges(&worker);
    worker.submit(first.clone()).unwrap();
    worker.submit(second).unwrap();
    assert_eq!(refusal(&worker, third), Some(Refusal::QueueFull));
    assert!(worker.open_gate(0).is_empty());
    assert_eq!(refusal(&worker, fourth.clone()), Some(Refusal::QueueFull));
    worker.forget(&first);
    worker.submit(fourth).unwrap();
}

/// The requests that the event loop is to run now.
fn to_run(worker: &Worker) -> Vec<RequestId> {
    let mut batch = Vec::new();
    worker.events.take(&mut batch);
    let ids = batch.iter().map(|event| match event {
        Event::Run(exchange) => exchange.id,
        event => panic!("{event:?}"),
    });
    ids.collect()
}

#[test]
fn inline_requests_come_back_to_the_event_loop() {
    let worker = worker(1, 9);
    let [first, second, third] = inline_exchanges(&worker);
    assert!(matches!(worker.submit(first.clone()), Ok(Submitted::Queued)));
    assert!(matches!(worker.submit(second.clone()), Ok(Submitted::Queued)));
    worker.forget(&first);
    assert!(to_run(&worker).is_empty(), "their application is not there");
    assert!(worker.open_gate(0).is_empty());
    assert_eq!(to_run(&worker), [second.id]);
    // From now on there is nothing to wait for.
    let submitted = worker.submit(third.clone());
    assert!(matches!(submitted, Ok(Submitted::Run(exchange)) if exchange.id == third.id));
    assert!(to_run(&worker).is_empty());
    worker.submit_again(third.clone());
    assert_eq!(to_run(&worker), [third.id]);
    assert!(taken(&worker).is_none(), "no thread has anything to do with it");
}

#[test]
fn inline_requests_need_no_pool() {
    let worker = worker_of(Vec::new());
    let [first, second] = inline_exchanges(&worker);
    worker.submit(first.clone()).unwrap();
    assert!(worker.open_gate(0).is_empty());
    assert_eq!(to_run(&worker), [first.id]);
    worker.stop();
    assert!(matches!(worker.submit(second), Ok(Submitted::Run(_))));
}

#[test]
fn so_many_inline_requests_wait_for_their_application() {
    let worker = worker(1, 0);
    let exchanges = inline_exchanges::<{ MAX_WAITING + 1 }>(&worker);
    let (last, waiting) = exchanges.split_last().unwrap();
    for exchange in waiting {
        worker.submit(exchange.clone()).unwrap();
    }
    assert_eq!(refusal(&worker, last.clone()), Some(Refusal::GateFull));
    worker.forget(&exchanges[0]);
    worker.submit(last.clone()).unwrap();
    assert!(worker.open_gate(0).is_empty());
    assert!(to_run(&worker).into_iter().eq(exchanges[1..].iter().map(|exchange| exchange.id)));
}

#[test]
fn a_broken_worker_gives_back_inline_requests_as_well() {
    let worker = worker(1, 9);
    let [first, second] = inline_exchanges(&worker);
    worker.submit(first.clone()).unwrap();
    let waiting = worker.set_broken();
    assert!(matches!(&waiting[..], [exchange] if exchange.id == first.id));
    assert_eq!(refusal(&worker, second), Some(Refusal::Broken));
    assert!(to_run(&worker).is_empty());
}

#[test]
fn without_its_main_thread_a_worker_refuses_at_once_and_its_gates_stay_shut() {
    let worker = worker(1, 9);
    let [first, second] = exchanges(&worker);
    assert!(!worker.set_missing(true));
    assert_eq!(refusal(&worker, first), Some(Refusal::Broken));
    assert!(worker.is_missing() && worker.set_missing(true));
    assert!(worker.set_missing(false) && !worker.is_missing());
    worker.submit(second.clone()).unwrap();
    assert!(taken(&worker).is_none(), "its application has not been imported");
    assert!(worker.open_gate(0).is_empty());
    assert!(taken(&worker).is_some_and(|exchange| exchange.id == second.id));
}

#[test]
fn what_waits_in_a_pool_without_a_thread_is_taken_by_the_first_that_starts() {
    let worker = worker(1, 9);
    let [first, second] = exchanges(&worker);
    assert!(worker.open_gate(0).is_empty());
    worker.submit(first.clone()).unwrap();
    assert!(worker.pools[0].grow());
    let failed = worker.pools[0].cannot_start();
    assert!(failed.first && failed.none_left);
    worker.submit(second.clone()).unwrap();
    assert!(worker.pools[0].grow());
    assert!(!worker.pools[0].cannot_start().first);
    assert!(worker.pools[0].grow());
    assert!(worker.pools[0].started());
    for exchange in [first, second] {
        assert!(taken(&worker).is_some_and(|taken| taken.id == exchange.id));
    }
}

#[test]
fn what_finds_its_pool_closed_is_given_back() {
    let worker = worker(1, 9);
    let [first, second] = exchanges(&worker);
    worker.submit(first.clone()).unwrap();
    worker.stop();
    let refused = worker.open_gate(0);
    assert!(matches!(&refused[..], [exchange] if exchange.id == first.id));
    assert_eq!(refusal(&worker, second), Some(Refusal::QueueFull));
    assert!(matches!(worker.tasks.next(), Task::Stop));
}

#[test]
fn a_broken_worker_gives_back_what_waits_and_takes_nothing() {
    let worker = worker(1, 9);
    let [first, second] = exchanges(&worker);
    worker.submit(first.clone()).unwrap();
    let waiting = worker.set_broken();
    assert!(matches!(&waiting[..], [exchange] if exchange.id == first.id));
    assert_eq!(refusal(&worker, second), Some(Refusal::Broken));
}

#[test]
fn all_pools_end_within_one_limit() {
    const LIMIT: Duration = Duration::from_secs(2);
    let worker = worker_of(vec![pool_config(1, 0), pool_config(1, 0)]);
    assert!(worker.pools.iter().all(|pool| pool.grow()));
    worker.stop();
    let late = {
        let worker = Arc::clone(&worker);
        thread::spawn(move || {
            thread::sleep(LIMIT * 9 / 10);
            assert!(matches!(worker.pools[0].take(&mut Turn::default()), Next::End));
        })
    };
    let begin = Instant::now();
    assert!(!worker.wait_ended(LIMIT));
    assert!(begin.elapsed() < LIMIT * 18 / 10, "the second pool had a limit of its own");
    late.join().unwrap();
    assert!(matches!(worker.pools[1].take(&mut Turn::default()), Next::End));
    assert!(worker.wait_ended(Duration::ZERO));
}

#[test]
fn the_end_is_waited_for() {
    let worker = worker(1, 9);
    assert_eq!(worker.wait_stopped(Duration::from_millis(10)), None);
    let main = {
        let worker = Arc::clone(&worker);
        thread::spawn(move || {
            thread::sleep(Duration::from_millis(20));
            worker.set_stopped(Stopped::Finalized);
        })
    };
    let begin = Instant::now();
    assert_eq!(worker.wait_stopped(Duration::from_secs(10)), Some(Stopped::Finalized));
    assert!(begin.elapsed() < Duration::from_secs(9), "it is told, and does not find out at last");
    main.join().unwrap();
    assert_eq!(worker.wait_stopped(Duration::ZERO), Some(Stopped::Finalized));
}

#[test]
fn requests_of_a_loop_wait_for_their_application_and_then_for_its_thread() {
    let worker = loop_worker();
    let started = || {
        let mut batch = Vec::new();
        worker.loops[0].take(&mut batch);
        let jobs = batch.iter().map(|message| match message {
            Message::Start(exchange) => exchange.id,
            message => panic!("{message:?}"),
        });
        jobs.collect::<Vec<RequestId>>()
    };
    let [first, second, third] = loop_exchanges(&worker, [0, 0, 0]);
    worker.submit(first.clone()).unwrap();
    worker.submit(second.clone()).unwrap();
    assert!(started().is_empty());
    worker.forget(&first);
    assert!(worker.open_gate(0).is_empty());
    assert_eq!(started(), [second.id]);
    worker.submit(third.clone()).unwrap();
    assert_eq!(started(), [third.id]);
    worker.stop();
    assert_eq!(refusal(&worker, first), Some(Refusal::LoopEnded));
}

#[test]
fn so_many_requests_of_a_loop_wait_for_their_application() {
    let worker = loop_worker();
    let exchanges = loop_exchanges(&worker, [0; MAX_QUEUE + 1]);
    let (last, waiting) = exchanges.split_last().unwrap();
    for exchange in waiting {
        worker.submit(exchange.clone()).unwrap();
    }
    assert_eq!(refusal(&worker, last.clone()), Some(Refusal::GateFull));
    assert!(worker.open_gate(0).is_empty());
    assert_eq!(refusal(&worker, last.clone()), Some(Refusal::LoopFull));
    assert_eq!(worker.set_broken().len(), MAX_QUEUE);
}

#[test]
fn pythons_end_may_take_as_long_as_the_longest_shutdown() {
    let mut config = loop_worker().config.clone();
    let lifespan = |mode, seconds| LifespanConfig {
        mode,
        startup_timeout: Duration::from_secs(99),
        shutdown_timeout: Duration::from_secs(seconds),
    };
    let longest = |config: &WorkerConfig| {
        let worker = Worker::new(
            config.clone(),
            Marks::take_over(None, 0),
            Baton::new(None, 0),
            Meters::default(),
            0,
        )
        .unwrap();
        worker.longest_shutdown()
    };
    assert_eq!(longest(&config), Duration::ZERO);
    let modes = [(Lifespan::Auto, 3), (Lifespan::On, 7), (Lifespan::Off, 20)];
    for (mode, seconds) in modes {
        let asgi = AsgiConfig { event_loop: 0, lifespan: lifespan(mode, seconds) };
        config.apps.push(AppConfig { asgi: Some(asgi), ..config.apps[0].clone() });
    }
    assert_eq!(longest(&config), Duration::from_secs(7));
}
