//! Code that has changed: who says so, and who hears that processes are replaced for it.

use super::*;
use crate::bridge::process::relay::Changed;

#[test]
fn a_process_says_it_and_all_of_its_group_hear_the_answer() {
    let mut both = Both::new();
    both.processes[1].1.say_changed(1000);
    both.turn();
    let changed = Changed { group: 0, when: 1000 };
    assert_eq!(both.relay.take_changed(), [changed]);
    assert!(both.relay.take_changed().is_empty());
    both.relay.renew(changed);
    both.turn();
    for (_, front) in &mut both.processes {
        assert_eq!(front.take_renewal(), Some(1000));
        assert_eq!(front.take_renewal(), None);
    }
}

#[test]
fn a_web_worker_that_comes_later_hears_what_has_not_been_answered() {
    let mut both = Both::new();
    both.processes[0].1.say_changed(1000);
    both.turn();
    both.connect(0);
    both.turn();
    let all = both.relay.take_changed();
    assert!(all.contains(&Changed { group: 0, when: 1000 }), "{all:?}");
    both.relay.renew(Changed { group: 0, when: 1000 });
    both.turn();
    both.connect(0);
    both.turn();
    assert!(both.relay.take_changed().is_empty(), "it has been answered");
}

#[test]
fn an_answer_to_an_older_change_is_none() {
    let mut both = Both::new();
    both.processes[0].1.say_changed(2000);
    both.turn();
    both.relay.renew(Changed { group: 0, when: 1000 });
    both.turn();
    assert_eq!(both.processes[0].1.take_renewal(), Some(1000));
    let _before = both.relay.take_changed();
    both.connect(0);
    both.turn();
    assert_eq!(both.relay.take_changed(), [Changed { group: 0, when: 2000 }]);
}
