//! Large blocks, which cross in trays.

use super::hostile::{Hostile, end, response};
use super::*;
use crate::bridge::pipe::output::parts::SHARED_FROM;
use crate::bridge::trays::{Filled, SIZE};

/// How many trays there are for the ring of these tests.
const COUNT: u32 = 16;

fn in_trays(batch: &Batch) -> Vec<bool> {
    batch.blocks.iter().map(|block| matches!(block, Block::Tray(_))).collect()
}

fn tray(tray: u32, length: usize) -> ToWorker {
    ToWorker::Tray(Filled { tray, length: length as u32 })
}

/// A request whose application sends a megabyte at once.
fn large(both: &mut Both) -> (Arc<Exchange>, Vec<u8>) {
    let web = both.get();
    let (_, carried) = both.only();
    assert!(carried.start(7));
    let body: Vec<u8> = (0..1_000_000_u32).map(|number| (number / 1000) as u8).collect();
    let block = Bytes::from(body.clone());
    carried.push(Some(head()), block, Some(End::Complete), |_| panic!("it is lent")).unwrap();
    let _due = carried.done();
    both.turn();
    assert!(both.relay.take_lost().is_empty());
    (web, body)
}

#[test]
fn large_blocks_cross_in_trays() {
    let mut both = Both::new();
    // Together they need more trays than there are.
    for _ in 0..3 {
        let (web, body) = large(&mut both);
        let mut received = Vec::new();
        for _ in 0..1000 {
            let batch = taken(&web);
            let part = bytes(&batch);
            assert!(in_trays(&batch).iter().all(|is_tray| *is_tray), "all of them are free");
            received.extend_from_slice(&part);
            if batch.end.is_some() {
                break;
            }
            drop(batch);
            web.drained(part.len(), 0, false);
            both.turn();
        }
        assert!(received == body);
        web.close(InputError::Answered);
        web.over();
        both.turn();
    }
}

#[test]
fn small_blocks_do_not() {
    let mut both = Both::new();
    let web = both.get();
    let (_, carried) = both.only();
    assert!(carried.start(7));
    respond(&carried, b"hello");
    let _due = carried.done();
    both.turn();
    assert_eq!(in_trays(&taken(&web)), [false]);
}

/// A client that has taken so many blocks, which nginx still needs.
fn take_some(both: &mut Both, web: &Arc<Exchange>, count: u32) -> Vec<Batch> {
    let take = |_| {
        let batch = taken(web);
        assert_eq!(in_trays(&batch), [true]);
        web.drained(bytes(&batch).len(), 0, false);
        both.turn();
        batch
    };
    (0..count).map(take).collect()
}

#[test]
fn a_client_that_takes_nothing_keeps_no_tray_that_others_need() {
    let mut both = Both::new();
    let (web, body) = large(&mut both);
    assert!(web.hold_back(u64::MAX));
    let first = taken(&web);
    assert_eq!((in_trays(&first), bytes(&first)), (vec![true], body[..BUFFER].to_vec()));
    web.drained(BUFFER, 0, false);
    both.turn();
    // One of the second half is copied out.
    let kept = take_some(&mut both, &web, COUNT / 2 - 1);
    assert!(web.hold_back(u64::MAX));
    both.turn();
    let next = taken(&web);
    let at = BUFFER * (COUNT / 2) as usize;
    assert_eq!((in_trays(&next), bytes(&next)), (vec![false], body[at..at + BUFFER].to_vec()));
    // What follows does not get one, until the client takes all that there is.
    web.drained(BUFFER, 0, true);
    both.turn();
    let next = taken(&web);
    assert!(in_trays(&next).iter().all(|is_tray| !is_tray));
    web.drained(BUFFER, 0, false);
    both.turn();
    assert_eq!(in_trays(&taken(&web)), [true]);
    drop((first, kept));
}

#[test]
fn blocks_for_which_no_tray_is_free_cross_in_the_ring() {
    let mut both = Both::new();
    let (web, body) = large(&mut both);
    let kept = take_some(&mut both, &web, COUNT);
    assert!(kept.iter().map(bytes).collect::<Vec<_>>().concat() == body);
    let (web, _body) = large(&mut both);
    assert!(in_trays(&taken(&web)).iter().all(|is_tray| !is_tray));
    web.drained(BUFFER, 0, false);
    drop(kept);
    both.turn();
    assert_eq!(in_trays(&taken(&web)), [true]);
}

#[test]
fn what_a_process_must_not_say_of_trays_ends_its_link() {
    for (messages, expected) in [
        (vec![response(10), tray(COUNT, 10)], Broken::Tray),
        (vec![response(10), tray(u32::MAX, 10)], Broken::Tray),
        (vec![response(10), tray(0, 0)], Broken::Tray),
        (vec![response(1 << 20), tray(0, SIZE + 1)], Broken::Tray),
        (vec![response(1 << 20), tray(0, SHARED_FROM - 1)], Broken::Tray),
        // nginx still has it.
        (vec![response(1 << 20), tray(3, SHARED_FROM), tray(3, SHARED_FROM)], Broken::Tray),
        (vec![tray(0, SHARED_FROM)], Broken::Order),
        (vec![response(20_000), tray(0, 20_000), tray(1, SHARED_FROM)], Broken::Order),
        (vec![response(1 << 20), tray(0, SIZE), tray(1, SHARED_FROM)], Broken::Credit),
    ] {
        let mut hostile = Hostile::new();
        assert_eq!(hostile.says(&messages), Some(expected), "{messages:?}");
        assert!(taken(&hostile.exchange).end.is_some(), "the client is told");
    }
}

#[test]
fn a_tray_for_another_request_is_given_back() {
    let mut hostile = Hostile::new();
    let other = Number { generation: hostile.number.generation + 1, ..hostile.number };
    let block = vec![b'x'; SHARED_FROM];
    for _ in 0..2 * COUNT {
        assert!(hostile.link.send_tray(other, &block, false, ToWorker::Tray).unwrap());
        let _more = hostile.link.flush(false).unwrap();
        hostile.relay.turn();
        let _more = hostile.relay.flush();
    }
    let length = SHARED_FROM;
    assert_eq!(hostile.says(&[response(length as u64), tray(0, length), end()]), None);
    let batch = taken(&hostile.exchange);
    assert_eq!((bytes(&batch), batch.end), (block, Some(End::Complete)));
}
