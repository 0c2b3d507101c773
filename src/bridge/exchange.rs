//! One request and its response, as both sides share it.
//!
//! `phase` says whose turn it is:
//!
//! - `WAITING`: in a queue. A thread's [`start`](Exchange::start) and the event loop's
//!   [`expire`](Exchange::expire) both try to leave it; one of them succeeds.
//! - `RUNNING`: a thread runs the application. The event loop may close both pipes at any moment; the
//!   thread notices at its next read or push.
//! - `EXPIRED`: no thread will ever run it.
//! - `DONE`: the thread has left the application. What is to come after the response
//!   ([`Callbacks`]) is run when nginx has let go of the request as well.

use std::io;
use std::time::{Duration, Instant};

use super::callbacks::{Callback, Callbacks, Gone};
use super::config::{ClientAbort, LocationConfig};
use super::events::Event;
use super::id::RequestId;
use super::input::{Input, InputError, Read};
use super::output::{Closed, End, FilePart, Output};
use super::sync::{Arc, AtomicBool, AtomicU8, AtomicU64, Ordering};
use super::tasks::Task;
use super::worker::Worker;
use crate::http::head::RequestHead;
use crate::http::header::Field;
use crate::http::response::ResponseHead;
use bytes::Bytes;

/// A request on its way to a thread.
pub(crate) type Job = Arc<Exchange>;

const WAITING: u8 = 0;
const RUNNING: u8 = 1;
const EXPIRED: u8 = 2;
const DONE: u8 = 3;

#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) id: RequestId,
    pub(crate) head: RequestHead,
    pub(crate) location: Arc<LocationConfig>,
    pub(crate) worker: Arc<Worker>,
    pub(crate) input: Input,
    pub(crate) output: Output,
    phase: AtomicU8,
    /// Milliseconds of the worker's clock at which the thread started.
    started: AtomicU64,
    /// Python's ident of the thread.
    thread: AtomicU64,
    client_wait: ClientWait,
    callbacks: Callbacks,
    cancelled: AtomicBool,
}

/// What a request is doing, for the event loop's timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    Waiting,
    /// Milliseconds since the start, without those for which the thread waited for the client.
    Running(u64),
    Done,
}

impl Exchange {
    pub(crate) fn new(
        id: RequestId,
        head: RequestHead,
        location: Arc<LocationConfig>,
        worker: Arc<Worker>,
        input: Input,
    ) -> Self {
        let output = Output::new(location.buffering.clone());
        Self {
            id,
            head,
            location,
            worker,
            input,
            output,
            phase: AtomicU8::new(WAITING),
            started: AtomicU64::new(0),
            thread: AtomicU64::new(0),
            client_wait: ClientWait::default(),
            callbacks: Callbacks::default(),
            cancelled: AtomicBool::new(false),
        }
    }

    /// Thread: takes the request on; false where it has expired.
    pub(crate) fn start(&self, thread: u64) -> bool {
        self.thread.store(thread, Ordering::Relaxed);
        self.started.store(self.worker.now(), Ordering::Relaxed);
        self.phase.compare_exchange(WAITING, RUNNING, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Thread: has left the application. Gives back what it is to call now, because the request is over
    /// already; [`followed_up`](Self::followed_up) is to be called after that.
    #[must_use]
    pub(crate) fn done(&self) -> Vec<Callback> {
        self.phase.store(DONE, Ordering::Release);
        self.callbacks.set_left()
    }

    /// Has the thread left the application?
    pub(crate) fn is_done(&self) -> bool {
        self.phase.load(Ordering::Acquire) == DONE
    }

    /// Thread: to be called when the client is gone while the application runs. Comes back where that is
    /// so already.
    pub(crate) fn on_gone(&self, callback: Callback) -> Option<Callback> {
        self.callbacks.on_gone(callback)
    }

    /// Thread: to be called when the response is over. Comes back where that is so already.
    pub(crate) fn after(&self, callback: Callback) -> Option<Callback> {
        match self.callbacks.after(callback) {
            Ok(first) => {
                if first {
                    self.worker.begin_follow_up();
                }
                None
            }
            Err(callback) => Some(callback),
        }
    }

    /// A Python thread: what is to be called now that the client is gone.
    pub(crate) fn take_on_gone(&self) -> Vec<Callback> {
        self.callbacks.take_on_gone()
    }

    /// A thread of the pool: what is to be called after the response.
    pub(crate) fn take_after(&self) -> Vec<Callback> {
        self.callbacks.take_after()
    }

    /// Thread: all that comes after the response has been done.
    pub(crate) fn followed_up(&self) {
        self.worker.end_follow_up();
    }

    /// Why nobody waits for the response any more, if that is so.
    pub(crate) fn gone(&self) -> Option<Gone> {
        self.callbacks.gone()
    }

    /// Python, attached: the thread has been interrupted (`wsgi_client_abort cancel`).
    pub(crate) fn set_cancelled(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// Event loop: nobody waits for the response any more.
    pub(crate) fn set_gone(self: &Arc<Self>, why: Gone) {
        let told = self.callbacks.set_gone(why);
        let cancelled = why == Gone::Client && self.location.client_abort == ClientAbort::Cancel;
        if (told || cancelled) && matches!(self.progress(), Progress::Running(_)) {
            self.worker.tasks.push(Task::Gone(Arc::clone(self)));
        }
    }

    /// Event loop: nginx has let go of the request.
    pub(crate) fn over(self: &Arc<Self>) {
        if self.callbacks.set_over() {
            self.worker.submit_follow_up(Arc::clone(self));
        }
    }

    /// Event loop: takes the request back from the queue; false where a thread has it.
    pub(crate) fn expire(&self) -> bool {
        self.phase.compare_exchange(WAITING, EXPIRED, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    pub(crate) fn progress(&self) -> Progress {
        match self.phase.load(Ordering::Acquire) {
            RUNNING => {
                let now = self.worker.now();
                let elapsed = now.saturating_sub(self.started.load(Ordering::Relaxed));
                Progress::Running(elapsed.saturating_sub(self.client_wait.until(now)))
            }
            WAITING => Progress::Waiting,
            _ => Progress::Done,
        }
    }

    /// How much of `wsgi_timeout` is left to the running application, where there is a limit.
    pub(crate) fn time_left(&self) -> Option<Duration> {
        let timeout = self.location.timeout?;
        match self.progress() {
            Progress::Running(elapsed) => {
                Some(timeout.saturating_sub(Duration::from_millis(elapsed)))
            }
            Progress::Waiting | Progress::Done => None,
        }
    }

    /// Python's ident of the thread that runs the request now.
    pub(crate) fn thread(&self) -> Option<u64> {
        matches!(self.progress(), Progress::Running(_)).then(|| self.thread.load(Ordering::Relaxed))
    }

    /// Event loop: nothing more goes to this request's client, nothing more comes from it.
    pub(crate) fn close(self: &Arc<Self>, why: InputError) {
        if self.expire() {
            self.worker.forget(self);
        }
        self.input.fail(why);
        if self.output.close() {
            self.worker.collect();
        }
    }

    /// Thread: sends a part of the response. `detached` runs what may wait, detached from Python. An
    /// error of the temporary file is for the log alone: the response goes on without one.
    pub(crate) fn send(
        &self,
        head: Option<ResponseHead>,
        block: Bytes,
        end: Option<End>,
        detached: impl FnOnce(&mut (dyn FnMut() + Send)),
    ) -> Result<Option<io::Error>, Closed> {
        let announce = || self.worker.events.push(Event::Output(self.id));
        let Some(rest) = self.output.push(head, block, end, announce)? else {
            return Ok(None);
        };
        let mut rest = Some(rest);
        let mut result = Ok(None);
        detached(&mut || {
            if let Some(rest) = rest.take() {
                result = self.waiting(|| self.output.push_blocking(rest, announce));
            }
        });
        result
    }

    /// Thread: sends a 103 (Early Hints).
    pub(crate) fn send_hints(&self, fields: Vec<Field>) {
        self.output.push_hints(fields, || self.worker.events.push(Event::Output(self.id)));
    }

    /// Thread: sends a part of a file. Never waits.
    pub(crate) fn send_file(
        &self,
        head: Option<ResponseHead>,
        part: FilePart,
        end: Option<End>,
    ) -> Result<(), Closed> {
        let announce = || self.worker.events.push(Event::Output(self.id));
        self.output.push_file(head, part, end, announce)
    }

    /// Thread: the response has ended. Never waits.
    pub(crate) fn end(&self, head: Option<ResponseHead>, end: End) -> Result<(), Closed> {
        let announce = || self.worker.events.push(Event::Output(self.id));
        self.output.push(head, Bytes::new(), Some(end), announce).map(drop)
    }

    /// Thread: up to `max` bytes of the request's body.
    pub(crate) fn read(
        &self,
        max: usize,
        detached: impl FnOnce(&mut (dyn FnMut() + Send)),
    ) -> Result<Read, InputError> {
        let ask = || self.worker.events.push(Event::ReadBody(self.id));
        match self.input.read(max, ask)? {
            Read::Wait => {}
            read => return Ok(read),
        }
        let mut result = Ok(Read::End);
        detached(&mut || result = self.waiting(|| self.input.read_blocking(max, ask)));
        result
    }

    /// Runs `wait`; the time goes to the client's account.
    fn waiting<T>(&self, wait: impl FnOnce() -> T) -> T {
        self.client_wait.begin(self.worker.now());
        let result = wait();
        self.client_wait.end(self.worker.now());
        result
    }
}

/// For how long a thread has waited for the client; the thread writes, the event loop reads.
#[derive(Debug)]
struct ClientWait {
    /// Milliseconds of the waits that have ended.
    total: AtomicU64,
    /// Milliseconds of the worker's clock at which the thread began to wait; 0: it does not wait.
    since: AtomicU64,
}

impl Default for ClientWait {
    fn default() -> Self {
        Self { total: AtomicU64::new(0), since: AtomicU64::new(0) }
    }
}

impl ClientWait {
    fn begin(&self, now: u64) {
        // Release: who sees this wait sees those before it in `total`.
        self.since.store(now.max(1), Ordering::Release);
    }

    fn end(&self, now: u64) {
        let since = self.since.load(Ordering::Relaxed);
        self.total.fetch_add(now.saturating_sub(since), Ordering::Relaxed);
        self.since.store(0, Ordering::Release);
    }

    /// All waits up to `now`. One that ends meanwhile is counted twice rather than never, and the timer
    /// comes by again.
    fn until(&self, now: u64) -> u64 {
        let since = self.since.load(Ordering::Acquire);
        let total = self.total.load(Ordering::Relaxed);
        if since == 0 { total } else { total + now.saturating_sub(since) }
    }
}

/// Milliseconds since `epoch`.
pub(crate) fn milliseconds(epoch: Instant) -> u64 {
    u64::try_from(epoch.elapsed().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[cfg(not(feature = "loom"))]
mod tests {
    use std::thread;

    use super::*;
    use crate::bridge::fixture::{ids, job, jobs, until, worker};
    use crate::bridge::output::SHARED_FROM;
    use crate::bridge::pool::{Next, Turn};
    use crate::bridge::tasks::Task;

    fn detached(wait: &mut (dyn FnMut() + Send)) {
        wait();
    }

    fn not_detached(_: &mut (dyn FnMut() + Send)) {
        panic!("there is nothing to wait for");
    }

    fn events(worker: &Worker) -> Vec<Event> {
        let mut batch = Vec::new();
        worker.events.take(&mut batch);
        batch
    }

    #[test]
    fn a_request_is_started_or_expires() {
        let [started, expired] = jobs(&worker(1, 0));
        assert_eq!((started.progress(), started.thread()), (Progress::Waiting, None));
        assert!(started.start(7));
        assert!(!started.expire());
        assert!(matches!(started.progress(), Progress::Running(_)));
        assert_eq!(started.thread(), Some(7));
        assert!(started.done().is_empty());
        assert_eq!((started.progress(), started.thread()), (Progress::Done, None));

        assert!(expired.expire());
        assert!(!expired.expire());
        assert!(!expired.start(7));
        assert_eq!((expired.progress(), expired.thread()), (Progress::Done, None));
    }

    #[test]
    fn a_running_application_is_told_that_its_client_is_gone() {
        let worker = worker(1, 0);
        let [told, not_asked, done] = jobs(&worker);
        for job in [&told, &not_asked, &done] {
            assert!(job.start(7));
        }
        for job in [&told, &done] {
            assert!(job.on_gone(Callback::new(|| ())).is_none());
        }
        assert!(done.done().is_empty());
        for job in [&told, &not_asked, &done] {
            job.set_gone(Gone::Client);
            assert_eq!(job.gone(), Some(Gone::Client));
        }
        worker.tasks.push(Task::Stop);
        let Task::Gone(job) = worker.tasks.next() else { panic!("nobody is told") };
        assert_eq!((job.id, job.take_on_gone().len()), (told.id, 1));
        assert!(matches!(worker.tasks.next(), Task::Stop));
    }

    #[test]
    fn what_comes_after_a_response_is_counted_until_it_is_done() {
        let worker = worker(1, 0);
        let [slow_client, slow_thread] = jobs(&worker);
        for job in [&slow_client, &slow_thread] {
            assert!(job.start(7));
            assert!(job.after(Callback::new(|| ())).is_none());
            assert!(job.after(Callback::new(|| ())).is_none());
        }
        assert_eq!(worker.follow_ups(), 2);

        slow_thread.over();
        assert_eq!(slow_thread.done().len(), 2);
        slow_thread.followed_up();
        assert_eq!(worker.follow_ups(), 1);

        assert!(slow_client.done().is_empty());
        slow_client.over();
        let Next::Run { job, .. } = worker.pools[0].take(&mut Turn::default()) else {
            panic!("the pool has nothing to do")
        };
        assert!(job.is_done());
        assert_eq!((job.id, job.take_after().len()), (slow_client.id, 2));
        job.followed_up();
        assert_eq!(worker.follow_ups(), 0);
    }

    #[test]
    fn a_request_that_is_closed_runs_no_more() {
        let worker = worker(1, 0);
        let [waiting, running] = ids().map(|id| job(&worker, id, Input::streamed(false)));
        waiting.close(InputError::Answered);
        assert!(!waiting.start(7));
        assert!(running.start(7));
        running.close(InputError::ClientGone);
        assert!(matches!(running.progress(), Progress::Running(_)));
        assert_eq!(running.read(9, not_detached).unwrap_err(), InputError::ClientGone);
        assert_eq!(running.send(None, "x".into(), None, not_detached).unwrap_err(), Closed);
        assert_eq!(running.end(None, End::Failed).unwrap_err(), Closed);
        assert!(events(&worker).is_empty());
    }

    #[test]
    fn a_request_that_is_closed_leaves_its_queue() {
        let worker = worker(1, 9);
        let [at_the_gate, in_the_pool, taken] = jobs(&worker);
        worker.submit(Arc::clone(&at_the_gate)).unwrap();
        at_the_gate.close(InputError::ClientGone);
        assert!(worker.open_gate(0).is_empty());
        for job in [&taken, &in_the_pool] {
            worker.submit(Arc::clone(job)).unwrap();
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
        let [small, shared] = jobs(&worker);
        for (job, len) in [(&small, SHARED_FROM - 1), (&shared, SHARED_FROM)] {
            assert!(job.start(7));
            job.send(None, vec![0; len].into(), None, not_detached).unwrap();
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
        let job = job(&worker, id, Input::streamed(true));
        assert!(job.start(7));
        job.send(None, "ab".into(), None, not_detached).unwrap();
        job.end(None, End::Complete).unwrap();
        assert!(matches!(events(&worker)[..], [Event::Output(told)] if told == id));
        let thread = {
            let job = Arc::clone(&job);
            thread::spawn(move || job.read(9, detached))
        };
        let mut asked = Vec::new();
        until(|| {
            asked.append(&mut events(&worker));
            !asked.is_empty()
        });
        assert!(matches!(asked[..], [Event::ReadBody(told)] if told == id));
        job.input.push("body".into());
        assert!(matches!(thread.join().unwrap(), Ok(Read::Data(bytes)) if bytes == "body"));
    }

    #[test]
    fn what_need_not_wait_is_not_detached() {
        let worker = worker(1, 0);
        let [id] = ids();
        let job = job(&worker, id, Input::streamed(false));
        assert!(job.start(7));
        job.input.push("ab".into());
        assert!(matches!(job.read(9, not_detached), Ok(Read::Data(_))));
        job.input.end();
        assert!(matches!(job.read(9, not_detached), Ok(Read::End)));
    }

    fn running(job: &Job) -> u64 {
        match job.progress() {
            Progress::Running(milliseconds) => milliseconds,
            progress => panic!("{progress:?}"),
        }
    }

    #[test]
    fn the_clock_stands_still_while_the_client_is_waited_for() {
        let worker = worker(1, 0);
        // As if it had begun before: 0 means that no thread waits.
        thread::sleep(Duration::from_millis(2));
        let [id] = ids();
        let job = job(&worker, id, Input::streamed(false));
        assert!(job.start(7));
        let (begin, before) = (worker.now(), running(&job));
        // The buffer is four bytes, and nobody takes them: the second block waits.
        let sender = {
            let job = Arc::clone(&job);
            thread::spawn(move || {
                job.send(None, "abcd".into(), None, not_detached).unwrap();
                job.send(None, "ef".into(), None, detached).unwrap();
            })
        };
        until(|| job.client_wait.since.load(Ordering::Acquire) != 0);
        let waiting = running(&job);
        thread::sleep(Duration::from_millis(100));
        assert!(running(&job) <= waiting + 1);
        job.output.drained(4, 0, false);
        sender.join().unwrap();
        let reader = {
            let job = Arc::clone(&job);
            thread::spawn(move || drop(job.read(9, detached)))
        };
        until(|| job.client_wait.since.load(Ordering::Acquire) != 0);
        thread::sleep(Duration::from_millis(100));
        job.input.end();
        reader.join().unwrap();
        assert!(running(&job) + 200 <= before + (worker.now() - begin) + 2);
        let after = running(&job);
        thread::sleep(Duration::from_millis(20));
        assert!(running(&job) >= after + 20 - 1, "it runs again");
    }

    #[test]
    fn waits_add_up() {
        let wait = ClientWait::default();
        assert_eq!(wait.until(5), 0);
        wait.begin(0);
        assert_eq!(wait.until(5), 4);
        wait.end(11);
        assert_eq!((wait.until(11), wait.until(99)), (10, 10));
        wait.begin(20);
        assert_eq!((wait.until(20), wait.until(23), wait.until(19)), (10, 13, 10));
        wait.end(25);
        assert_eq!(wait.until(99), 15);
    }
}

#[cfg(test)]
#[cfg(feature = "loom")]
mod model {
    use loom::thread;

    use super::*;
    use crate::bridge::fixture::{check, jobs, worker};

    #[test]
    fn either_the_thread_or_the_event_loop_has_it() {
        check(3, || {
            let [job] = jobs(&worker(1, 0));
            let thread = {
                let job = Arc::clone(&job);
                thread::spawn(move || {
                    let started = job.start(7);
                    // Who reads a thread's ident there has it of this request.
                    assert_eq!(job.thread(), started.then_some(7));
                    started
                })
            };
            let ident = job.thread();
            assert!(ident.is_none_or(|ident| ident == 7));
            let expired = job.expire();
            let started = thread.join().unwrap();
            assert!(started != expired, "one of them, and not both");
            assert!(ident.is_none() || started);
        });
    }

    #[test]
    fn no_wait_is_left_out() {
        check(3, || {
            let wait = Arc::new(ClientWait::default());
            let thread = {
                let wait = Arc::clone(&wait);
                thread::spawn(move || {
                    wait.begin(1);
                    wait.end(101);
                    wait.begin(201);
                })
            };
            let [first, second] = [wait.until(302), wait.until(302)];
            for waited in [first, second] {
                // Before, in or after the first wait (one that ends is counted twice), in the second.
                assert!([0, 100, 201, 301, 401].contains(&waited), "{waited}");
            }
            assert!(first == 0 || second != 0, "a wait that was seen is not forgotten at its end");
            thread.join().unwrap();
            assert_eq!(wait.until(302), 201);
        });
    }

    #[test]
    fn a_request_that_is_closed_keeps_no_thread_waiting() {
        check(2, || {
            let worker = worker(1, 0);
            let [job] = jobs(&worker);
            assert!(job.start(7));
            let thread = {
                let job = Arc::clone(&job);
                thread::spawn(move || {
                    let send = |text: &'static str| {
                        job.send(None, Bytes::from_static(text.as_bytes()), None, |wait| wait())
                    };
                    send("abcd").and_then(|_| send("ef"))
                })
            };
            job.close(InputError::ClientGone);
            assert_eq!(thread.join().unwrap().unwrap_err(), Closed);
        });
    }
}
