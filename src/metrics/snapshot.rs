//! All that the processes have counted, at one moment: over all of them, for each, and for each group.

use std::time::Duration;

use super::groups::{GroupMeter, GroupWords, Member, REASONS};
use super::numbers::{Known, Numbers, age};
use super::zone::{Event, State, Zone};

/// What a snapshot needs to know beside the memory.
pub(crate) struct Surroundings<'a> {
    pub(crate) known: Known<'a>,
    pub(crate) groups: &'a [String],
    pub(crate) versions: Versions,
    /// The names of the reasons to replace a worker, by their numbers.
    pub(crate) reasons: &'static [&'static str],
    /// Milliseconds since 1970.
    pub(crate) now: u64,
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
    /// The applications are those of all processes, the pools and loops those of the web workers.
    pub(crate) total: Numbers,
    pub(crate) groups: Vec<Group>,
    /// Those that live, by their number and age.
    pub(crate) workers: Vec<Worker>,
    /// The newest first.
    pub(crate) history: Vec<Event>,
    pub(crate) reasons: &'static [&'static str],
}

#[derive(Clone, Debug)]
pub(crate) struct Worker {
    pub(crate) process: u32,
    pub(crate) number: u64,
    /// `None`: it is a web worker.
    pub(crate) member: Option<Member>,
    pub(crate) state: State,
    /// When it started, in milliseconds since 1970.
    pub(crate) since: u64,
    /// Those that it has had itself; its numbers count those of its predecessors as well.
    pub(crate) requests: u64,
    pub(crate) in_flight: u64,
    pub(crate) memory: Option<u64>,
    pub(crate) numbers: Numbers,
}

/// The processes of a group, and what waits for them.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) name: String,
    /// As the configuration says.
    pub(crate) processes: u64,
    /// Those that serve, and those that start when they have a request.
    pub(crate) serving: u64,
    pub(crate) dormant: u64,
    /// What the processes that live have had, and have.
    pub(crate) requests: u64,
    pub(crate) in_flight: u64,
    pub(crate) memory: u64,
    /// Requests that wait in the web workers, because no process is there that takes them.
    pub(crate) queue: u64,
    pub(crate) max_queue: u64,
    /// How long the first of them has waited.
    pub(crate) queue_age: Duration,
    pub(crate) crashes: u64,
    /// How many of its processes were replaced, by reason.
    pub(crate) replaced: Vec<(&'static str, u64)>,
    /// Those of its processes. The applications are not counted here.
    pub(crate) numbers: Numbers,
}

impl Snapshot {
    pub(crate) fn take(zone: &Zone, around: &Surroundings<'_>) -> Self {
        let mut total = Numbers::none(around.known);
        let groups = around.groups.iter().zip(0..);
        let mut groups: Vec<_> =
            groups.map(|(name, at)| Group::of(name, zone.group(at), around)).collect();
        let mut workers = Vec::new();
        let mut crashes = 0_u64;
        let mut replaced = [0_u64; REASONS];
        for area in zone.areas() {
            let owner = area.owner();
            if owner == 0 {
                continue;
            }
            crashes = crashes.saturating_add(area.crashes());
            for (reason, count) in replaced.iter_mut().enumerate() {
                *count = count.saturating_add(area.replacements(reason));
            }
            let state =
                area.state().filter(|state| *state != State::Ended && (around.lives)(owner));
            let numbers = Numbers::of(&area, around.known, state.is_some());
            let member = area.member();
            total.add_apps(&numbers);
            if let Some(state) = state {
                let worker = Worker {
                    process: owner,
                    number: area.number(),
                    member,
                    state,
                    since: area.since(),
                    requests: area.requests(),
                    in_flight: area.in_flight(),
                    memory: (around.memory)(owner),
                    numbers,
                };
                match member {
                    Some(Member { group, .. }) => {
                        let group = groups.get_mut(group);
                        group.into_iter().for_each(|group| group.add(&worker));
                    }
                    None => {
                        total.add_executors(&worker.numbers);
                        let waiting = groups.iter_mut().zip(0..);
                        waiting.for_each(|(group, at)| {
                            group.wait(area.waiting(at), around.known.clock)
                        });
                    }
                }
                workers.push(worker);
            } else if area.state() != Some(State::Ended) {
                // It has died, and nobody has taken its area yet.
                crashes = crashes.saturating_add(1);
                if let Some(group) = member.and_then(|member| groups.get_mut(member.group)) {
                    group.crashes = group.crashes.saturating_add(1);
                }
            }
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
            groups,
            workers,
            history: zone.history(),
            reasons: around.reasons,
        }
    }
}

impl Snapshot {
    /// The name of the group that such a process is of.
    pub(crate) fn group_of(&self, member: Option<Member>) -> Option<&str> {
        member.map(|member| self.groups.get(member.group).map_or("", |group| &group.name))
    }
}

impl Group {
    fn of(name: &str, words: GroupWords, around: &Surroundings<'_>) -> Self {
        let reasons = around.reasons.iter().copied().zip(0..);
        Self {
            name: name.to_owned(),
            processes: words.processes(),
            serving: 0,
            dormant: 0,
            requests: 0,
            in_flight: 0,
            memory: 0,
            queue: 0,
            max_queue: 0,
            queue_age: Duration::ZERO,
            crashes: words.crashes(),
            replaced: reasons.map(|(reason, at)| (reason, words.replacements(at))).collect(),
            numbers: Numbers { apps: Vec::new(), ..Numbers::none(around.known) },
        }
    }

    /// One of its processes.
    fn add(&mut self, process: &Worker) {
        self.serving += u64::from(process.state == State::Serving);
        self.dormant += u64::from(process.state == State::Dormant);
        self.requests = self.requests.saturating_add(process.requests);
        self.in_flight = self.in_flight.saturating_add(process.in_flight);
        self.memory = self.memory.saturating_add(process.memory.unwrap_or(0));
        self.numbers.add_executors(&process.numbers);
    }

    /// What waits for it in one of the web workers.
    fn wait(&mut self, meter: GroupMeter, clock: u64) {
        self.queue = self.queue.saturating_add(meter.queue());
        self.max_queue = self.max_queue.saturating_add(meter.max_queue());
        self.queue_age = self.queue_age.max(age(meter.head_since(), clock));
    }
}

impl State {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Serving => "serving",
            Self::Draining => "draining",
            Self::Ended => "ended",
            Self::Dormant => "dormant",
        }
    }
}

/// Something to show, for the tests of this folder.
#[cfg(test)]
pub(super) fn example() -> Snapshot {
    use super::meters::{Count, LoopNow, PoolNow, Time};
    use super::names::AppName;
    use super::words::{Words, leaked};
    use super::zone::{Happened, Layout, Owner};

    let layout = Layout { apps: 3, pools: 1, loops: 1, groups: 1, areas: 5 };
    let words = Words::new(leaked(layout.words()));
    let zone = Zone::new(layout, words, Words::new(leaked(layout.answer_words())));
    zone.reload(1_000_000);
    let take = |process, number, now, member| {
        zone.take(&Owner { process, number, member }, now, |_| true).unwrap()
    };
    let first = take(10, 0, 1_000_500, None);
    let second = take(11, 1, 1_000_700, None);
    let dead = take(12, 2, 1_000_800, None);
    let [process, dead_process] = [13, 14].map(|pid| {
        take(pid, pid as usize - 10, 1_000_900, Some(Member { group: 0, slot: pid as usize - 13 }))
    });
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
    zone.replaced(&second, 1, 1_001_000);
    zone.remember(Event { at: 1_002_000, process: 9, member: None, what: Happened::Replaced(1) });
    process.set_state(State::Serving);
    // Two requests of a client's that the web worker has sent there, and one that waits.
    (0..3).for_each(|_| first.app(2).begin());
    [process, dead_process].iter().for_each(|area| area.app(2).take());
    process.app(2).count(Count::Exceptions);
    process.pool(0).limits(4, 16);
    process.pool(0).show(PoolNow { threads: 1, busy: 1, ..PoolNow::default() });
    process.event_loop(0).show(LoopNow { tasks: 7, ..LoopNow::default() });
    first.waiting(0).limit(16);
    first.waiting(0).show(1, 4_250);
    zone.group(0).set_processes(2);
    zone.replaced(&process, 0, 1_003_000);
    let name = |protocol: &str, target: &str, process: Option<&str>| AppName {
        protocol: protocol.to_owned(),
        target: target.to_owned(),
        process: process.map(str::to_owned),
    };
    Snapshot::take(
        &zone,
        &Surroundings {
            groups: &["reports".to_owned()],
            known: Known {
                apps: &[
                    name("wsgi", "/srv/shop/wsgi.py", None),
                    name("asgi", "live:\"app\"\\", None),
                    name("wsgi", "reports.wsgi", Some("reports")),
                ],
                pools: &["default".to_owned()],
                loops: &["main".to_owned()],
                clock: 4_500,
            },
            versions: Versions { module: "0.1.0", nginx: "1.22.1".to_owned(), python: "3.11" },
            reasons: &["stuck_threads", "max_requests"],
            now: 1_060_000,
            lives: &|process| process != 12 && process != 14,
            memory: &|process| (process == 10 || process == 13).then_some(50 << 20),
        },
    )
}

#[cfg(test)]
mod tests {
    use super::super::meters::{Count, Time};
    use super::*;

    #[test]
    fn numbers_of_all_processes_add_up() {
        let all = example();
        let [shop, live, _] = &all.total.apps[..] else { panic!("three applications") };
        assert_eq!((shop.ended(), shop.in_flight), (3, 2));
        assert_eq!(shop.count(Count::Lost), 1, "the one that was in flight in the dead process");
        assert_eq!(shop.time(Time::Response).count(), 3);
        assert_eq!((live.in_flight, live.sockets, live.count(Count::Exceptions)), (1, 1, 1));
        assert_eq!((all.crashes, all.reloads), (2, 0));
        assert_eq!(all.replaced, [("stuck_threads", 1), ("max_requests", 1)]);
    }

    #[test]
    fn a_request_that_a_process_has_counts_once() {
        let all = example();
        let reports = &all.total.apps[2];
        assert_eq!((reports.in_flight, reports.ended(), reports.count(Count::Lost)), (3, 0, 0));
        assert_eq!(reports.count(Count::Exceptions), 1, "its process has counted it");
        assert_eq!(reports.count(Count::Dropped), 1);
    }

    #[test]
    fn a_group_has_what_its_processes_have() {
        let all = example();
        let [reports] = &all.groups[..] else { panic!("one group") };
        assert_eq!((reports.name.as_str(), reports.processes, reports.serving), ("reports", 2, 1));
        assert_eq!((reports.requests, reports.in_flight, reports.memory), (1, 1, 50 << 20));
        assert_eq!((reports.queue, reports.max_queue), (1, 16));
        assert_eq!(reports.queue_age, Duration::from_millis(250));
        assert_eq!(
            (reports.crashes, &reports.replaced[..]),
            (1, &[("stuck_threads", 1), ("max_requests", 0)][..])
        );
        assert_eq!((reports.numbers.pools[0].busy, reports.numbers.loops[0].tasks), (1, 7));
        assert_eq!((all.total.pools[0].limit, all.total.loops[0].tasks), (8, 5), "the workers'");
    }

    #[test]
    fn whatever_a_process_writes_can_be_shown() {
        use super::super::exposition::{Format, exposition};
        use super::super::words::{AtomicU64, Ordering, Words, leaked};
        use super::super::zone::{Happened, Layout, Owner};
        use super::super::{json, page, text};

        let layout = Layout { apps: 2, pools: 1, loops: 1, groups: 1, areas: 4 };
        let (words, answers) = (leaked(layout.words()), leaked(layout.answer_words()));
        let zone = Zone::new(layout, Words::new(words), Words::new(answers));
        let versions = Versions { module: "0", nginx: "1".to_owned(), python: "3" };
        let names = [(); 2].map(|()| super::super::names::AppName {
            protocol: "wsgi".to_owned(),
            target: "x".to_owned(),
            process: Some("shop".to_owned()),
        });
        let strange = [0, 1, 2, 5, u64::from(u32::MAX), u64::MAX, u64::MAX - 1];
        let write = |seed: u64, words: &[AtomicU64]| {
            let mut state = seed;
            for word in words {
                // Knuth's MMIX.
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040);
                let known = strange.get((state >> 40) as usize % 12).copied();
                let value = if seed == 0 { u64::MAX } else { known.unwrap_or(state) };
                word.store(value, Ordering::Relaxed);
            }
        };
        for seed in 0..200 {
            write(seed, words);
            write(seed, &answers[..100]);
            let owner = Owner { process: 7, number: 1, member: None };
            let area = zone.take(&owner, 5, |process| process % 2 == 0);
            zone.reload(6);
            let event = Event { at: 1, process: 2, member: None, what: Happened::Crashed };
            zone.remember(event);
            let ticket = zone.ask();
            for area in zone.areas().chain(area) {
                let _answer = (area.answered(ticket), zone.asked(&area));
                zone.replaced(&area, 1, 7);
            }
            let all = Snapshot::take(
                &zone,
                &Surroundings {
                    known: Known {
                        apps: &names,
                        pools: &["default".to_owned()],
                        loops: &["main".to_owned()],
                        clock: 4_500,
                    },
                    groups: &["shop".to_owned()],
                    versions: versions.clone(),
                    reasons: &["stuck_threads", "max_requests"],
                    now: 1_060_000,
                    lives: &|process| process % 3 != 0,
                    memory: &|_| Some(u64::MAX),
                },
            );
            let shown = [
                exposition(&all, Format::Prometheus),
                exposition(&all, Format::OpenMetrics),
                text::text(&all),
                page::page(&all),
                json::json(&all).to_string(),
                json::brief(&all).to_string(),
            ];
            assert!(shown.iter().all(|text| !text.is_empty() && text.len() < 1 << 20));
        }
    }

    #[test]
    fn only_processes_that_live_are_workers() {
        let all = example();
        let processes: Vec<_> = all.workers.iter().map(|worker| worker.process).collect();
        assert_eq!(processes, [10, 11, 13]);
        assert_eq!(all.workers[2].member, Some(Member { group: 0, slot: 0 }));
        assert_eq!((all.workers[2].requests, all.workers[2].in_flight), (1, 1));
        assert_eq!(all.workers[0].memory, Some(50 << 20));
        assert_eq!(all.workers[0].state.name(), "serving");
        assert_eq!(all.workers[0].requests, 6);
        let pool = &all.total.pools[0];
        assert_eq!((pool.busy, pool.idle(), pool.limit), (2, 1, 8));
        assert_eq!(pool.queue_age, Duration::from_millis(500));
        assert_eq!(all.total.loops[0].lag, Duration::from_millis(100));
    }
}
