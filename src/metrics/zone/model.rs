use loom::thread;

use super::*;

fn check(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

fn worker(process: u32) -> Owner {
    Owner { process, number: 0, member: None }
}

/// No room for applications, and for answers of two words.
fn small(areas: usize) -> Zone {
    use crate::metrics::words::leaked;

    let layout = Layout { apps: 0, pools: 0, loops: 0, groups: 0, areas };
    let words = leaked(layout.words());
    Zone { layout, words: Words::new(words), answers: Words::new(leaked(areas * 2)) }
}

fn area(zone: &Zone) -> Area {
    Area {
        layout: zone.layout,
        words: zone.words.part(HEAD, zone.layout.area()),
        answers: zone.answers.part(0, 2),
    }
}

#[test]
fn two_processes_do_not_take_the_same_area() {
    check(|| {
        let zone = small(2);
        let other =
            thread::spawn(move || zone.take(&worker(10), 1, |_| true).map(|area| area.owner()));
        let own = zone.take(&worker(11), 1, |_| true).map(|area| area.owner());
        assert_eq!((own, other.join().unwrap()), (Some(11), Some(10)));
    });
}

#[test]
fn two_processes_do_not_both_succeed_a_dead_one() {
    check(|| {
        let zone = small(1);
        let _dead = zone.take(&worker(9), 1, |_| true);
        let take = move |process| zone.take(&worker(process), 1, |other| other != 9).is_some();
        let other = thread::spawn(move || take(10));
        let own = take(11);
        assert!(own ^ other.join().unwrap(), "one of them has it");
        assert_eq!(area(&zone).crashes(), 1);
    });
}

#[test]
fn an_event_is_read_whole_or_not_at_all() {
    check(|| {
        let zone = small(0);
        let remember = move |number: usize| {
            let what = Happened::Replaced(number);
            let member = Some(Member { group: number, slot: number });
            let process = number as u32;
            zone.remember(Event { at: 100 + number as u64, process, member, what });
        };
        remember(1);
        let writer = thread::spawn(move || {
            // The next one goes to the place of the first.
            zone.words.set(HISTORY_NEXT, EVENTS as u64);
            remember(2);
        });
        for event in zone.history() {
            let Happened::Replaced(number) = event.what else { panic!("{event:?}") };
            assert_eq!((event.at, event.process), (100 + number as u64, number as u32));
            assert_eq!(event.member, Some(Member { group: number, slot: number }));
        }
        writer.join().unwrap();
        let [last] = zone.history()[..] else { panic!("one place, one event") };
        assert_eq!(last.what, Happened::Replaced(2));
    });
}

#[test]
fn an_answer_is_read_whole_or_not_at_all() {
    check(|| {
        let zone = small(1);
        let area = area(&zone);
        let ticket = zone.ask();
        let writer = thread::spawn(move || {
            area.answer(ticket, "first one");
            area.answer(ticket + 1, "second");
        });
        if let Some(answer) = area.answered(ticket) {
            assert!(["first one", "second"].contains(&answer.as_str()), "{answer}");
        }
        writer.join().unwrap();
        assert_eq!(area.answered(ticket).as_deref(), Some("second"));
    });
}
