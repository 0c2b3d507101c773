use std::sync::atomic::{AtomicBool, Ordering};

use loom::sync::atomic::AtomicUsize;
use loom::thread::{self, JoinHandle};

use super::*;
use crate::bridge::fixture::{check, pool_config};

/// A pool whose threads note the jobs that they run, and whether they stand by.
struct Observed {
    pool: Pool<u32>,
    ran: Mutex<Vec<u32>>,
    ran_more: Condvar,
    standing: AtomicUsize,
    closing: AtomicBool,
    /// No job is queued for which nobody has been woken yet.
    woken: AtomicBool,
}

impl Observed {
    fn new(threads: usize) -> Arc<Self> {
        Arc::new(Self {
            pool: Pool::new(pool_config(threads, 9), PoolMeter::default()),
            ran: Mutex::new(Vec::new()),
            ran_more: Condvar::new(),
            standing: AtomicUsize::new(0),
            closing: AtomicBool::new(false),
            woken: AtomicBool::new(true),
        })
    }

    fn spawn(self: &Arc<Self>) -> JoinHandle<()> {
        let own = Arc::clone(self);
        thread::spawn(move || own.run(&mut Turn::default()))
    }

    /// A thread of the pool, as `python` runs it.
    fn run(self: &Arc<Self>, turn: &mut Turn) {
        let seat = Seat::new();
        let mut grown = None;
        loop {
            match self.take(turn) {
                Next::Run { job, grow } => {
                    if grow {
                        grown = Some(self.spawn());
                    }
                    lock(&self.ran).push(job);
                    self.ran_more.notify_one();
                }
                Next::Sleep => self.sleep(&seat, turn),
                Next::End => break,
            }
        }
        if let Some(thread) = grown {
            thread.join().unwrap();
        }
    }

    fn sleep(&self, seat: &Arc<Seat>, turn: &mut Turn) {
        self.pool.sleep(seat, turn);
        if turn.stands_by && !self.closing.load(Ordering::SeqCst) {
            assert_eq!(self.standing.fetch_add(1, Ordering::SeqCst), 0, "at most one stands by");
        }
    }

    fn take(&self, turn: &mut Turn) -> Next<u32> {
        if turn.stands_by && !self.closing.load(Ordering::SeqCst) {
            self.standing.fetch_sub(1, Ordering::SeqCst);
        }
        let next = self.pool.take(turn);
        self.holds();
        next
    }

    /// Where a job waits, a thread stands by, or no thread is idle.
    fn holds(&self) {
        let state = lock(&self.pool.state);
        let woken = self.woken.load(Ordering::SeqCst);
        assert!(!woken || state.queue.is_empty() || state.stands_by || state.idle.is_empty());
        assert!(state.busy <= state.threads && state.threads <= self.pool.config.threads);
    }

    fn submit(&self, job: u32) {
        self.pool.submit_now(job).unwrap();
        self.holds();
    }

    /// Waits until `count` jobs have run: for ever where a job is forgotten.
    fn wait_ran(&self, count: usize) {
        let mut ran = lock(&self.ran);
        while ran.len() < count {
            ran = wait(&self.ran_more, ran);
        }
    }

    fn close(&self) -> VecDeque<u32> {
        self.closing.store(true, Ordering::SeqCst);
        self.pool.close()
    }

    /// All threads have ended; those that ran and those that were given back are all jobs, once each.
    fn ended(&self, given_back: VecDeque<u32>, jobs: &[u32]) {
        let mut all = std::mem::take(&mut *lock(&self.ran));
        all.extend(given_back);
        all.sort_unstable();
        assert_eq!(all, jobs);
        assert_eq!(lock(&self.pool.state).threads, 0);
    }
}

#[test]
fn every_job_runs_and_one_stands_by() {
    check(2, || {
        let observed = Observed::new(2);
        let threads: Vec<_> = (0..2)
            .map(|_| {
                assert!(observed.pool.grow());
                observed.spawn()
            })
            .collect();
        observed.submit(1);
        observed.submit(2);
        observed.wait_ran(2);
        assert!(observed.close().is_empty());
        for thread in threads {
            thread.join().unwrap();
        }
        observed.ended(VecDeque::new(), &[1, 2]);
    });
}

/// The jobs of one turn of the event loop: threads may find them before they are woken for them.
#[test]
fn jobs_that_are_queued_together_all_run() {
    check(2, || {
        let observed = Observed::new(2);
        let threads: Vec<_> = (0..2)
            .map(|_| {
                assert!(observed.pool.grow());
                observed.spawn()
            })
            .collect();
        observed.woken.store(false, Ordering::SeqCst);
        observed.pool.submit(1).unwrap();
        observed.pool.submit(2).unwrap();
        assert!(!observed.pool.look());
        observed.woken.store(true, Ordering::SeqCst);
        observed.wait_ran(2);
        assert!(observed.close().is_empty());
        for thread in threads {
            thread.join().unwrap();
        }
        observed.ended(VecDeque::new(), &[1, 2]);
    });
}

/// Quick jobs, of which the first waits for the second: the event loop finds out.
#[test]
fn a_job_that_is_quick_no_more_holds_up_nobody() {
    check(2, || {
        let observed = Observed::new(2);
        lock(&observed.pool.state).streak = Streak::long();
        let threads: Vec<_> = (0..2)
            .map(|_| {
                assert!(observed.pool.grow());
                let own = Arc::clone(&observed);
                thread::spawn(move || {
                    let (seat, mut turn) = (Seat::new(), Turn::default());
                    loop {
                        match own.pool.take(&mut turn) {
                            Next::Run { job, .. } => {
                                lock(&own.ran).push(job);
                                own.ran_more.notify_all();
                                if job == 1 {
                                    own.wait_ran(2);
                                }
                            }
                            Next::Sleep => own.pool.sleep(&seat, &mut turn),
                            Next::End => break,
                        }
                    }
                })
            })
            .collect();
        observed.pool.submit(1).unwrap();
        observed.pool.submit(2).unwrap();
        while observed.pool.look() {
            thread::yield_now();
        }
        observed.wait_ran(2);
        assert!(observed.close().is_empty());
        for thread in threads {
            thread.join().unwrap();
        }
        observed.ended(VecDeque::new(), &[1, 2]);
    });
}

#[test]
fn a_pool_that_grows_runs_every_job() {
    check(3, || {
        let observed = Observed::new(2);
        assert!(observed.pool.grow());
        let first = observed.spawn();
        observed.submit(1);
        observed.submit(2);
        observed.wait_ran(2);
        assert!(observed.close().is_empty());
        first.join().unwrap();
        observed.ended(VecDeque::new(), &[1, 2]);
    });
}

#[test]
fn closing_ends_every_thread_whatever_it_does() {
    check(3, || {
        let observed = Observed::new(2);
        let threads: Vec<_> = (0..2)
            .map(|_| {
                assert!(observed.pool.grow());
                observed.spawn()
            })
            .collect();
        observed.submit(1);
        let given_back = observed.close();
        for thread in threads {
            thread.join().unwrap();
        }
        observed.ended(given_back, &[1]);
    });
}

/// A thread that unwinds at the end of its first rest, which is mostly as it stands by.
#[test]
fn a_thread_that_unwinds_takes_no_job_along() {
    check(2, || {
        let observed = Observed::new(2);
        assert!(observed.pool.grow() && observed.pool.grow());
        let other = observed.spawn();
        let unwinding = {
            let observed = Arc::clone(&observed);
            thread::spawn(move || {
                let mut turn = Turn::default();
                observed.sleep(&Seat::new(), &mut turn);
                if turn.stands_by && !observed.closing.load(Ordering::SeqCst) {
                    observed.standing.fetch_sub(1, Ordering::SeqCst);
                }
                observed.pool.shrink(&turn);
            })
        };
        observed.submit(1);
        observed.submit(2);
        observed.wait_ran(2);
        let given_back = observed.close();
        other.join().unwrap();
        unwinding.join().unwrap();
        observed.ended(given_back, &[1, 2]);
    });
}

/// A thread that never comes back is written off while others are at the queue: what waits is run all the same.
#[test]
fn jobs_behind_a_stuck_one_all_run() {
    for threads in 1..=2 {
        check(2, move || {
            let observed = Observed::new(threads);
            assert!(observed.pool.grow());
            let mut stuck = Turn::default();
            observed.submit(1);
            let Next::Run { job: 1, grow } = observed.take(&mut stuck) else { panic!("no job") };
            let second = grow.then(|| observed.spawn());
            let attendant = {
                let own = Arc::clone(&observed);
                thread::spawn(move || own.pool.write_off().then(|| own.spawn()))
            };
            observed.submit(2);
            observed.wait_ran(1);
            let replacement = attendant.join().unwrap();
            let given_back = observed.close();
            for thread in [second, replacement].into_iter().flatten() {
                thread.join().unwrap();
            }
            observed.ended(given_back, &[2]);
        });
    }
}
