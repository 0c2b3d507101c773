//! What one process counts: its threads write these while requests run, and nobody waits for it.
//!
//! Each word has one thread that writes to it, or is added to atomically: the event loop begins and ends requests, an
//! executor says how it is under its own lock, and any thread may [`count`](AppMeter::count) what is rare.

use std::time::Duration;

use super::histogram;
use super::words::{Words, sum};

/// What is counted of an application's requests. Those before `Lost` are written by the event loop alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Count {
    Begun,
    /// Then the responses, by the classes of their status (RFC 9110, 15).
    Informational,
    Successful,
    Redirection,
    ClientError,
    ServerError,
    /// The client was gone before there was a response.
    Unanswered,
    SocketsOpened,
    SocketsClosed,
    /// Requests that have come from a web worker, whose application this process runs. The web worker counts all else of
    /// them, but for what happens in the application.
    Taken,
    /// Those of them that are over here.
    Left,
    /// In flight when their process died.
    Lost,
    /// The same of those that had come from a web worker, which has answered them.
    Dropped,
    Exceptions,
    /// The client left, or was too slow, before the response was complete.
    ClientGone,
    /// `…_timeout`
    TimedOut,
    /// `…_queue_timeout`
    QueueTimedOut,
    /// There was no room in the queue.
    Refused,
    /// `RequestTimeout` or `ClientDisconnected` was raised in the application.
    Interrupted,
    /// The thread of it was.
    WrittenOff,
}

/// How many there are.
pub(crate) const COUNTS: usize = Count::WrittenOff as usize + 1;

/// The counts of requests that have ended.
pub(crate) const ENDED: [Count; 6] = [
    Count::Informational,
    Count::Successful,
    Count::Redirection,
    Count::ClientError,
    Count::ServerError,
    Count::Unanswered,
];

/// The times of which an application has a histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Time {
    /// From when nginx had the request until its executor took it.
    Queue,
    /// From then until the response was complete, or the application had left.
    Application,
    /// For how long its thread waited for the GIL, as far as this module knows.
    GilWait,
    /// From when nginx had the request until the client had all of its response.
    Response,
}

pub(crate) const TIMES: [Time; 4] = [Time::Queue, Time::Application, Time::GilWait, Time::Response];

/// How many words an application takes.
pub(crate) const APP_WORDS: usize = COUNTS + TIMES.len() * histogram::WORDS;

/// One application.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct AppMeter(Words);

impl AppMeter {
    pub(crate) fn new(words: Words) -> Self {
        Self(words)
    }

    /// Event loop: one more request is in flight.
    pub(crate) fn begin(self) {
        self.0.add_alone(Count::Begun as usize, 1);
    }

    /// Event loop: such a request is in flight no more; `status` of the response, if there is one.
    pub(crate) fn end(self, status: Option<u16>) {
        let count = match status {
            None => Count::Unanswered,
            Some(..200) => Count::Informational,
            Some(200..300) => Count::Successful,
            Some(300..400) => Count::Redirection,
            Some(400..500) => Count::ClientError,
            Some(500..) => Count::ServerError,
        };
        self.0.add_alone(count as usize, 1);
    }

    /// Event loop: a web worker has sent a request.
    pub(crate) fn take(self) {
        self.0.add_alone(Count::Taken as usize, 1);
    }

    /// Event loop: such a request is over here.
    pub(crate) fn leave(self) {
        self.0.add_alone(Count::Left as usize, 1);
    }

    /// Event loop: a WebSocket was accepted, or is closed.
    pub(crate) fn socket(self, is_open: bool) {
        let count = if is_open { Count::SocketsOpened } else { Count::SocketsClosed };
        self.0.add_alone(count as usize, 1);
    }

    /// Any thread: one more of what is rare.
    pub(crate) fn count(self, what: Count) {
        self.0.add(what as usize, 1);
    }

    /// Event loop: a request took so long.
    pub(crate) fn took(self, time: Time, duration: Duration) {
        histogram::count(self.times(time), duration);
    }

    pub(super) fn get(self, count: Count) -> u64 {
        self.0.get(count as usize)
    }

    pub(super) fn times(self, time: Time) -> Words {
        self.0.part(COUNTS + time as usize * histogram::WORDS, histogram::WORDS)
    }

    /// How many requests are in flight, if the process lives.
    pub(super) fn in_flight(self) -> u64 {
        // In this order: one that begins and ends meanwhile is not counted as ended alone.
        let over =
            sum(ENDED.map(|count| self.get(count)).into_iter().chain([self.get(Count::Lost)]));
        self.get(Count::Begun).saturating_sub(over)
    }

    /// How many requests of web workers the process has, if it lives.
    pub(super) fn carried(self) -> u64 {
        let over = sum([Count::Left, Count::Dropped].map(|count| self.get(count)));
        self.get(Count::Taken).saturating_sub(over)
    }

    /// The process has died: what was in flight is lost. Its successor calls this before it begins a request.
    pub(super) fn lose_all(self) {
        let dropped = self.get(Count::Dropped).saturating_add(self.carried());
        self.0.set(Count::Dropped as usize, dropped);
        let lost = self.get(Count::Lost).saturating_add(self.in_flight());
        self.0.set(Count::Lost as usize, lost);
        self.0.set(Count::SocketsClosed as usize, self.get(Count::SocketsOpened));
    }
}

/// How a pool of threads is at the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PoolNow {
    /// Those that have been started, without those that were written off.
    pub(crate) threads: usize,
    pub(crate) busy: usize,
    pub(crate) queue: usize,
    /// When the first of the queue was put there, in milliseconds of the monotonic clock; 0: there is none.
    pub(crate) head_since: u64,
}

const POOL_LIMIT: usize = 0;
const POOL_MAX_QUEUE: usize = 1;
const POOL_THREADS: usize = 2;
const POOL_BUSY: usize = 3;
const POOL_QUEUE: usize = 4;
const POOL_HEAD: usize = 5;
/// Those that were written off and have not come back.
const POOL_STUCK: usize = 6;
pub(crate) const POOL_WORDS: usize = 8;

/// One pool of threads.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PoolMeter(Words);

impl PoolMeter {
    pub(crate) fn new(words: Words) -> Self {
        Self(words)
    }

    /// What the configuration says of it.
    pub(crate) fn limits(self, threads: usize, max_queue: usize) {
        self.0.set(POOL_LIMIT, threads as u64);
        self.0.set(POOL_MAX_QUEUE, max_queue as u64);
    }

    /// Under the pool's lock.
    pub(crate) fn show(self, now: PoolNow) {
        self.0.set(POOL_THREADS, now.threads as u64);
        self.0.set(POOL_BUSY, now.busy as u64);
        self.0.set(POOL_QUEUE, now.queue as u64);
        self.0.set(POOL_HEAD, now.head_since);
    }

    /// One of its threads was written off, or such a thread has come back.
    pub(crate) fn stuck(self, is_stuck: bool) {
        self.0.add(POOL_STUCK, if is_stuck { 1 } else { u64::MAX });
    }

    pub(super) fn now(self) -> PoolNow {
        let get = |at| self.0.get(at) as usize;
        PoolNow {
            threads: get(POOL_THREADS),
            busy: get(POOL_BUSY),
            queue: get(POOL_QUEUE),
            head_since: self.0.get(POOL_HEAD),
        }
    }

    pub(super) fn limit(self) -> u64 {
        self.0.get(POOL_LIMIT)
    }

    pub(super) fn max_queue(self) -> u64 {
        self.0.get(POOL_MAX_QUEUE)
    }

    pub(super) fn stuck_threads(self) -> u64 {
        self.0.get(POOL_STUCK)
    }

    pub(super) fn clear(self) {
        (0..POOL_WORDS).for_each(|at| self.0.set(at, 0));
    }
}

/// How a loop is at the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LoopNow {
    /// Tasks that have not ended.
    pub(crate) tasks: usize,
    /// What the loop has not taken, and what waits for others of its location.
    pub(crate) queue: usize,
    /// When the first that the loop has not taken was put there, in milliseconds of the monotonic clock; 0: there is
    /// none.
    pub(crate) head_since: u64,
}

const LOOP_TASKS: usize = 0;
const LOOP_QUEUE: usize = 1;
const LOOP_HEAD: usize = 2;
/// When the loop was asked whether it turns and has not answered, in milliseconds of the monotonic clock; 0: it has.
const LOOP_ASKED: usize = 3;
/// In milliseconds, as the last answer showed it.
const LOOP_LAG: usize = 4;
pub(crate) const LOOP_WORDS: usize = 8;

/// One event loop of asyncio.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LoopMeter(Words);

impl LoopMeter {
    pub(crate) fn new(words: Words) -> Self {
        Self(words)
    }

    /// Under the loop's lock.
    pub(crate) fn show(self, now: LoopNow) {
        self.0.set(LOOP_TASKS, now.tasks as u64);
        self.0.set(LOOP_QUEUE, now.queue as u64);
        self.0.set(LOOP_HEAD, now.head_since);
    }

    /// Attendant: the loop was asked at that time.
    pub(crate) fn asked(self, now: u64) {
        self.0.set(LOOP_ASKED, now);
    }

    /// Loop's thread: it turns, after so many milliseconds.
    pub(crate) fn answered(self, lag: u64) {
        self.0.set(LOOP_LAG, lag);
        self.0.set(LOOP_ASKED, 0);
    }

    pub(super) fn now(self) -> LoopNow {
        let get = |at| self.0.get(at) as usize;
        let head_since = self.0.get(LOOP_HEAD);
        LoopNow { tasks: get(LOOP_TASKS), queue: get(LOOP_QUEUE), head_since }
    }

    /// For how many milliseconds it has not turned, or had not when it was asked last.
    pub(super) fn lag(self, now: u64) -> u64 {
        let waits = match self.0.get(LOOP_ASKED) {
            0 => 0,
            asked => now.saturating_sub(asked),
        };
        waits.max(self.0.get(LOOP_LAG))
    }

    pub(super) fn clear(self) {
        (0..LOOP_WORDS).for_each(|at| self.0.set(at, 0));
    }
}

#[cfg(test)]
#[cfg(not(feature = "loom"))]
mod tests {
    use super::super::words::leaked;
    use super::*;

    fn app() -> AppMeter {
        AppMeter::new(Words::new(leaked(APP_WORDS)))
    }

    #[test]
    fn what_has_begun_is_in_flight_until_it_ends() {
        let app = app();
        for _ in 0..8 {
            app.begin();
        }
        let statuses = [Some(101), Some(204), Some(304), Some(404), Some(503), None];
        for status in statuses {
            app.end(status);
        }
        assert_eq!(app.in_flight(), 2);
        assert!(ENDED.iter().all(|count| app.get(*count) == 1));
        app.count(Count::Exceptions);
        app.took(Time::Response, Duration::from_millis(7));
        assert_eq!(app.get(Count::Exceptions), 1);
        assert_eq!(app.times(Time::Response).get(histogram::BUCKETS), 7000);
        assert_eq!(app.times(Time::GilWait).get(histogram::BUCKETS), 0);
    }

    #[test]
    fn what_was_in_flight_is_lost_once() {
        let app = app();
        (0..3).for_each(|_| app.begin());
        app.end(Some(200));
        app.socket(true);
        for _ in 0..2 {
            app.lose_all();
            assert_eq!((app.in_flight(), app.get(Count::Lost)), (0, 2));
            assert_eq!(app.get(Count::SocketsClosed), 1);
        }
        app.begin();
        assert_eq!(app.in_flight(), 1);
    }

    #[test]
    fn what_web_workers_have_sent_counts_apart() {
        let app = app();
        (0..3).for_each(|_| app.take());
        app.leave();
        assert_eq!((app.in_flight(), app.carried()), (0, 2));
        for _ in 0..2 {
            app.lose_all();
            assert_eq!((app.carried(), app.get(Count::Dropped), app.get(Count::Lost)), (0, 2, 0));
        }
    }

    #[test]
    fn a_meter_without_words_loses_what_it_is_told() {
        let (app, pool) = (AppMeter::default(), PoolMeter::default());
        app.begin();
        pool.show(PoolNow { threads: 1, ..PoolNow::default() });
        assert_eq!((app.in_flight(), pool.now()), (0, PoolNow::default()));
    }

    #[test]
    fn the_lag_of_a_loop_that_does_not_answer_grows() {
        let meter = LoopMeter::new(Words::new(leaked(LOOP_WORDS)));
        meter.asked(1_000);
        assert_eq!(meter.lag(1_300), 300);
        meter.answered(400);
        assert_eq!(meter.lag(9_000), 400);
        meter.asked(9_000);
        meter.answered(1);
        assert_eq!(meter.lag(9_500), 1);
        meter.clear();
        assert_eq!(meter.lag(9_500), 0);
    }
}
