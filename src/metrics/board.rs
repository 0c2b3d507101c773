//! The shared memory with the names of what is counted in it, as a process has both.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::groups::{GroupMeter, Member};
use super::meters::{AppMeter, LoopMeter, PoolMeter};
use super::names::{AppName, Names, called};
#[cfg(not(feature = "loom"))]
use super::numbers::Known;
#[cfg(not(feature = "loom"))]
use super::snapshot::{Snapshot, Surroundings, Versions};
use super::zone::{Area, Owner, State, Zone};

/// What a board is told by whoever makes it.
#[derive(Clone, Debug)]
pub(crate) struct System {
    #[cfg(not(feature = "loom"))]
    pub(crate) versions: Versions,
    /// What the reasons to replace a worker are called, by their numbers.
    pub(crate) reasons: &'static [&'static str],
    /// Whether there is a process of that number.
    pub(crate) lives: fn(u32) -> bool,
    /// Bytes of its memory that are in RAM, if the system says so.
    pub(crate) memory: fn(u32) -> Option<u64>,
    /// Milliseconds of the monotonic clock.
    pub(crate) clock: fn() -> u64,
}

/// nginx's master makes it, and its workers inherit it.
#[derive(Clone, Debug)]
pub(crate) struct Board {
    zone: Zone,
    apps: Names<AppName>,
    pools: Names<String>,
    loops: Names<String>,
    groups: Names<String>,
    system: System,
}

/// The names of a configuration, by its own numbers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Configured {
    pub(crate) apps: Vec<AppName>,
    pub(crate) pools: Vec<String>,
    pub(crate) loops: Vec<String>,
    pub(crate) groups: Vec<Group>,
}

impl Configured {
    /// Those of another kind of process of the same configuration as well.
    pub(crate) fn and(self, other: Self) -> Self {
        let joined = |mut own: Vec<String>, other: Vec<String>| {
            let new: Vec<_> = other.into_iter().filter(|name| !own.contains(name)).collect();
            own.extend(new);
            own
        };
        let (pools, loops) = (joined(self.pools, other.pools), joined(self.loops, other.loops));
        Self { pools, loops, ..self }
    }
}

/// A `python_process` of a configuration.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) name: String,
    /// How many processes it has.
    pub(crate) processes: usize,
}

impl Board {
    pub(crate) fn new(zone: Zone, system: System) -> Self {
        let layout = zone.layout();
        Self {
            zone,
            apps: Names::new(layout.apps),
            pools: Names::new(layout.pools),
            loops: Names::new(layout.loops),
            groups: Names::new(layout.groups),
            system,
        }
    }

    pub(crate) fn zone(&self) -> &Zone {
        &self.zone
    }

    /// Master: takes over a configuration. Gives back the names for which there is no room.
    pub(crate) fn configure(&mut self, names: &Configured) -> Vec<String> {
        self.zone.reload(now());
        let mut homeless = Vec::new();
        for app in &names.apps {
            if self.apps.add(app).is_none() {
                homeless.push(app.target.clone());
            }
        }
        let pools = names.pools.iter().filter(|pool| self.pools.add(pool).is_none());
        homeless.extend(pools.cloned());
        let loops = names.loops.iter().filter(|own| self.loops.add(own).is_none());
        homeless.extend(loops.cloned());
        let groups = names.groups.iter().filter(|group| group.processes > 0);
        let groups = groups.filter(|group| self.groups.add(&group.name).is_none());
        homeless.extend(groups.map(|group| group.name.clone()));
        for (at, name) in self.groups.all().iter().enumerate() {
            let group = names.groups.iter().find(|group| group.name == *name);
            self.zone.group(at).set_processes(group.map_or(0, |group| group.processes));
        }
        homeless
    }

    /// A process that starts: what it counts in. `process` is its own number, `number` that among the workers; `member`
    /// has the number of its group in the configuration. `None` if all areas are taken.
    pub(crate) fn meters(
        self: &Arc<Self>,
        names: &Configured,
        process: u32,
        number: usize,
        member: Option<Member>,
    ) -> Option<Meters> {
        let known = |member: Member| {
            let name = &names.groups.get(member.group)?.name;
            // One that has no number is none that could be named.
            let group = self.groups.number(name).unwrap_or(self.zone.layout().groups);
            Some(Member { group, ..member })
        };
        let owner = Owner { process, number, member: member.and_then(known) };
        let area = self.zone.take(&owner, now(), self.system.lives)?;
        let app = |name| self.apps.number(name).map(|at| area.app(at)).unwrap_or_default();
        let pool = |name| self.pools.number(name).map(|at| area.pool(at)).unwrap_or_default();
        let own = |name| self.loops.number(name).map(|at| area.event_loop(at)).unwrap_or_default();
        let group = |group: &Group| {
            self.groups.number(&group.name).map(|at| area.waiting(at)).unwrap_or_default()
        };
        Some(Meters {
            apps: names.apps.iter().map(app).collect(),
            pools: names.pools.iter().map(pool).collect(),
            loops: names.loops.iter().map(own).collect(),
            groups: names.groups.iter().map(group).collect(),
            own: Some(Own { area, board: Arc::clone(self) }),
        })
    }

    /// Whether a web worker serves: its applications have started, and those of the processes that run others for it; and
    /// it is not leaving. An nginx without applications counts no
    /// workers, and has nothing to wait for.
    #[cfg(not(feature = "loom"))]
    pub(crate) fn is_ready(&self) -> bool {
        self.apps.all().is_empty()
            || self.zone.areas().any(|area| {
                let owner = area.owner();
                owner != 0
                    && area.member().is_none()
                    && area.state() == Some(State::Serving)
                    && (self.system.lives)(owner)
            })
    }

    /// What the process of an area is called.
    pub(crate) fn who(&self, area: &Area) -> String {
        let name = |group: usize| self.groups.all().get(group).map_or("", String::as_str);
        let member = area.member().map(|member| (name(member.group), member.slot));
        called(area.number(), member)
    }

    #[cfg(not(feature = "loom"))]
    pub(crate) fn snapshot(&self) -> Snapshot {
        let System { versions, reasons, lives, memory, clock } = &self.system;
        Snapshot::take(
            &self.zone,
            &Surroundings {
                known: Known {
                    apps: self.apps.all(),
                    pools: self.pools.all(),
                    loops: self.loops.all(),
                    clock: clock(),
                },
                groups: self.groups.all(),
                versions: versions.clone(),
                reasons,
                now: now(),
                lives,
                memory,
            },
        )
    }
}

/// All that one process counts, by the numbers that its configuration has for applications, pools and loops.
#[derive(Clone, Debug, Default)]
pub(crate) struct Meters {
    apps: Vec<AppMeter>,
    pools: Vec<PoolMeter>,
    loops: Vec<LoopMeter>,
    groups: Vec<GroupMeter>,
    /// `None`: nobody sees what it counts.
    own: Option<Own>,
}

/// A process's place on its board.
#[derive(Clone, Debug)]
pub(crate) struct Own {
    pub(crate) area: Area,
    pub(crate) board: Arc<Board>,
}

impl Meters {
    /// That of an application; one that counts nothing if there is no room for it.
    pub(crate) fn app(&self, app: usize) -> AppMeter {
        self.apps.get(app).copied().unwrap_or_default()
    }

    pub(crate) fn pool(&self, pool: usize) -> PoolMeter {
        self.pools.get(pool).copied().unwrap_or_default()
    }

    pub(crate) fn event_loop(&self, number: usize) -> LoopMeter {
        self.loops.get(number).copied().unwrap_or_default()
    }

    /// What waits in this web worker for that group's processes.
    pub(crate) fn group(&self, group: usize) -> GroupMeter {
        self.groups.get(group).copied().unwrap_or_default()
    }

    pub(crate) fn own(&self) -> Option<&Own> {
        self.own.as_ref()
    }

    pub(crate) fn set_state(&self, state: State) {
        if let Some(own) = &self.own {
            own.area.set_state(state);
        }
    }

    /// This process leaves for the reason of that number.
    pub(crate) fn leave(&self, reason: usize) {
        if let Some(Own { area, board }) = &self.own {
            board.zone.replaced(area, reason, now());
        }
    }
}

/// Milliseconds since 1970.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[cfg(not(feature = "loom"))]
mod tests {
    use super::super::words::{Words, leaked};
    use super::super::zone::Layout;
    use super::*;

    fn board(areas: usize, lives: fn(u32) -> bool) -> Board {
        let layout = Layout { apps: 2, pools: 1, loops: 1, groups: 1, areas };
        let words = Words::new(leaked(layout.words()));
        let zone = Zone::new(layout, words, Words::new(leaked(layout.answer_words())));
        let versions = Versions { module: "0", nginx: "1".to_owned(), python: "3" };
        let system = System { versions, reasons: &["first"], lives, memory: |_| None, clock: || 5 };
        Board::new(zone, system)
    }

    fn configured(targets: &[&str]) -> Configured {
        let app = |target: &&str| AppName {
            protocol: "wsgi".into(),
            target: (*target).to_owned(),
            process: None,
        };
        Configured {
            apps: targets.iter().map(app).collect(),
            pools: vec!["default".to_owned()],
            loops: Vec::new(),
            groups: vec![Group { name: "shop".to_owned(), processes: 2 }],
        }
    }

    #[test]
    fn each_configuration_has_its_own_numbers() {
        let mut board = board(1, |_| true);
        assert!(board.configure(&configured(&["a"])).is_empty());
        assert!(board.configure(&configured(&["b", "a"])).is_empty());
        assert_eq!(board.configure(&configured(&["c", "a"])), ["c"]);
        let board = Arc::new(board);
        let meters = board.meters(&configured(&["c", "b", "a"]), 10, 0, None).unwrap();
        meters.app(0).begin();
        meters.app(2).begin();
        meters.leave(0);
        let all = board.snapshot();
        let in_flight: Vec<_> = all.total.apps.iter().map(|app| app.in_flight).collect();
        assert_eq!((in_flight, all.reloads), (vec![1, 0], 2), "c has no room, a is the first");
        assert_eq!(all.replaced, [("first", 1)]);
        assert!(board.meters(&configured(&[]), 11, 1, None).is_none(), "all areas are taken");
    }

    #[test]
    fn it_is_ready_while_a_worker_serves() {
        const DEAD: u32 = 12;
        let mut board = board(3, |process| process != DEAD);
        board.configure(&configured(&["a"]));
        let board = Arc::new(board);
        let start = |process| board.meters(&configured(&["a"]), process, 0, None).unwrap();
        assert!(!board.is_ready(), "there is no worker yet");
        start(DEAD).set_state(State::Serving);
        assert!(!board.is_ready(), "the one that has served has died");
        let member = Some(Member { group: 0, slot: 0 });
        let application = board.meters(&configured(&["a"]), 13, 1, member).unwrap();
        application.set_state(State::Serving);
        assert!(!board.is_ready(), "it serves no client");
        let (worker, next) = (start(10), start(11));
        for (state, ready) in [(State::Starting, false), (State::Serving, true)] {
            worker.set_state(state);
            assert_eq!(board.is_ready(), ready, "{state:?}");
        }
        worker.set_state(State::Draining);
        assert!(!board.is_ready(), "it leaves");
        next.set_state(State::Serving);
        assert!(board.is_ready(), "another one serves");
        worker.set_state(State::Ended);
        next.set_state(State::Ended);
        assert!(!board.is_ready());
    }

    #[test]
    fn without_applications_it_is_ready() {
        assert!(board(1, |_| true).is_ready());
    }
}
