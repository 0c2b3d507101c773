use std::collections::HashSet;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle, ThreadId};

use super::*;
use crate::bridge::fixture::{exchanges, pool_config, until, worker};
use crate::bridge::streak::QUICK;

/// A job that says which thread runs it, and holds it until `release` is dropped.
#[derive(Debug)]
struct Held {
    started: Sender<ThreadId>,
    release: Receiver<()>,
}

impl PartialEq for Held {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

type TestPool = Arc<Pool<Held>>;

fn pool<J>(threads: usize, max_queue: usize) -> Arc<Pool<J>> {
    Arc::new(Pool::new(pool_config(threads, max_queue), PoolMeter::default()))
}

/// Submits a job; gives what to hear its start from, and what holds it.
fn submit(pool: &TestPool) -> (Receiver<ThreadId>, Sender<()>) {
    let (started, is_started) = channel();
    let (hold, release) = channel();
    pool.submit_now(Held { started, release }).unwrap();
    (is_started, hold)
}

/// A thread of the pool, as `python` runs it; the count is its caller's.
fn spawn(pool: &TestPool) -> JoinHandle<()> {
    let pool = Arc::clone(pool);
    thread::spawn(move || serve(&pool, &Seat::new(), Turn::default()))
}

/// A thread that rests before it looks for its first job.
fn spawn_resting(pool: &TestPool) -> JoinHandle<()> {
    let pool = Arc::clone(pool);
    thread::spawn(move || {
        let (seat, mut turn) = (Seat::new(), Turn::default());
        pool.sleep(&seat, &mut turn);
        serve(&pool, &seat, turn);
    })
}

fn serve(pool: &TestPool, seat: &Arc<Seat>, mut turn: Turn) {
    loop {
        match pool.take(&mut turn) {
            Next::Run { job, grow } => {
                if grow {
                    drop(spawn(pool));
                }
                job.started.send(thread::current().id()).unwrap();
                assert!(job.release.recv().is_err());
            }
            Next::Sleep => pool.sleep(seat, &mut turn),
            Next::End => return,
        }
    }
}

fn idle<J>(pool: &Pool<J>) -> usize {
    lock(&pool.state).idle.len()
}

fn threads<J>(pool: &Pool<J>) -> usize {
    lock(&pool.state).threads
}

/// `count` threads, all idle; the last went to rest last.
fn resting(pool: &TestPool, count: usize) -> Vec<ThreadId> {
    (1..=count)
        .map(|number| {
            assert!(pool.grow());
            let thread = spawn(pool).thread().id();
            until(|| idle(pool) == number);
            thread
        })
        .collect()
}

fn end<J: PartialEq + fmt::Debug + Send>(pool: &Pool<J>) {
    assert!(pool.close().is_empty());
    assert!(pool.wait_ended(Duration::from_secs(20)));
}

/// What [`Pool::take`] gives a thread that finds a job: the job, and whether it is to grow.
fn run<J>(next: Next<J>) -> (J, bool) {
    match next {
        Next::Run { job, grow } => (job, grow),
        Next::Sleep => panic!("a job waits"),
        Next::End => panic!("the pool is not closed"),
    }
}

fn is_sleep<J>(next: &Next<J>) -> bool {
    matches!(next, Next::Sleep)
}

#[test]
fn jobs_are_taken_in_order() {
    let pool = pool(1, 9);
    let mut turn = Turn::default();
    assert!(is_sleep(&pool.take(&mut turn)));
    for job in 1..=3 {
        pool.submit_now(job).unwrap();
    }
    let taken = [(); 3].map(|()| run(pool.take(&mut turn)).0);
    assert_eq!(taken, [1, 2, 3]);
    assert!(is_sleep(&pool.take(&mut turn)));
}

#[test]
fn a_job_for_which_a_thread_is_free_does_not_count() {
    for max_queue in [0, 2] {
        let pool = pool(2, max_queue);
        let fill = || (0..99).take_while(|&job| pool.submit_now(job).is_ok()).count();
        let mut turns = [Turn::default(), Turn::default()];
        assert_eq!(fill(), 2 + max_queue);
        run(pool.take(&mut turns[0]));
        // The thread that was free for it is busy now.
        assert_eq!(fill(), 0);
        run(pool.take(&mut turns[1]));
        assert_eq!(fill(), 0);
        while !is_sleep(&pool.take(&mut turns[0])) {}
        assert_eq!(fill(), 1 + max_queue);
        while !is_sleep(&pool.take(&mut turns[1])) {}
        while !is_sleep(&pool.take(&mut turns[0])) {}
        assert_eq!(fill(), 2 + max_queue);
    }
}

#[test]
fn threads_are_made_on_demand_up_to_the_limit() {
    let pool = pool(3, 9);
    let mut turns = [(); 3].map(|()| Turn::default());
    assert!(pool.grow());
    for job in 0..4 {
        pool.submit_now(job).unwrap();
    }
    let grown = turns.each_mut().map(|turn| run(pool.take(turn)).1);
    assert_eq!(grown, [true, true, false]);
    assert!(!pool.grow());
    assert_eq!(threads(&pool), 3);
}

#[test]
fn no_thread_is_made_where_one_is_left() {
    let pool = pool(9, 9);
    resting(&pool, 2);
    let (first, hold_first) = submit(&pool);
    first.recv().unwrap();
    assert_eq!((threads(&pool), idle(&pool)), (2, 1));
    let (second, hold_second) = submit(&pool);
    second.recv().unwrap();
    // That was the last: it has made one more, which rests now.
    until(|| idle(&pool) == 1);
    assert_eq!(threads(&pool), 3);
    drop((hold_first, hold_second));
    end(&pool);
}

#[test]
fn no_thread_is_made_where_one_stands_by() {
    let pool = pool(9, 9);
    let mut turns = [(); 2].map(|()| Turn::default());
    assert!(pool.grow() && pool.grow());
    pool.submit_now(1).unwrap();
    pool.sleep(&Seat::new(), &mut turns[0]);
    // The other comes by first.
    assert_eq!(run(pool.take(&mut turns[1])), (1, false));
    assert!(is_sleep(&pool.take(&mut turns[0])));
}

#[test]
fn the_thread_that_rested_last_runs_first() {
    let pool = pool(3, 0);
    let threads = resting(&pool, 3);
    let mut held = Vec::new();
    for thread in threads.iter().rev() {
        let (started, hold) = submit(&pool);
        assert_eq!(started.recv().unwrap(), *thread);
        held.push(hold);
    }
    drop(held);
    until(|| idle(&pool) == 3);
    for _ in 0..3 {
        let last = lock(&pool.state).idle.last().map(Arc::as_ptr);
        let (started, hold) = submit(&pool);
        started.recv().unwrap();
        drop(hold);
        until(|| idle(&pool) == 3);
        assert_eq!(lock(&pool.state).idle.last().map(Arc::as_ptr), last, "always the same one");
    }
    end(&pool);
}

#[test]
fn one_stands_by_and_hands_over_as_it_takes_a_job() {
    let pool = pool(3, 9);
    // This thread stands by, and does not come round to its job yet.
    let mut turn = Turn::default();
    assert!(pool.grow());
    let (mine, _hold_mine) = submit(&pool);
    let (started, hold) = submit(&pool);
    pool.sleep(&Seat::new(), &mut turn);
    // Those that come to rest meanwhile are left alone.
    for number in 1..=2 {
        assert!(pool.grow());
        drop(spawn_resting(&pool));
        until(|| idle(&pool) == number);
    }
    let (third, hold_third) = submit(&pool);
    assert!(started.recv_timeout(Duration::from_millis(20)).is_err());
    assert_eq!(idle(&pool), 2);
    let (job, _) = run(pool.take(&mut turn));
    drop(job);
    assert!(mine.recv().is_err(), "the first job was this thread's");
    // One has been woken, and as it takes its job the other.
    started.recv().unwrap();
    third.recv().unwrap();
    assert!(is_sleep(&pool.take(&mut turn)));
    drop((hold, hold_third));
    pool.shrink(&turn);
    end(&pool);
}

#[test]
fn a_thread_that_unwinds_leaves_its_turn_to_another() {
    let pool = pool(2, 0);
    let mut turn = Turn::default();
    assert!(pool.grow());
    let (started, hold) = submit(&pool);
    pool.sleep(&Seat::new(), &mut turn);
    assert!(pool.grow());
    drop(spawn_resting(&pool));
    until(|| idle(&pool) == 1);
    // It was to take the job.
    pool.shrink(&turn);
    started.recv().unwrap();
    drop(hold);
    end(&pool);
}

#[test]
fn a_thread_that_unwinds_from_a_job_is_not_busy() {
    let pool = pool(2, 0);
    let mut turns = [(); 2].map(|()| Turn::default());
    assert!(pool.grow() && pool.grow());
    pool.submit_now(1).unwrap();
    pool.submit_now(2).unwrap();
    for turn in &mut turns {
        run(pool.take(turn));
    }
    assert!(pool.submit_now(3).is_err());
    pool.shrink(&turns[0]);
    pool.submit_now(3).unwrap();
    assert!(pool.submit_now(4).is_err());
    assert!(pool.grow(), "its place is free");
    // One that never started changes nothing else.
    pool.shrink(&Turn::default());
    assert!(pool.submit_now(4).is_err());
    assert_eq!(threads(&pool), 1);
}

#[test]
fn a_thread_that_unwinds_from_a_job_leaves_who_stands_by_alone() {
    let pool = pool(3, 9);
    let mut turns = [(); 2].map(|()| Turn::default());
    assert!(pool.grow() && pool.grow());
    let (_first, _hold_first) = submit(&pool);
    run(pool.take(&mut turns[0]));
    let (second, _hold_second) = submit(&pool);
    pool.sleep(&Seat::new(), &mut turns[1]);
    drop(spawn_resting(&pool));
    until(|| idle(&pool) == 1);
    pool.shrink(&turns[0]);
    assert!(second.recv_timeout(Duration::from_millis(20)).is_err());
    assert_eq!(idle(&pool), 1);
    drop(run(pool.take(&mut turns[1])));
    pool.shrink(&turns[1]);
    end(&pool);
}

#[test]
fn closing_ends_every_thread_and_gives_back_what_waits() {
    let pool = pool(3, 9);
    resting(&pool, 3);
    let held: Vec<_> = (0..5).map(|_| submit(&pool)).collect();
    until(|| lock(&pool.state).busy == 3);
    assert_eq!(pool.close().len(), 2);
    assert!(pool.close().is_empty());
    let (started, _) = channel();
    let (_, release) = channel();
    assert!(pool.submit_now(Held { started, release }).is_err());
    assert!(!pool.grow());
    // Those that run may finish.
    assert!(!pool.wait_ended(Duration::from_millis(20)));
    let ran: HashSet<_> = held.iter().filter_map(|(started, _)| started.try_recv().ok()).collect();
    assert_eq!(ran.len(), 3);
    drop(held);
    assert!(pool.wait_ended(Duration::from_secs(20)));
}

#[test]
fn closing_wakes_those_that_rest() {
    let pool = pool(3, 9);
    resting(&pool, 3);
    end(&pool);
}

#[test]
fn a_thread_that_comes_to_rest_in_a_closed_pool_does_not() {
    let pool = pool::<()>(1, 9);
    let mut turn = Turn::default();
    assert!(pool.grow());
    assert!(is_sleep(&pool.take(&mut turn)));
    pool.close();
    pool.sleep(&Seat::new(), &mut turn);
    assert!(matches!(pool.take(&mut turn), Next::End));
    assert!(pool.wait_ended(Duration::ZERO));
    assert!(!pool.grow());
}

#[test]
fn who_waits_for_the_end_is_told() {
    for unwinds in [false, true] {
        let pool = pool::<()>(1, 9);
        assert!(pool.grow());
        pool.close();
        let waiting = {
            let (pool, begin) = (Arc::clone(&pool), Instant::now());
            thread::spawn(move || (pool.wait_ended(Duration::from_secs(10)), begin.elapsed()))
        };
        thread::sleep(Duration::from_millis(20));
        let mut turn = Turn::default();
        if unwinds {
            pool.shrink(&turn);
        } else {
            assert!(matches!(pool.take(&mut turn), Next::End));
        }
        let (ended, after) = waiting.join().unwrap();
        assert!(ended && after < Duration::from_secs(9), "{after:?}");
    }
}

#[test]
fn a_request_is_taken_out_of_the_queue() {
    let pool = Pool::new(pool_config(1, 9), PoolMeter::default());
    let [first, second, third] = exchanges(&worker(1, 0));
    for job in [&first, &second] {
        pool.submit_now(Arc::clone(job)).unwrap();
    }
    pool.forget(&first);
    pool.forget(&third);
    assert_eq!(Arc::strong_count(&first), 1);
    let mut turn = Turn::default();
    assert_eq!(run(pool.take(&mut turn)).0.id, second.id);
    assert!(is_sleep(&pool.take(&mut turn)));
}

#[test]
fn nobody_stands_by_for_quick_jobs_until_one_blocks() {
    let pool: TestPool = pool(2, 9);
    resting(&pool, 2);
    lock(&pool.state).streak = Streak::long();
    let held: Vec<_> = (0..3)
        .map(|_| {
            let (started, is_started) = channel();
            let (hold, release) = channel();
            pool.submit(Held { started, release }).unwrap();
            (is_started, hold)
        })
        .collect();
    let mut held = held.into_iter();
    let (first, hold) = held.next().unwrap();
    assert!(pool.look(), "two of them wait behind the one that it has woken a thread for");
    first.recv().unwrap();
    // That one was taken since; it may be quick.
    assert!(pool.look());
    assert_eq!(idle(&pool), 1);
    // It is not; and now nobody is left to be woken.
    assert!(!pool.look());
    let (second, hold_second) = held.next().unwrap();
    second.recv().unwrap();
    assert!(!pool.look());
    drop((hold, hold_second));
    let (third, hold) = held.next().unwrap();
    third.recv().unwrap();
    drop(hold);
    end(&pool);
}

#[test]
fn a_job_that_was_not_quick_has_somebody_stand_by_again() {
    let pool = pool(2, 9);
    let mut turn = Turn::default();
    lock(&pool.state).streak = Streak::long();
    pool.submit_now(1).unwrap();
    run(pool.take(&mut turn));
    turn.since = Instant::now().checked_sub(QUICK * 2);
    assert!(is_sleep(&pool.take(&mut turn)));
    assert_eq!(lock(&pool.state).streak, Streak::of(0));
    for job in 0..2 {
        pool.submit_now(job).unwrap();
        run(pool.take(&mut turn));
        turn.since = Instant::now().checked_add(QUICK);
    }
    assert_eq!(lock(&pool.state).streak, Streak::of(1));
}

#[test]
fn a_thread_that_is_written_off_is_replaced_and_counts_no_longer() {
    let pool = pool::<u32>(1, 1);
    assert!(pool.grow());
    let mut stuck = Turn::default();
    for job in 1..=2 {
        pool.submit_now(job).unwrap();
        if job == 1 {
            assert!(matches!(pool.take(&mut stuck), Next::Run { job: 1, grow: false }));
        }
    }
    assert_eq!(pool.submit_now(3).unwrap_err(), 3, "the queue is full");
    assert!(!pool.grow(), "the pool is complete");
    // Nobody else is there to look at the queue.
    assert!(pool.write_off());
    assert_eq!(threads(&pool), 1);
    pool.submit_now(3).unwrap();
    let mut other = Turn::default();
    for expected in 2..=3 {
        assert!(matches!(pool.take(&mut other), Next::Run { job, .. } if job == expected));
    }
    // Again, while the pool is closed: nobody takes its place.
    drop(pool.close());
    assert!(!pool.write_off());
    assert!(pool.wait_ended(Duration::ZERO), "the stuck ones are not waited for");
}

#[test]
fn while_a_thread_is_idle_a_stuck_one_needs_no_other_at_once() {
    let pool: TestPool = pool(2, 9);
    resting(&pool, 1);
    assert!(pool.grow());
    // The other one is the stuck one.
    lock(&pool.state).busy += 1;
    assert!(!pool.write_off());
    assert_eq!((threads(&pool), lock(&pool.state).busy), (1, 0));
    drop(pool.close());
    assert!(pool.wait_ended(Duration::from_secs(20)));
}
