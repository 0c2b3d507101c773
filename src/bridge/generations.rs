//! Which workers of one nginx accept connections, and which generation of them is ready, in memory that they share.
//!
//! A generation is the workers of one configuration. On a reload nginx starts those of the new one, and tells the old
//! ones to end a moment later, when the new ones may still import their applications. So a new worker leaves the
//! connections to others, if there are any, until it is ready, and an old one goes on until all new ones are.
//!
//! Behind the web workers, which accept connections, a generation may have processes that run applications for them
//! (`python_process`). A web worker is ready when these are, and such a process goes on until the web workers of its
//! generation have ended. It may be kept for the next generation, and the ones after that: then it goes on until the web
//! workers of all of these have ended.

use std::fmt::Debug;
use std::ops::Range;
use std::sync::atomic::Ordering;

use super::memory::Memory;

/// How many words workers with numbers below `workers`, in as many places of nginx's table of processes, need.
pub(crate) const fn words(workers: usize) -> usize {
    HEAD + 3 * workers
}

/// How many they need to say that they are ready.
pub(crate) const fn ready_words(workers: usize) -> usize {
    workers
}

/// The last generation whose configuration nginx has taken over, and how many workers it has.
const LATEST: usize = 0;
const WORKERS: usize = 1;
/// The last generation whose workers were told to end before they were ready.
const LEFT: usize = 2;
/// The master whose sockets this one has taken over (a binary upgrade); 0 if there is none.
const OLD_MASTER: usize = 3;
/// Then come, for each place in nginx's table of processes, the web worker there (one that serves clients), its generation, and
/// whether it accepts connections. Of a process that serves no clients it has the generation alone, the last one that it is
/// kept for.
const HEAD: usize = 4;

/// The memory, as the master and all workers see it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Generations<M> {
    /// The master and the web workers write to it. A process that runs applications only reads it: others would believe
    /// what an attacker has written there.
    memory: M,
    /// For each worker's number, the last generation in which it was ready.
    ready: M,
}

/// One worker of a generation.
#[derive(Clone, Debug)]
pub(crate) struct Member<M> {
    pub(crate) all: Generations<M>,
    pub(crate) generation: u32,
    /// Its number among the workers of its generation (`ngx_worker`).
    pub(crate) number: usize,
    /// Its place in nginx's table of processes (`ngx_process_slot`).
    pub(crate) place: usize,
    pub(crate) process: u32,
    /// The numbers of those that run applications for the web workers of this generation.
    pub(crate) applications: Range<usize>,
}

/// Who else accepts connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Others {
    Nobody,
    /// A worker of the same generation, which has the same sockets.
    OfSame,
    /// A worker of an older one, or of the nginx before a binary upgrade.
    Older,
}

/// Who takes the place of a worker that was told to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Successor {
    /// Nobody: nginx itself ends.
    Nobody,
    Starting,
    Ready,
}

impl<M: Memory> Generations<M> {
    pub(crate) fn new(memory: M, ready: M) -> Self {
        Self { memory, ready }
    }

    /// The master, before it starts the workers of a configuration that it has taken over.
    pub(crate) fn publish(&self, generation: u32, workers: usize, old_master: Option<u32>) {
        self.store(OLD_MASTER, old_master.unwrap_or(0));
        self.store(WORKERS, u32::try_from(workers).unwrap_or(u32::MAX));
        self.store(LATEST, generation);
    }

    /// The master, after that: the process at that place of its table is kept for that generation, in which it has that
    /// number.
    pub(crate) fn keep(&self, generation: u32, number: usize, place: usize) {
        self.store(self.process_at(place), 0);
        self.store(self.generation_at(place), generation);
        self.set_ready(number, generation);
    }

    /// How many workers there may be.
    fn size(&self) -> usize {
        self.memory.words().len().saturating_sub(HEAD) / 3
    }

    fn process_at(&self, place: usize) -> usize {
        HEAD + place
    }

    fn generation_at(&self, place: usize) -> usize {
        HEAD + self.size() + place
    }

    fn accepts_at(&self, place: usize) -> usize {
        HEAD + 2 * self.size() + place
    }

    fn load(&self, at: usize) -> u32 {
        self.memory.words().get(at).map_or(0, |word| word.load(Ordering::Acquire))
    }

    fn store(&self, at: usize, value: u32) {
        if let Some(word) = self.memory.words().get(at) {
            word.store(value, Ordering::Release);
        }
    }

    /// Whether the worker of that number has been ready in this generation, or a later one.
    fn is_ready(&self, number: usize, generation: u32) -> bool {
        let word = self.ready.words().get(number);
        word.is_some_and(|word| word.load(Ordering::Acquire) >= generation)
    }

    fn set_ready(&self, number: usize, generation: u32) {
        if let Some(word) = self.ready.words().get(number) {
            word.fetch_max(generation, Ordering::AcqRel);
        }
    }

    /// Keeps the greater of both.
    fn raise(&self, at: usize, value: u32) {
        if let Some(word) = self.memory.words().get(at) {
            word.fetch_max(value, Ordering::AcqRel);
        }
    }
}

impl<M: Memory> Member<M> {
    /// Who else accepts connections. A worker may have died without a word: `lives` says whether a process lives.
    pub(crate) fn others(&self, lives: impl Fn(u32) -> bool) -> Others {
        let all = &self.all;
        let is_accepting = |place: &usize| all.load(all.accepts_at(*place)) != 0;
        let accepting = self.web_workers(&lives).filter(is_accepting);
        let accepting = accepting.map(|place| all.load(self.all.generation_at(place)));
        let old_master = all.load(OLD_MASTER);
        let upgraded = old_master != 0 && lives(old_master);
        accepting.fold(if upgraded { Others::Older } else { Others::Nobody }, |others, other| {
            if other == self.generation {
                Others::OfSame
            } else if others == Others::Nobody {
                Others::Older
            } else {
                others
            }
        })
    }

    /// A web worker starts. It does not accept connections yet.
    pub(crate) fn enter(&self) {
        self.set_accepting(false);
        self.all.store(self.all.generation_at(self.place), self.generation);
        self.all.store(self.all.process_at(self.place), self.process);
    }

    /// A web worker has ended its requests.
    pub(crate) fn end(&self) {
        self.all.store(self.all.process_at(self.place), 0);
    }

    /// The worker accepts connections from now on, or does not any more.
    pub(crate) fn set_accepting(&self, accepting: bool) {
        self.all.store(self.all.accepts_at(self.place), accepting.into());
    }

    /// Whether the processes that run applications for this worker are ready.
    pub(crate) fn applications_are_ready(&self) -> bool {
        let mut numbers = self.applications.clone();
        numbers.all(|number| self.all.is_ready(number, self.generation))
    }

    /// Whether a web worker lives that may have requests for the applications of this process: one of its generation, or
    /// of those that it has been kept for.
    pub(crate) fn is_needed(&self, lives: impl Fn(u32) -> bool) -> bool {
        // An older one is that of whoever had the place before.
        let last = self.all.load(self.all.generation_at(self.place)).max(self.generation);
        let own = self.generation..=last;
        let mut others = self.web_workers(&lives);
        others.any(|place| own.contains(&self.all.load(self.all.generation_at(place))))
    }

    /// The places of the other web workers that live.
    fn web_workers(&self, lives: &impl Fn(u32) -> bool) -> impl Iterator<Item = usize> {
        let others = (0..self.all.size()).filter(|place| *place != self.place);
        others.filter(|place| {
            let process = self.all.load(self.all.process_at(*place));
            process != 0 && lives(process)
        })
    }

    /// The starts of the worker's applications have ended.
    pub(crate) fn set_ready(&self) {
        self.all.set_ready(self.number, self.generation);
    }

    /// The worker was told to end before it was ready: nobody waits for its generation any more.
    pub(crate) fn leave(&self) {
        self.all.raise(LEFT, self.generation);
    }

    /// The worker was told to end: who takes its place?
    pub(crate) fn successor(&self) -> Successor {
        let all = &self.all;
        let latest = all.load(LATEST);
        if latest <= self.generation || all.load(LEFT) >= latest {
            return Successor::Nobody;
        }
        let workers = (all.load(WORKERS) as usize).min(all.size());
        if (0..workers).all(|number| all.is_ready(number, latest)) {
            return Successor::Ready;
        }
        Successor::Starting
    }
}

#[cfg(test)]
#[cfg(not(feature = "loom"))]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicU32;

    use super::*;

    type All = Generations<Arc<Vec<AtomicU32>>>;

    fn all() -> All {
        let zeros = |count| Arc::new((0..count).map(|_| AtomicU32::new(0)).collect());
        Generations::new(zeros(words(8)), zeros(ready_words(8)))
    }

    fn member(
        all: &All,
        generation: u32,
        number: usize,
        place: usize,
    ) -> Member<Arc<Vec<AtomicU32>>> {
        let process = 100 + place as u32;
        let applications = 0..0;
        let member = Member { all: all.clone(), generation, number, place, process, applications };
        member.enter();
        member
    }

    #[test]
    fn an_old_worker_goes_on_until_all_new_ones_are_ready() {
        let all = all();
        all.publish(1, 1, None);
        let old = member(&all, 1, 0, 0);
        assert_eq!(old.successor(), Successor::Nobody, "nginx ends");
        all.publish(2, 2, None);
        let new = [member(&all, 2, 0, 1), member(&all, 2, 1, 2)];
        assert_eq!(old.successor(), Successor::Starting);
        new[1].set_ready();
        assert_eq!(old.successor(), Successor::Starting);
        new[0].set_ready();
        assert_eq!(old.successor(), Successor::Ready);
        assert_eq!(new[0].successor(), Successor::Nobody);
    }

    #[test]
    fn a_second_reload_during_the_first() {
        let all = all();
        all.publish(1, 1, None);
        let first = member(&all, 1, 0, 0);
        all.publish(2, 1, None);
        let second = member(&all, 2, 0, 1);
        all.publish(3, 1, None);
        let third = member(&all, 3, 0, 2);
        second.leave();
        assert_eq!(first.successor(), Successor::Starting, "the third comes");
        assert_eq!(second.successor(), Successor::Starting);
        third.set_ready();
        assert_eq!(first.successor(), Successor::Ready);
    }

    #[test]
    fn nginx_ends_while_the_new_workers_start() {
        let all = all();
        all.publish(1, 2, None);
        let old = member(&all, 1, 0, 0);
        all.publish(2, 2, None);
        member(&all, 2, 0, 2).leave();
        assert_eq!(old.successor(), Successor::Nobody);
    }

    #[test]
    fn a_configuration_without_python_is_ready_at_once() {
        let all = all();
        all.publish(1, 4, None);
        let old = member(&all, 1, 3, 3);
        all.publish(2, 0, None);
        assert_eq!(old.successor(), Successor::Ready);
    }

    #[test]
    fn who_else_accepts() {
        let all = all();
        all.publish(1, 2, None);
        let (one, two) = (member(&all, 1, 0, 0), member(&all, 1, 1, 1));
        let lives = |_| true;
        assert_eq!(one.others(lives), Others::Nobody);
        one.set_accepting(true);
        assert_eq!(one.others(lives), Others::Nobody, "it is no other");
        assert_eq!(two.others(lives), Others::OfSame);
        assert_eq!(two.others(|process| process != 100), Others::Nobody, "it has died");
        let new = member(&all, 2, 0, 2);
        assert_eq!(new.others(lives), Others::Older);
        one.set_accepting(false);
        assert_eq!(new.others(lives), Others::Nobody);
        two.set_accepting(true);
        member(&all, 2, 1, 3).set_accepting(true);
        assert_eq!(new.others(lives), Others::OfSame);
    }

    #[test]
    fn a_web_worker_waits_for_the_processes_behind_it() {
        let all = all();
        all.publish(2, 3, None);
        let web = Member { applications: 1..3, ..member(&all, 2, 0, 0) };
        assert!(member(&all, 2, 0, 0).applications_are_ready(), "there are none");
        let application = |number| Member {
            applications: 1..3,
            ..Member { number, place: number, process: 100 + number as u32, ..web.clone() }
        };
        assert!(!web.applications_are_ready());
        application(1).set_ready();
        assert!(!web.applications_are_ready());
        application(2).set_ready();
        assert!(web.applications_are_ready());
        all.publish(3, 3, None);
        let next = Member { generation: 3, ..web.clone() };
        assert!(web.applications_are_ready() && !next.applications_are_ready());
    }

    #[test]
    fn an_application_process_is_needed_while_a_web_worker_of_its_generation_lives() {
        let all = all();
        all.publish(1, 3, None);
        let web = [member(&all, 1, 0, 0), member(&all, 1, 1, 1)];
        let process = Member { number: 2, place: 2, process: 102, ..web[0].clone() };
        assert!(process.is_needed(|_| true));
        web[0].end();
        assert!(process.is_needed(|_| true));
        assert!(!process.is_needed(|process| process != 101), "it has died");
        web[1].end();
        assert!(!process.is_needed(|_| true));
        all.publish(2, 3, None);
        member(&all, 2, 0, 0).enter();
        assert!(!process.is_needed(|_| true), "it is of another generation");
    }

    #[test]
    fn a_process_is_kept_for_the_next_generation() {
        let all = all();
        all.publish(1, 2, None);
        let old = member(&all, 1, 0, 0);
        let process = Member { number: 1, place: 1, applications: 1..2, ..old.clone() };
        process.set_ready();
        all.publish(2, 3, None);
        all.keep(2, 2, 1);
        let new = [0, 1]
            .map(|number| Member { applications: 2..3, ..member(&all, 2, number, 2 + number) });
        assert!(new[0].applications_are_ready(), "it is the same one");
        new.iter().for_each(Member::set_ready);
        assert_eq!(old.successor(), Successor::Ready);
        old.end();
        assert!(process.is_needed(|_| true));
        new[0].end();
        new[1].end();
        assert!(!process.is_needed(|_| true));
        // Another one is started in its place.
        let next = Member { generation: 2, number: 2, ..process.clone() };
        member(&all, 1, 0, 0).enter();
        assert!(!next.is_needed(|_| true), "that is of an older generation");
    }

    #[test]
    fn after_a_binary_upgrade_the_old_master_counts() {
        let all = all();
        all.publish(1, 1, Some(77));
        let new = member(&all, 1, 0, 0);
        assert_eq!(new.others(|process| process == 77), Others::Older);
        assert_eq!(new.others(|_| false), Others::Nobody);
    }

    #[test]
    fn a_place_without_memory_changes_nothing() {
        let all = all();
        all.publish(1, 1, None);
        let stray = member(&all, 1, 900, 900);
        stray.set_accepting(true);
        stray.set_ready();
        assert_eq!(stray.others(|_| true), Others::Nobody);
    }
}
