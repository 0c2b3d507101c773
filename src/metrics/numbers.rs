//! What is counted of applications, pools and loops, by one process or by several.

use std::time::Duration;

use super::histogram::Histogram;
use super::meters::{AppMeter, Count, ENDED, LoopMeter, PoolMeter, TIMES, Time};
use super::names::AppName;
use super::words::sum;
use super::zone::Area;

/// What there is, by its numbers in the memory.
#[derive(Clone, Copy)]
pub(crate) struct Known<'a> {
    pub(crate) apps: &'a [AppName],
    pub(crate) pools: &'a [String],
    pub(crate) loops: &'a [String],
    /// Milliseconds of the monotonic clock.
    pub(crate) clock: u64,
}

/// Of one process or of all.
#[derive(Clone, Debug, Default)]
pub(crate) struct Numbers {
    pub(crate) apps: Vec<App>,
    pub(crate) pools: Vec<Pool>,
    pub(crate) loops: Vec<Loop>,
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
pub(crate) const EVENTS: [(Count, &str); 9] = [
    (Count::Exceptions, "exceptions"),
    (Count::ClientGone, "client_gone"),
    (Count::TimedOut, "timed_out"),
    (Count::QueueTimedOut, "queue_timed_out"),
    (Count::Refused, "refused"),
    (Count::Interrupted, "interrupted"),
    (Count::WrittenOff, "threads_written_off"),
    (Count::Lost, "lost"),
    (Count::Dropped, "process_died"),
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

impl Numbers {
    pub(super) fn of(area: &Area, known: Known<'_>, is_live: bool) -> Self {
        let apps = known.apps.iter().enumerate();
        let pools = known.pools.iter().enumerate();
        let loops = known.loops.iter().enumerate();
        Self {
            apps: apps.map(|(at, name)| App::of(name, area.app(at), is_live)).collect(),
            pools: pools
                .map(|(at, name)| Pool::of(name, area.pool(at), is_live, known.clock))
                .collect(),
            loops: loops
                .map(|(at, name)| Loop::of(name, area.event_loop(at), is_live, known.clock))
                .collect(),
        }
    }

    /// Before any process has counted.
    pub(super) fn none(known: Known<'_>) -> Self {
        let apps = known.apps.iter().map(|name| App::of(name, AppMeter::default(), false));
        let pools = known.pools.iter().map(|name| Pool::of(name, PoolMeter::default(), false, 0));
        let loops = known.loops.iter().map(|name| Loop::of(name, LoopMeter::default(), false, 0));
        Self { apps: apps.collect(), pools: pools.collect(), loops: loops.collect() }
    }

    pub(super) fn add_apps(&mut self, other: &Self) {
        self.apps.iter_mut().zip(&other.apps).for_each(|(own, other)| own.add(other));
    }

    pub(super) fn add_executors(&mut self, other: &Self) {
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
        let (in_flight, carried) = (meter.in_flight(), meter.carried());
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
            for (count, number) in &mut app.counts {
                let died = match count {
                    Count::Lost => in_flight,
                    Count::Dropped => carried,
                    _ => 0,
                };
                *number = number.saturating_add(died);
            }
        }
        app
    }

    fn add(&mut self, other: &Self) {
        self.in_flight = self.in_flight.saturating_add(other.in_flight);
        self.sockets = self.sockets.saturating_add(other.sockets);
        for ((_, own), (_, other)) in self.counts.iter_mut().zip(&other.counts) {
            *own = own.saturating_add(*other);
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
        sum(ENDED.map(|count| self.count(count)))
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
        self.limit = self.limit.saturating_add(other.limit);
        self.max_queue = self.max_queue.saturating_add(other.max_queue);
        self.threads = self.threads.saturating_add(other.threads);
        self.busy = self.busy.saturating_add(other.busy);
        self.written_off = self.written_off.saturating_add(other.written_off);
        self.queue = self.queue.saturating_add(other.queue);
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
        self.tasks = self.tasks.saturating_add(other.tasks);
        self.queue = self.queue.saturating_add(other.queue);
        self.queue_age = self.queue_age.max(other.queue_age);
        self.lag = self.lag.max(other.lag);
    }
}

/// For how long something has been so, if it is so (`since` is not 0).
pub(super) fn age(since: u64, clock: u64) -> Duration {
    let milliseconds = if since == 0 { 0 } else { clock.saturating_sub(since) };
    Duration::from_millis(milliseconds)
}
