//! The shared memory: an area for each process, what has happened to them, and the stacks that they answer with.
//!
//! An area belongs to the process whose number is its owner's. A process that starts takes the first area that nobody
//! has, or whose owner has died, and counts on what it finds there ([`meters`](super::meters)).

use super::groups::{GROUP_WORDS, GroupMeter, GroupWords, Member, REASONS, WAITING_WORDS};
use super::meters::{APP_WORDS, AppMeter, Count, LOOP_WORDS, LoopMeter, POOL_WORDS, PoolMeter};
#[cfg(not(feature = "loom"))]
use std::sync::atomic::fence;

#[cfg(feature = "loom")]
use loom::sync::atomic::fence;

use super::words::{Ordering, Words, sum};

/// How much room there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) apps: usize,
    pub(crate) pools: usize,
    pub(crate) loops: usize,
    pub(crate) groups: usize,
    pub(crate) areas: usize,
}

const STARTED: usize = 0;
const RELOADS: usize = 1;
const TICKET: usize = 2;
const HISTORY_NEXT: usize = 3;
const HISTORY: usize = 4;
const HISTORY_WORDS: usize = 4;
/// How many events are remembered; in the models few, so that they end.
pub(crate) const EVENTS: usize = if cfg!(feature = "loom") { 2 } else { 32 };
const HEAD: usize = HISTORY + EVENTS * HISTORY_WORDS;

const OWNER: usize = 0;
const SINCE: usize = 1;
const NUMBER: usize = 2;
const STATE: usize = 3;
/// How many requests had begun in the area before its process.
const BEFORE: usize = 4;
const CRASHES: usize = 5;
const ANSWERED: usize = 6;
const LENGTH: usize = 7;
/// Which process of which group has it ([`Member`]); 0: a web worker.
const MEMBER: usize = 8;
const REPLACED: usize = 9;
const AREA_HEAD: usize = REPLACED + REASONS;

/// Bytes of the stacks that one process answers with.
pub(crate) const ANSWER: usize = 64 * 1024;
const ANSWER_WORDS: usize = ANSWER / size_of::<u64>();

impl Layout {
    /// As many areas as fit into so many bytes.
    pub(crate) fn of(self, bytes: usize) -> Self {
        let areas = (bytes / size_of::<u64>()).saturating_sub(self.head()) / self.area();
        Self { areas, ..self }
    }

    /// How many bytes so many areas take.
    pub(crate) fn bytes(self, areas: usize) -> usize {
        (self.head() + areas * self.area()) * size_of::<u64>()
    }

    /// What comes before the areas.
    fn head(self) -> usize {
        HEAD + self.groups * GROUP_WORDS
    }

    fn area(self) -> usize {
        self.waiting() + self.groups * WAITING_WORDS
    }

    /// Where in an area the meters of groups begin.
    fn waiting(self) -> usize {
        AREA_HEAD + self.apps * APP_WORDS + self.pools * POOL_WORDS + self.loops * LOOP_WORDS
    }

    /// How many words all of it takes.
    pub(crate) fn words(self) -> usize {
        self.head() + self.areas * self.area()
    }

    /// How many words the answers take, which are not touched unless somebody asks.
    pub(crate) fn answer_words(self) -> usize {
        self.areas * ANSWER_WORDS
    }
}

/// The memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Zone {
    layout: Layout,
    words: Words,
    answers: Words,
}

/// The process that takes an area.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owner {
    pub(crate) process: u32,
    /// Its number among the workers.
    pub(crate) number: usize,
    /// Which process of which group it is; `None`: a web worker.
    pub(crate) member: Option<Member>,
}

/// Of an event's second word.
const PROCESS_BITS: u32 = 32;

/// How far the process of an area has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum State {
    /// It imports its applications.
    Starting = 1,
    Serving = 2,
    /// It ends, and has requests left.
    Draining = 3,
    /// It has ended in order.
    Ended = 4,
    /// It starts Python when it has a request.
    Dormant = 5,
}

/// What has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Happened {
    /// nginx has taken over a configuration.
    Reloaded,
    /// A process has died.
    Crashed,
    /// A process leaves, to be replaced: the number of the reason.
    Replaced(usize),
}

/// An event of the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    /// Milliseconds since 1970.
    pub(crate) at: u64,
    pub(crate) process: u32,
    /// What it was of a group.
    pub(crate) member: Option<Member>,
    pub(crate) what: Happened,
}

impl Zone {
    /// Of memory that began as zeros.
    pub(crate) fn new(layout: Layout, words: Words, answers: Words) -> Self {
        debug_assert!(words.len() >= layout.words() && answers.len() >= layout.answer_words());
        Self { layout, words, answers }
    }

    pub(crate) fn layout(&self) -> Layout {
        self.layout
    }

    /// Master: takes over a configuration, at that time in milliseconds since 1970.
    pub(crate) fn reload(&self, now: u64) {
        if self.words.get(STARTED) == 0 {
            self.words.set(STARTED, now);
            return;
        }
        self.words.add(RELOADS, 1);
        let process = std::process::id();
        self.remember(Event { at: now, process, member: None, what: Happened::Reloaded });
    }

    /// When the master took over its first configuration.
    pub(crate) fn started(&self) -> u64 {
        self.words.get(STARTED)
    }

    pub(crate) fn reloads(&self) -> u64 {
        self.words.get(RELOADS)
    }

    /// Takes an area for `owner`; `None` if all are taken. `lives` says whether a process lives.
    pub(crate) fn take(&self, new: &Owner, now: u64, lives: impl Fn(u32) -> bool) -> Option<Area> {
        self.areas().find(|area| {
            let owner = area.owner();
            // If it has this process's number, it has died as well.
            let is_free = owner == 0 || owner == new.process || !lives(owner);
            let takes = is_free && area.words.replace(OWNER, owner.into(), new.process.into());
            if takes {
                self.begin(area, owner, new, now);
            }
            takes
        })
    }

    fn begin(&self, area: &Area, before: u32, new: &Owner, now: u64) {
        if before != 0 && area.state() != Some(State::Ended) {
            let member = area.member();
            area.words.add(CRASHES, 1);
            if let Some(Member { group, .. }) = member {
                self.group(group).crashed();
            }
            self.remember(Event { at: now, process: before, member, what: Happened::Crashed });
        }
        (0..self.layout.apps).for_each(|app| area.app(app).lose_all());
        (0..self.layout.pools).for_each(|pool| area.pool(pool).clear());
        (0..self.layout.loops).for_each(|own| area.event_loop(own).clear());
        (0..self.layout.groups).for_each(|group| area.waiting(group).clear());
        area.words.set(BEFORE, area.begun());
        area.words.set(SINCE, now);
        area.words.set(NUMBER, new.number as u64);
        area.words.set(MEMBER, Member::to_word(new.member));
        area.words.set(ANSWERED, self.words.get(TICKET));
        area.set_state(State::Starting);
    }

    /// All areas, whether a process has them or not.
    pub(crate) fn areas(&self) -> impl Iterator<Item = Area> + use<> {
        let Self { layout, words, answers } = *self;
        (0..layout.areas).map(move |at| Area {
            layout,
            words: words.part(layout.head() + at * layout.area(), layout.area()),
            answers: answers.part(at * ANSWER_WORDS, ANSWER_WORDS),
        })
    }

    /// What is known of a group of processes as a whole.
    pub(crate) fn group(&self, number: usize) -> GroupWords {
        let words = self.words.part(HEAD + number * GROUP_WORDS, GROUP_WORDS);
        if number < self.layout.groups { GroupWords::new(words) } else { GroupWords::default() }
    }

    /// The process of an area leaves for the reason of that number, and is replaced.
    pub(crate) fn replaced(&self, area: &Area, reason: usize, now: u64) {
        let member = area.member();
        area.replaced(reason);
        if let Some(Member { group, .. }) = member {
            self.group(group).replaced(reason);
        }
        let what = Happened::Replaced(reason);
        self.remember(Event { at: now, process: area.owner(), member, what });
    }

    /// Notes what has happened.
    pub(crate) fn remember(&self, event: Event) {
        let number = self.words.add(HISTORY_NEXT, 1);
        let entry = self.event_words(number);
        // Whoever reads it meanwhile finds that it is not the event of its number.
        entry.set(0, 0);
        fence(Ordering::Release);
        entry.set(1, event.at);
        entry.set(2, u64::from(event.process) | Member::to_word(event.member) << PROCESS_BITS);
        entry.set(3, event.what.code());
        entry.publish(0, number.wrapping_add(1));
    }

    /// The last events, the newest first.
    pub(crate) fn history(&self) -> Vec<Event> {
        let next = self.words.acquire(HISTORY_NEXT);
        let numbers = (next.saturating_sub(EVENTS as u64)..next).rev();
        let read = |number| {
            let entry = self.event_words(number);
            let before = entry.acquire(0);
            let (at, who, code) = (entry.get(1), entry.get(2), entry.get(3));
            fence(Ordering::Acquire);
            let is_whole = before == number + 1 && entry.get(0) == before;
            let what = Happened::of(code).filter(|_| is_whole)?;
            Some(Event {
                at,
                process: (who & u64::from(u32::MAX)) as u32,
                member: Member::of_word(who >> PROCESS_BITS),
                what,
            })
        };
        numbers.filter_map(read).collect()
    }

    fn event_words(&self, number: u64) -> Words {
        let place = number as usize % EVENTS;
        self.words.part(HISTORY + place * HISTORY_WORDS, HISTORY_WORDS)
    }

    /// Asks all processes for their stacks. Gives the ticket that their answers have, or a later one.
    pub(crate) fn ask(&self) -> u64 {
        self.words.add(TICKET, 1).wrapping_add(1)
    }

    /// The ticket that `area` has not answered, if there is one.
    pub(crate) fn asked(&self, area: &Area) -> Option<u64> {
        let ticket = self.words.acquire(TICKET);
        (ticket > area.words.get(ANSWERED)).then_some(ticket)
    }
}

/// What belongs to one process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Area {
    layout: Layout,
    words: Words,
    answers: Words,
}

impl Area {
    /// The process; 0 if there was none yet.
    pub(crate) fn owner(&self) -> u32 {
        u32::try_from(self.words.acquire(OWNER)).unwrap_or(0)
    }

    /// When it took the area, in milliseconds since 1970.
    pub(crate) fn since(&self) -> u64 {
        self.words.get(SINCE)
    }

    /// Its number among the workers.
    pub(crate) fn number(&self) -> u64 {
        self.words.get(NUMBER)
    }

    /// Which process of which group it is; `None`: a web worker.
    pub(crate) fn member(&self) -> Option<Member> {
        Member::of_word(self.words.get(MEMBER))
    }

    pub(crate) fn state(&self) -> Option<State> {
        use State::{Dormant, Draining, Ended, Serving, Starting};

        let all = [Starting, Serving, Draining, Ended, Dormant];
        all.into_iter().find(|state| *state as u64 == self.words.get(STATE))
    }

    pub(crate) fn set_state(&self, state: State) {
        self.words.set(STATE, state as u64);
    }

    /// How many processes of this area have died.
    pub(crate) fn crashes(&self) -> u64 {
        self.words.get(CRASHES)
    }

    fn replaced(&self, reason: usize) {
        if reason < REASONS {
            self.words.add(REPLACED + reason, 1);
        }
    }

    /// How many processes of this area have left for the reason of that number.
    pub(crate) fn replacements(&self, reason: usize) -> u64 {
        if reason < REASONS { self.words.get(REPLACED + reason) } else { 0 }
    }

    /// How many requests its process has had.
    pub(crate) fn requests(&self) -> u64 {
        self.begun().saturating_sub(self.words.get(BEFORE))
    }

    /// How many requests are in flight, if its process lives. They come from clients, or from web workers.
    pub(crate) fn in_flight(&self) -> u64 {
        let apps = (0..self.layout.apps).map(|app| self.app(app));
        sum(apps.flat_map(|app| [app.in_flight(), app.carried()]))
    }

    fn begun(&self) -> u64 {
        let apps = (0..self.layout.apps).map(|app| self.app(app));
        sum(apps.flat_map(|app| [app.get(Count::Begun), app.get(Count::Taken)]))
    }

    pub(crate) fn app(&self, number: usize) -> AppMeter {
        let Layout { apps, .. } = self.layout;
        let start = AREA_HEAD + number * APP_WORDS;
        let words = self.words.part(start, APP_WORDS);
        if number < apps { AppMeter::new(words) } else { AppMeter::default() }
    }

    pub(crate) fn pool(&self, number: usize) -> PoolMeter {
        let Layout { apps, pools, .. } = self.layout;
        let start = AREA_HEAD + apps * APP_WORDS + number * POOL_WORDS;
        let words = self.words.part(start, POOL_WORDS);
        if number < pools { PoolMeter::new(words) } else { PoolMeter::default() }
    }

    pub(crate) fn event_loop(&self, number: usize) -> LoopMeter {
        let Layout { apps, pools, loops, .. } = self.layout;
        let start = AREA_HEAD + apps * APP_WORDS + pools * POOL_WORDS + number * LOOP_WORDS;
        let words = self.words.part(start, LOOP_WORDS);
        if number < loops { LoopMeter::new(words) } else { LoopMeter::default() }
    }

    /// What waits in this web worker for the processes of a group.
    pub(crate) fn waiting(&self, group: usize) -> GroupMeter {
        let start = self.layout.waiting() + group * WAITING_WORDS;
        let words = self.words.part(start, WAITING_WORDS);
        if group < self.layout.groups { GroupMeter::new(words) } else { GroupMeter::default() }
    }

    /// The process answers with its stacks. What is longer than [`ANSWER`] is cut, at a character.
    pub(crate) fn answer(&self, ticket: u64, stacks: &str) {
        let mut length = stacks.len().min(self.answers.len() * size_of::<u64>());
        while !stacks.is_char_boundary(length) {
            length -= 1;
        }
        let bytes = stacks.as_bytes().get(..length).unwrap_or_default();
        // Whoever reads an answer meanwhile finds that it has another ticket.
        self.words.set(ANSWERED, 0);
        fence(Ordering::Release);
        for (at, chunk) in bytes.chunks(size_of::<u64>()).enumerate() {
            let mut word = [0; size_of::<u64>()];
            word.iter_mut().zip(chunk).for_each(|(to, from)| *to = *from);
            self.answers.set(at, u64::from_le_bytes(word));
        }
        self.words.set(LENGTH, length as u64);
        self.words.publish(ANSWERED, ticket);
    }

    /// The answer to that ticket, or to a later one; `None` if there is none yet.
    pub(crate) fn answered(&self, ticket: u64) -> Option<String> {
        let answered = self.words.acquire(ANSWERED);
        if answered < ticket {
            return None;
        }
        let length = (self.words.get(LENGTH) as usize).min(self.answers.len() * size_of::<u64>());
        let words = length.div_ceil(size_of::<u64>());
        let mut bytes: Vec<u8> =
            (0..words).flat_map(|at| self.answers.get(at).to_le_bytes()).collect();
        bytes.truncate(length);
        fence(Ordering::Acquire);
        let is_whole = self.words.get(ANSWERED) == answered;
        is_whole.then(|| String::from_utf8_lossy(&bytes).into_owned())
    }
}

impl Happened {
    fn code(self) -> u64 {
        match self {
            Self::Reloaded => 1,
            Self::Crashed => 2,
            Self::Replaced(reason) => 3 + reason as u64,
        }
    }

    fn of(code: u64) -> Option<Self> {
        match code {
            0 => None,
            1 => Some(Self::Reloaded),
            2 => Some(Self::Crashed),
            code => Some(Self::Replaced(usize::try_from(code - 3).ok()?)),
        }
    }
}

#[cfg(test)]
fn zone(areas: usize) -> Zone {
    use super::words::leaked;

    let layout = Layout { apps: 2, pools: 1, loops: 1, groups: 1, areas };
    let (words, answers) = (leaked(layout.words()), leaked(layout.answer_words()));
    Zone::new(layout, Words::new(words), Words::new(answers))
}

#[cfg(test)]
#[cfg(not(feature = "loom"))]
mod tests;

#[cfg(test)]
#[cfg(feature = "loom")]
mod model;
