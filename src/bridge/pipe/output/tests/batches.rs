//! What the event loop takes at once: the head, hints, blocks, the end; and when it is told.

use super::*;

#[test]
fn a_batch_is_announced_once() {
    let output = new_output(buffered(9, 0));
    let announced = Cell::new(0);
    let announce = || announced.set(announced.get() + 1);
    let push = |head, text, end| {
        assert!(output.try_push(head, bytes(text), end, announce).unwrap().is_none());
    };
    push(None, "", None);
    assert_eq!(announced.get(), 0, "nothing is no news");
    push(Some(head()), "", None);
    push(None, "ab", None);
    push(None, "cd", Some(End::Complete));
    assert_eq!(announced.get(), 1);
    let mut batch = Batch::default();
    output.take(&mut batch);
    assert!(batch.head.is_some());
    assert_eq!(batch.blocks.iter().map(text_of).collect::<Vec<_>>(), ["ab", "cd"]);
    assert_eq!(batch.end, Some(End::Complete));
    push(None, "e", None);
    push(None, "f", None);
    assert_eq!(announced.get(), 2);
    assert_eq!(take(&output), ["m:e", "m:f"]);
    push(None, "", Some(End::Failed));
    assert_eq!(announced.get(), 3);
}

#[test]
fn a_head_goes_though_its_block_has_no_room() {
    let output = new_output(buffered(4, 0));
    let announced = Cell::new(0);
    let announce = || announced.set(announced.get() + 1);
    assert!(push(&output, "abcd"));
    take(&output);
    let rest = output.try_push(Some(head()), bytes("efgh"), None, announce).unwrap();
    assert!(rest.is_some());
    assert_eq!(announced.get(), 1);
    let mut batch = Batch::default();
    output.take(&mut batch);
    assert!(batch.head.is_some() && batch.blocks.is_empty());
}

/// A hint that counts as `size` bytes.
fn hint(size: usize) -> Vec<Field> {
    vec![(b"Link".to_vec(), vec![b'x'; size - 36])]
}

#[test]
fn hints_are_bounded_in_all_whether_taken_or_not() {
    let output = new_output(buffered(9, 0));
    let push = |fields| output.push_hints(fields, || ());
    assert_eq!(push(hint(MAX_HINTS + 1)), Err(TooManyHints));
    assert_eq!(push(hint(MAX_HINTS - 100)), Ok(()));
    assert_eq!(push(hint(101)), Err(TooManyHints));
    let mut batch = Batch::default();
    output.take(&mut batch);
    assert_eq!(batch.hints.len(), 1, "what was refused is not there");
    assert_eq!(push(hint(101)), Err(TooManyHints));
    assert_eq!(push(hint(100)), Ok(()));
    // The smallest there is.
    assert_eq!(push(vec![(b"a".to_vec(), Vec::new())]), Err(TooManyHints));
}

#[test]
fn hints_that_are_nobody_s_are_not_counted() {
    let late = new_output(buffered(9, 0));
    assert!(late.try_push(Some(head()), Bytes::new(), None, || ()).unwrap().is_none());
    let closed = new_output(buffered(9, 0));
    assert!(!closed.close(no_task));
    for output in [late, closed] {
        assert_eq!(output.push_hints(hint(MAX_HINTS + 1), || panic!("announced")), Ok(()));
        let mut batch = Batch::default();
        output.take(&mut batch);
        assert!(batch.hints.is_empty());
    }
}

#[test]
fn what_is_taken_adds_to_a_batch() {
    let output = new_output(buffered(9, 0));
    let mut batch = Batch::default();
    output.try_push(Some(head()), bytes("a"), None, || ()).unwrap();
    output.take(&mut batch);
    output.try_push(None, bytes("b"), Some(End::Complete), || ()).unwrap();
    output.take(&mut batch);
    output.take(&mut batch);
    assert!(batch.head.is_some());
    assert_eq!((batch.blocks.len(), batch.end), (2, Some(End::Complete)));
}

#[test]
fn a_batch_is_empty_when_it_has_been_cleared() {
    let output = new_output(buffered(9, 0));
    output.set_trailers(vec![(b"X-Sum".to_vec(), b"1".to_vec())]);
    output.push_hints(hint(99), || ()).unwrap();
    output.try_push(Some(head()), bytes("a"), Some(End::Complete), || ()).unwrap();
    let mut batch = Batch::default();
    output.take(&mut batch);
    assert!(batch.expects_trailers && batch.trailers.len() == 1);
    batch.clear();
    // The next response that uses it has no trailers.
    assert_eq!(format!("{batch:?}"), format!("{:?}", Batch::default()));
}

#[test]
fn what_is_held_back_is_joined_and_announced_at_the_end_alone() {
    let output = new_output(buffered(SHARED_FROM, 99));
    let announced = Cell::new(0);
    let announce = || announced.set(announced.get() + 1);
    let push = |text, end| {
        assert!(output.try_push(None, bytes(text), end, announce).unwrap().is_none());
    };
    push("a", None);
    assert_eq!(announced.get(), 1);
    assert!(output.hold_back(u64::MAX, no_task));
    for _ in 0..1000 {
        push("b", None);
    }
    assert_eq!(announced.get(), 1, "the client takes nothing");
    assert!(output.hold_back(u64::MAX, no_task));
    push("c", Some(End::Complete));
    assert_eq!(announced.get(), 2);
    assert!(!output.hold_back(u64::MAX, no_task), "nginx sends the rest by itself");
    assert_eq!(take(&output), ["m:a".to_owned(), format!("m:{}c", "b".repeat(1000))]);
}

#[test]
fn what_is_held_back_is_announced_when_it_is_enough() {
    let output = new_output(buffered(99, 99));
    let announced = Cell::new(0);
    let announce = || announced.set(announced.get() + 1);
    let push =
        |text| assert!(output.try_push(None, bytes(text), None, announce).unwrap().is_none());
    for rounds in 1..3 {
        assert!(output.hold_back(3, no_task));
        push("ab");
        assert_eq!(announced.get(), rounds - 1);
        push("c");
        push("d");
        assert_eq!(announced.get(), rounds, "once");
        assert!(!output.hold_back(3, no_task));
        assert_eq!(take(&output), ["m:ab", "m:cd"]);
    }
    // When it has been taken it is no longer held back.
    assert!(output.hold_back(3, no_task));
    assert!(take(&output).is_empty());
    push("e");
    assert_eq!(announced.get(), 3);
}

#[test]
fn an_end_stays_whatever_comes_after_it() {
    let output = new_output(buffered(9, 0));
    output.try_push(None, bytes("a"), Some(End::Complete), || ()).unwrap();
    assert!(push(&output, "late"));
    assert_eq!(take_end(&output), Some(End::Complete));
    assert_eq!(take_end(&output), None);
}
