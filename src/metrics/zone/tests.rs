use super::*;
use crate::metrics::meters::{Count, PoolNow};

fn lives(_: u32) -> bool {
    true
}

fn worker(process: u32, number: usize) -> Owner {
    Owner { process, number, member: None }
}

#[test]
fn as_many_areas_as_fit() {
    let names = Layout { apps: 4, pools: 2, loops: 1, groups: 3, areas: 0 };
    let layout = names.of(1 << 20);
    assert!(layout.areas > 100 && layout.bytes(layout.areas) <= 1 << 20);
    assert!(layout.bytes(layout.areas + 1) > 1 << 20);
    assert_eq!(names.of(100).areas, 0);
}

#[test]
fn each_process_has_an_area_of_its_own() {
    let zone = zone(2);
    let first = zone.take(&worker(10, 0), 5, lives).unwrap();
    let second = zone.take(&worker(11, 1), 6, lives).unwrap();
    first.app(1).begin();
    second.pool(0).show(PoolNow { threads: 3, ..PoolNow::default() });
    assert_eq!((first.app(1).in_flight(), second.app(1).in_flight()), (1, 0));
    assert_eq!((first.pool(0).now().threads, second.pool(0).now().threads), (0, 3));
    assert_eq!((second.number(), second.since(), second.owner()), (1, 6, 11));
    assert!(zone.take(&worker(12, 2), 7, lives).is_none(), "all are taken");
    assert_eq!(first.app(2).in_flight(), 0, "there is no such application");
}

#[test]
fn the_next_process_counts_on_what_the_one_before_has_left() {
    let zone = zone(1);
    let area = zone.take(&worker(10, 0), 5, lives).unwrap();
    area.set_state(State::Serving);
    area.app(0).begin();
    area.app(0).begin();
    area.app(0).end(Some(200));
    area.pool(0).show(PoolNow { busy: 1, ..PoolNow::default() });
    assert_eq!(area.requests(), 2);
    let next = zone.take(&worker(11, 0), 9, |process| process != 10).unwrap();
    assert_eq!((next.crashes(), next.requests()), (1, 0));
    assert_eq!((next.app(0).get(Count::Successful), next.app(0).get(Count::Lost)), (1, 1));
    assert_eq!(next.app(0).in_flight(), 0);
    assert_eq!(next.pool(0).now(), PoolNow::default());
    let crash = Event { at: 9, process: 10, member: None, what: Happened::Crashed };
    assert_eq!(zone.history(), [crash]);
    next.set_state(State::Ended);
    let last = zone.take(&worker(12, 0), 9, |process| process != 11).unwrap();
    assert_eq!(last.crashes(), 1, "it has ended in order");
}

#[test]
fn a_process_with_the_number_of_a_dead_one_takes_its_area() {
    let zone = zone(2);
    zone.take(&worker(10, 0), 5, lives).unwrap().set_state(State::Serving);
    assert_eq!(zone.take(&worker(10, 0), 6, lives).unwrap().crashes(), 1);
}

#[test]
fn a_process_of_a_group_counts_for_its_group() {
    let zone = zone(1);
    let member = Some(Member { group: 0, slot: 3 });
    let area = zone.take(&Owner { member, ..worker(10, 5) }, 5, lives).unwrap();
    area.app(1).take();
    area.app(1).take();
    area.app(1).leave();
    assert_eq!((area.member(), area.requests(), area.in_flight()), (member, 2, 1));
    zone.replaced(&area, 1, 6);
    area.set_state(State::Draining);
    // A web worker comes in the place of the dead one.
    let next = zone.take(&worker(11, 0), 9, |process| process != 10).unwrap();
    assert_eq!((next.member(), next.requests(), next.in_flight()), (None, 0, 0));
    assert_eq!(next.app(1).get(Count::Dropped), 1);
    let group = zone.group(0);
    assert_eq!((group.crashes(), group.replacements(0), group.replacements(1)), (1, 0, 1));
    let events: Vec<_> = zone.history().iter().map(|event| (event.process, event.member)).collect();
    assert_eq!(events, [(10, member), (10, member)]);
    next.set_state(State::Draining);
    zone.take(&worker(12, 0), 9, |process| process != 11).unwrap();
    assert_eq!((next.crashes(), group.crashes()), (2, 1), "a web worker is of no group");
}

#[test]
fn what_waits_for_a_group_is_the_web_workers_own() {
    let zone = zone(2);
    let [first, second] = [10, 11].map(|process| zone.take(&worker(process, 0), 5, lives).unwrap());
    first.waiting(0).limit(8);
    first.waiting(0).show(2, 77);
    let seen = |area: &Area| {
        let meter = area.waiting(0);
        (meter.queue(), meter.head_since(), meter.max_queue())
    };
    assert_eq!((seen(&first), seen(&second)), ((2, 77, 8), (0, 0, 0)));
    zone.take(&worker(12, 0), 9, |process| process != 10).unwrap();
    assert_eq!(seen(&first), (0, 0, 0));
    assert_eq!(first.waiting(1).queue(), 0, "there is no such group");
}

#[test]
fn the_history_remembers_the_last_events() {
    let zone = zone(1);
    zone.reload(1);
    assert_eq!((zone.started(), zone.reloads(), zone.history().len()), (1, 0, 0));
    for at in 0..2 * EVENTS as u64 {
        let what = Happened::Replaced(at as usize % REASONS);
        zone.remember(Event { at: 100 + at, process: 7, member: None, what });
    }
    zone.reload(999);
    let history = zone.history();
    assert_eq!((history.len(), zone.reloads()), (EVENTS, 1));
    assert_eq!((history[0].at, history[0].what), (999, Happened::Reloaded));
    assert_eq!(history[1].at, 100 + 2 * EVENTS as u64 - 1);
    assert_eq!(history[1].what, Happened::Replaced(REASONS - 1));
}

#[test]
fn replacements_are_counted_by_reason() {
    let area = zone(1).take(&worker(10, 0), 5, lives).unwrap();
    area.replaced(REASONS - 1);
    area.replaced(REASONS);
    let counts: Vec<_> = (0..=REASONS).map(|reason| area.replacements(reason)).collect();
    assert_eq!(counts, [0, 0, 0, 0, 0, 0, 0, 1, 0]);
}

#[test]
fn an_answer_has_its_ticket() {
    let zone = zone(1);
    let area = zone.take(&worker(10, 0), 5, lives).unwrap();
    assert_eq!(zone.asked(&area), None);
    let ticket = zone.ask();
    assert_eq!((zone.asked(&area), area.answered(ticket)), (Some(ticket), None));
    area.answer(ticket, "File \"app.py\", line 1");
    assert_eq!(area.answered(ticket).unwrap(), "File \"app.py\", line 1");
    assert_eq!(zone.asked(&area), None);
    let next = zone.ask();
    assert_eq!(area.answered(next), None);
    // It is cut where its room ends, and not within a character.
    area.answer(next, &"ä".repeat(ANSWER));
    assert_eq!(area.answered(next).unwrap(), "ä".repeat(ANSWER / 2));
    area.answer(next, &format!("x{}", "ä".repeat(ANSWER)));
    assert_eq!(area.answered(next).unwrap().len(), ANSWER - 1);
}
