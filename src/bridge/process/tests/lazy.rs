//! `start=lazy`: which process gets a request, and how one asks whether it may end. What a process waits for that is killed.

use super::*;

/// Both processes are dormant; one that runs is busy with two requests.
fn dormant() -> Both {
    let mut both = Both::of(&ProcessGroup { wakes_at: Some(2), ..group() });
    for (_, front) in &mut both.processes {
        front.set_dormant(true);
    }
    both.turn();
    both
}

fn counts(both: &Both) -> [usize; 2] {
    [0, 1].map(|at| both.carried(at).len())
}

fn end(both: &mut Both, at: usize) {
    for exchange in both.carried(at) {
        assert!(exchange.start(7));
        respond(&exchange, b"hello");
        let _due = exchange.done();
    }
    both.turn();
}

#[test]
fn a_dormant_process_is_woken_when_those_that_run_are_busy() {
    let mut both = dormant();
    let mut requests = vec![both.get()];
    let first = usize::from(both.carried(0).is_empty());
    requests.push(both.get());
    assert_eq!((counts(&both)[first], counts(&both)[1 - first]), (2, 0));
    requests.push(both.get());
    assert_eq!(counts(&both)[1 - first], 1);
    requests.push(both.get());
    assert_eq!(counts(&both), [2, 2]);
    requests.push(both.get());
    assert_eq!(counts(&both).iter().sum::<usize>(), 5, "all are busy");
}

#[test]
fn one_that_another_worker_has_woken_is_preferred() {
    let mut both = dormant();
    both.processes[1].1.set_dormant(false);
    both.turn();
    let _request = both.get();
    assert_eq!(counts(&both), [0, 1]);
}

#[test]
fn a_process_without_requests_may_end() {
    let mut both = dormant();
    let _request = both.get();
    let at = usize::from(both.carried(0).is_empty());
    end(&mut both, at);
    let front = &mut both.processes[at].1;
    assert!(!front.has_requests());
    front.ask_to_end();
    assert_eq!(front.may_end(), None, "the web worker has not heard of it");
    both.turn();
    assert!(both.relay.take_lost().is_empty(), "the link is needed if the process stays");
    assert_eq!(both.processes[at].1.may_end(), Some(true));
    let _request = both.get();
    assert_eq!(counts(&both)[at], 0, "the other one gets what comes");
    assert_eq!(both.processes[at].1.take_lost().len(), 1, "the process has closed its link");
}

#[test]
fn a_request_that_is_on_its_way_makes_it_stay() {
    let mut both = dormant();
    // It is in the ring, and the process has not seen it.
    let id = both.table.insert(());
    let location = Arc::new(site(ExecutorId::Process(0)));
    let input = Input::buffered(VecDeque::new());
    let exchange = Exchange::new(id, location, Arc::clone(&both.web), input);
    assert!(both.web.submit(Arc::clone(&exchange)).is_ok());
    both.relay.turn();
    let _more = both.relay.flush();
    let at = exchange.place().unwrap().process;
    both.processes[at].1.ask_to_end();
    both.turn();
    assert_eq!(both.processes[at].1.may_end(), Some(false));
    both.turn();
    assert!(both.processes[at].1.has_requests());
    end(&mut both, at);
    // The other one is dormant.
    both.processes[at].1.set_dormant(false);
    both.turn();
    let _request = both.get();
    assert_eq!(counts(&both)[at], 1, "it gets requests as before");
    assert!(both.relay.take_lost().is_empty());
}

#[test]
fn one_that_does_not_wait_for_an_answer_stays() {
    let mut both = dormant();
    both.processes[1].1.set_dormant(false);
    both.turn();
    let front = &mut both.processes[1].1;
    front.ask_to_end();
    front.stay();
    both.turn();
    let _request = both.get();
    assert_eq!(counts(&both), [0, 1]);
    end(&mut both, 1);
    // It may ask again.
    both.processes[1].1.ask_to_end();
    both.turn();
    assert_eq!(both.processes[1].1.may_end(), Some(true));
}

#[test]
fn a_process_that_is_killed_waits_for_what_has_begun() {
    let mut both = Both::new();
    let requests: Vec<_> = (0..6).map(|_| both.get()).collect();
    let [stuck, other, _] = <[_; 3]>::try_from(both.carried(0)).unwrap();
    assert!(stuck.start(7) && other.start(8));
    let but = [stuck];
    assert!(!both.processes[0].1.is_left_with(&but), "more requests may come");
    both.processes[0].1.leave();
    both.turn();
    assert!(!both.processes[0].1.is_left_with(&but));
    respond(&other, b"hello");
    let _due = other.done();
    both.turn();
    assert!(both.processes[0].1.is_left_with(&but), "the third has not begun");
    let third = both.carried(0).pop().unwrap();
    assert!(both.processes[0].1.take_back(&but));
    assert!(!third.start(9), "nor does it any more");
    // It ends, and the third goes elsewhere.
    let before = both.carried(1).len();
    both.relay.ended(0);
    both.turn();
    let lost = both.relay.take_lost().pop().unwrap();
    assert_eq!((lost.failed, lost.refused, lost.tried), (1, 0, 1));
    assert_eq!(both.carried(1).len(), before + 1);
    drop(requests);
}

#[test]
fn what_begins_in_the_last_moment_is_waited_for() {
    let mut both = Both::new();
    let _requests: Vec<_> = (0..4).map(|_| both.get()).collect();
    let [first, second] = <[_; 2]>::try_from(both.carried(0)).unwrap();
    both.processes[0].1.leave();
    both.turn();
    assert!(both.processes[0].1.is_left_with(&[]));
    assert!(second.start(7));
    assert!(!both.processes[0].1.take_back(&[]));
    assert!(!both.processes[0].1.is_left_with(&[]));
    assert!(!first.start(8));
}

#[test]
fn a_process_that_leaves_without_having_begun_a_post_leaves_it_to_another() {
    let mut both = Both::new();
    let post = both.submit(b"POST", Input::streamed(false));
    let (process, _) = both.only();
    both.processes[process].1.leave();
    both.turn();
    both.relay.ended(process);
    both.turn();
    assert_eq!(both.relay.take_lost().pop().map(|lost| lost.tried), Some(1));
    assert_eq!((taken(&post).end, both.carried(1 - process).len()), (None, 1));
    // Of the next one a part of the body has gone.
    both.connect(process);
    both.turn();
    let _reads_on = post.push_input(Bytes::from_static(b"x"));
    post.notify_input();
    both.turn();
    both.processes[1 - process].1.leave();
    both.turn();
    both.relay.ended(1 - process);
    both.turn();
    assert_eq!(taken(&post).end, Some(End::Refused));
}

#[test]
fn a_request_that_has_expired_is_counted_no_longer() {
    let mut both = Both::new();
    both.relay.ended(0);
    both.relay.ended(1);
    let requests: Vec<_> = (0..9).map(|_| both.get()).collect();
    let refused = both.web.submit(Arc::clone(&requests[0]));
    assert!(refused.is_err(), "the queue is full");
    // Not the first.
    requests[5].close(InputError::TimedOut);
    both.turn();
    let next = both.get();
    assert!(next.expire());
}

#[test]
fn nothing_waits_for_processes_that_are_not_started_again() {
    let mut both = Both::new();
    both.relay.ended(0);
    let _first = both.get();
    both.relay.set_ending();
    both.relay.ended(1);
    let request = both.get();
    assert_eq!(taken(&request).end, None, "one may have been started");
    assert!(both.relay.has_to_look_again());
    std::thread::sleep(std::time::Duration::from_millis(2100));
    both.turn();
    assert_eq!(taken(&request).end, Some(End::Refused));
    assert!(!both.relay.has_to_look_again());
}
