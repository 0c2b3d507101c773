//! All that the processes have counted, at one moment: over all of them, and for each.

use std::time::Duration;

use super::histogram::Histogram;
use super::meters::{AppMeter, Count, ENDED, LoopMeter, PoolMeter, TIMES, Time};
use super::names::AppName;
use super::zone::{Area, Event, REASONS, State, Zone};

/// What a snapshot needs to know beside the memory.
pub(crate) struct Surroundings<'a> {
    pub(crate) apps: &'a [AppName],
    pub(crate) pools: &'a [String],
    pub(crate) loops: &'a [String],
    pub(crate) versions: Versions,
    /// The names of the reasons to replace a worker, by their numbers.
    pub(crate) reasons: &'static [&'static str],
    /// Milliseconds since 1970.
    pub(crate) now: u64,
    /// Milliseconds of the monotonic clock.
    pub(crate) clock: u64,
    /// Whether a process lives.
    pub(crate) lives: &'a dyn Fn(u32) -> bool,
    /// Bytes of a process's memory that are in RAM, if the system says so.
    pub(crate) memory: &'a dyn Fn(u32) -> Option<u64>,
}

/// Which versions are at work.
#[derive(Clone, Debug)]
pub(crate) struct Versions {
    pub(crate) module: &'static str,
    pub(crate) nginx: String,
    pub(crate) python: &'static str,
}

#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    pub(crate) versions: Versions,
    /// Milliseconds since 1970.
    pub(crate) now: u64,
    /// When nginx started, likewise.
    pub(crate) started: u64,
    pub(crate) reloads: u64,
    pub(crate) crashes: u64,
    /// How many workers were replaced, by reason.
    pub(crate) replaced: Vec<(&'static str, u64)>,
    pub(crate) total: Numbers,
    /// Those that live, by their number and age.
    pub(crate) workers: Vec<Worker>,
    /// The newest first.
    pub(crate) history: Vec<Event>,
    pub(crate) reasons: &'static [&'static str],
}

/// Of one process or of all.
#[derive(Clone, Debug, Default)]
pub(crate) struct Numbers {
    pub(crate) apps: Vec<App>,
    pub(crate) pools: Vec<Pool>,
    pub(crate) loops: Vec<Loop>,
}

#[derive(Clone, Debug)]
pub(crate) struct Worker {
    pub(crate) process: u32,
    pub(crate) number: u64,
    pub(crate) state: State,
    /// When it started, in milliseconds since 1970.
    pub(crate) since: u64,
    /// Those that it has had itself; its numbers count those of its predecessors as well.
    pub(crate) requests: u64,
    pub(crate) memory: Option<u64>,
    pub(crate) numbers: Numbers,
}

#[derive(Clone, Debug)]
pub(crate) struct App {
    pub(crate) name: AppName,
    pub(crate) in_flight: u64,
    pub(crate) sockets: u64,
    counts: Vec<(Count, u64)>,
    times: [Histogram; TIMES.len()],
}

/// What an application's rare events are called.
pub(crate) const EVENTS: [(Count, &str); 8] = [
    (Count::Exceptions, "exceptions"),
    (Count::ClientGone, "client_gone"),
    (Count::TimedOut, "timed_out"),
    (Count::QueueTimedOut, "queue_timed_out"),
    (Count::Refused, "refused"),
    (Count::Interrupted, "interrupted"),
    (Count::WrittenOff, "threads_written_off"),
    (Count::Lost, "lost"),
];

/// What the classes of a status are called.
pub(crate) const CLASSES: [(Count, &str); 6] = [
    (Count::Informational, "1xx"),
    (Count::Successful, "2xx"),
    (Count::Redirection, "3xx"),
    (Count::ClientError, "4xx"),
    (Count::ServerError, "5xx"),
    (Count::Unanswered, "none"),
];

/// What the times are called.
pub(crate) const TIME_NAMES: [(Time, &str); TIMES.len()] = [
    (Time::Queue, "queue"),
    (Time::Application, "application"),
    (Time::GilWait, "gil_wait"),
    (Time::Response, "response"),
];

#[derive(Clone, Debug)]
pub(crate) struct Pool {
    pub(crate) name: String,
    /// As the configuration says, over all its processes.
    pub(crate) limit: u64,
    pub(crate) max_queue: u64,
    pub(crate) threads: u64,
    pub(crate) busy: u64,
    pub(crate) written_off: u64,
    pub(crate) queue: u64,
    /// How long the first of the queue has waited.
    pub(crate) queue_age: Duration,
}

#[derive(Clone, Debug)]
pub(crate) struct Loop {
    pub(crate) name: String,
    pub(crate) tasks: u64,
    pub(crate) queue: u64,
    pub(crate) queue_age: Duration,
    /// The longest time for which one of its loops has not turned.
    pub(crate) lag: Duration,
}

impl Snapshot {
    pub(crate) fn take(zone: &Zone, around: &Surroundings<'_>) -> Self {
        let mut total = Numbers::default();
        let mut workers = Vec::new();
        let mut crashes = 0;
        let mut replaced = [0; REASONS];
        for area in zone.areas() {
            let owner = area.owner();
            if owner == 0 {
                continue;
            }
            crashes += area.crashes();
            for (reason, count) in replaced.iter_mut().enumerate() {
                *count += area.replacements(reason);
            }
            let state =
                area.state().filter(|state| *state != State::Ended && (around.lives)(owner));
            let numbers = Numbers::of(&area, around, state.is_some());
            total.add(&numbers);
            if let Some(state) = state {
                workers.push(Worker {
                    process: owner,
                    number: area.number(),
                    state,
                    since: area.since(),
                    requests: area.requests(),
                    memory: (around.memory)(owner),
                    numbers,
                });
            } else if area.state() != Some(State::Ended) {
                // It has died, and nobody has taken its area yet.
                crashes += 1;
            }
        }
        if total.apps.is_empty() {
            total = Numbers::none(around);
        }
        workers.sort_by_key(|worker| (worker.number, worker.since));
        Self {
            versions: around.versions.clone(),
            now: around.now,
            started: zone.started(),
            reloads: zone.reloads(),
            crashes,
            replaced: around.reasons.iter().copied().zip(replaced).collect(),
            total,
            workers,
            history: zone.history(),
            reasons: around.reasons,
        }
    }
}

impl Numbers {
    fn of(area: &Area, around: &Surroundings<'_>, is_live: bool) -> Self {
        let apps = around.apps.iter().enumerate();
        let pools = around.pools.iter().enumerate();
        let loops = around.loops.iter().enumerate();
        Self {
            apps: apps.map(|(at, name)| App::of(name, area.app(at), is_live)).collect(),
            pools: pools
                .map(|(at, name)| Pool::of(name, area.pool(at), is_live, around.clock))
                .collect(),
            loops: loops
                .map(|(at, name)| Loop::of(name, area.event_loop(at), is_live, around.clock))
                .collect(),
        }
    }

    /// Before any process has counted.
    fn none(around: &Surroundings<'_>) -> Self {
        let apps = around.apps.iter().map(|name| App::of(name, AppMeter::default(), false));
        let pools = around.pools.iter().map(|name| Pool::of(name, PoolMeter::default(), false, 0));
        let loops = around.loops.iter().map(|name| Loop::of(name, LoopMeter::default(), false, 0));
        Self { apps: apps.collect(), pools: pools.collect(), loops: loops.collect() }
    }

    fn add(&mut self, other: &Self) {
        if self.apps.is_empty() && self.pools.is_empty() {
            *self = other.clone();
            return;
        }
        self.apps.iter_mut().zip(&other.apps).for_each(|(own, other)| own.add(other));
        self.pools.iter_mut().zip(&other.pools).for_each(|(own, other)| own.add(other));
        self.loops.iter_mut().zip(&other.loops).for_each(|(own, other)| own.add(other));
    }
}

impl App {
    fn of(name: &AppName, meter: AppMeter, is_live: bool) -> Self {
        let mut times: [Histogram; TIMES.len()] = Default::default();
        for (histogram, time) in times.iter_mut().zip(TIMES) {
            histogram.add(meter.times(time));
        }
        let in_flight = meter.in_flight();
        let sockets =
            meter.get(Count::SocketsOpened).saturating_sub(meter.get(Count::SocketsClosed));
        let all = CLASSES.iter().chain(&EVENTS).map(|(count, _)| *count);
        let all = all.chain([Count::SocketsOpened]);
        let mut app = Self {
            name: name.clone(),
            in_flight,
            sockets,
            counts: all.map(|count| (count, meter.get(count))).collect(),
            times,
        };
        if !is_live {
            app.in_flight = 0;
            app.sockets = 0;
            let lost = app.counts.iter_mut().filter(|(count, _)| *count == Count::Lost);
            lost.for_each(|(_, lost)| *lost += in_flight);
        }
        app
    }

    fn add(&mut self, other: &Self) {
        self.in_flight += other.in_flight;
        self.sockets += other.sockets;
        for ((_, own), (_, other)) in self.counts.iter_mut().zip(&other.counts) {
            *own += other;
        }
        for (own, other) in self.times.iter_mut().zip(&other.times) {
            own.merge(other);
        }
    }

    pub(crate) fn count(&self, wanted: Count) -> u64 {
        self.counts.iter().find(|(count, _)| *count == wanted).map_or(0, |(_, number)| *number)
    }

    /// How many requests have ended.
    pub(crate) fn ended(&self) -> u64 {
        ENDED.iter().map(|count| self.count(*count)).sum()
    }

    pub(crate) fn time(&self, time: Time) -> &Histogram {
        let [queue, application, gil_wait, response] = &self.times;
        match time {
            Time::Queue => queue,
            Time::Application => application,
            Time::GilWait => gil_wait,
            Time::Response => response,
        }
    }
}

impl Pool {
    fn of(name: &str, meter: PoolMeter, is_live: bool, clock: u64) -> Self {
        let meter = if is_live { meter } else { PoolMeter::default() };
        let now = meter.now();
        Self {
            name: name.to_owned(),
            limit: meter.limit(),
            max_queue: meter.max_queue(),
            threads: now.threads as u64,
            busy: now.busy as u64,
            written_off: meter.stuck_threads(),
            queue: now.queue as u64,
            queue_age: age(now.head_since, clock),
        }
    }

    fn add(&mut self, other: &Self) {
        self.limit += other.limit;
        self.max_queue += other.max_queue;
        self.threads += other.threads;
        self.busy += other.busy;
        self.written_off += other.written_off;
        self.queue += other.queue;
        self.queue_age = self.queue_age.max(other.queue_age);
    }

    pub(crate) fn idle(&self) -> u64 {
        self.threads.saturating_sub(self.busy)
    }
}

impl Loop {
    fn of(name: &str, meter: LoopMeter, is_live: bool, clock: u64) -> Self {
        let meter = if is_live { meter } else { LoopMeter::default() };
        let now = meter.now();
        Self {
            name: name.to_owned(),
            tasks: now.tasks as u64,
            queue: now.queue as u64,
            queue_age: age(now.head_since, clock),
            lag: Duration::from_millis(meter.lag(clock)),
        }
    }

    fn add(&mut self, other: &Self) {
        self.tasks += other.tasks;
        self.queue += other.queue;
        self.queue_age = self.queue_age.max(other.queue_age);
        self.lag = self.lag.max(other.lag);
    }
}

/// For how long something has been so, if it is so (`since` is not 0).
fn age(since: u64, clock: u64) -> Duration {
    let milliseconds = if since == 0 { 0 } else { clock.saturating_sub(since) };
    Duration::from_millis(milliseconds)
}

impl State {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Serving => "serving",
            Self::Draining => "draining",
            Self::Ended => "ended",
        }
    }
}

/// Something to show, for the tests of this folder.
#[cfg(test)]
pub(super) fn example() -> Snapshot {
    use super::meters::{LoopNow, PoolNow};
    use super::words::{Words, leaked};
    use super::zone::{Happened, Layout};

    let layout = Layout { apps: 2, pools: 1, loops: 1, areas: 3 };
    let words = Words::new(leaked(layout.words()));
    let zone = Zone::new(layout, words, Words::new(leaked(layout.answer_words())));
    zone.reload(1_000_000);
    let first = zone.take(10, 0, 1_000_500, |_| true).unwrap();
    let second = zone.take(11, 1, 1_000_700, |_| true).unwrap();
    let dead = zone.take(12, 2, 1_000_800, |_| true).unwrap();
    first.set_state(State::Serving);
    for area in [first, second, dead] {
        area.app(0).begin();
        area.app(0).begin();
        area.app(0).end(Some(200));
        area.app(0).took(Time::Response, Duration::from_millis(3));
    }
    first.app(1).begin();
    first.app(1).socket(true);
    first.app(1).count(Count::Exceptions);
    first.pool(0).limits(8, 1024);
    first.pool(0).show(PoolNow { threads: 3, busy: 2, queue: 1, head_since: 4_000 });
    first.event_loop(0).show(LoopNow { tasks: 5, ..LoopNow::default() });
    first.event_loop(0).asked(4_400);
    second.replaced(1);
    zone.remember(Event { at: 1_002_000, process: 9, what: Happened::Replaced(1) });
    let name = |protocol: &str, target: &str| AppName {
        protocol: protocol.to_owned(),
        target: target.to_owned(),
    };
    Snapshot::take(
        &zone,
        &Surroundings {
            apps: &[name("wsgi", "/srv/shop/wsgi.py"), name("asgi", "live:\"app\"\\")],
            pools: &["default".to_owned()],
            loops: &["main".to_owned()],
            versions: Versions { module: "0.1.0", nginx: "1.22.1".to_owned(), python: "3.11" },
            reasons: &["stuck_threads", "max_requests"],
            now: 1_060_000,
            clock: 4_500,
            lives: &|process| process != 12,
            memory: &|process| (process == 10).then_some(50 << 20),
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_all_processes_add_up() {
        let all = example();
        let [shop, live] = &all.total.apps[..] else { panic!("two applications") };
        assert_eq!((shop.ended(), shop.in_flight), (3, 2));
        assert_eq!(shop.count(Count::Lost), 1, "the one that was in flight in the dead process");
        assert_eq!(shop.time(Time::Response).count(), 3);
        assert_eq!((live.in_flight, live.sockets, live.count(Count::Exceptions)), (1, 1, 1));
        assert_eq!((all.crashes, all.reloads), (1, 0));
        assert_eq!(all.replaced, [("stuck_threads", 0), ("max_requests", 1)]);
    }

    #[test]
    fn only_processes_that_live_are_workers() {
        let all = example();
        let processes: Vec<_> = all.workers.iter().map(|worker| worker.process).collect();
        assert_eq!(processes, [10, 11]);
        assert_eq!(all.workers[0].memory, Some(50 << 20));
        assert_eq!(all.workers[0].state.name(), "serving");
        assert_eq!(all.workers[0].requests, 3);
        let pool = &all.total.pools[0];
        assert_eq!((pool.busy, pool.idle(), pool.limit), (2, 1, 8));
        assert_eq!(pool.queue_age, Duration::from_millis(500));
        assert_eq!(all.total.loops[0].lag, Duration::from_millis(100));
    }
}
