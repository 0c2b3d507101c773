//! A thread whose block has no room: what it waits for, what is copied, what a closed pipe does.

use super::*;

#[test]
fn a_large_block_is_lent_while_that_may_be() {
    let loans = Loans::new();
    // 2,048 bytes in all.
    let output = || Output::new(buffered(4, 0), Arc::clone(&loans));
    let large = |size| Bytes::from(vec![b'x'; size]);
    let (first, second) = (output(), output());
    assert!(first.try_push(None, bytes("abc"), None, || ()).unwrap().is_none());
    assert!(first.try_push(None, large(1500), None, || ()).unwrap().is_none());
    // One at a time in a pipe, and no more in all.
    assert!(first.try_push(None, large(5), None, || ()).unwrap().is_some());
    assert!(second.try_push(None, large(1000), None, || ()).unwrap().is_some());
    let mut batch = Batch::default();
    first.take(&mut batch);
    assert_eq!(batch.blocks.iter().map(|block| text_of(block).len()).sum::<usize>(), 1503);
    drop(batch);
    first.drained(1503, 0, false, no_task);
    assert!(second.try_push(None, large(1000), Some(End::Complete), || ()).unwrap().is_none());
    second.take(&mut Batch::default());
    // What the client has taken is given back; what has a place is not lent.
    assert!(first.try_push(None, bytes("abcd"), None, || ()).unwrap().is_none());
    assert!(loans.take(&Bytes::from(vec![0; 2048]), 2048).is_some());
}

#[test]
fn a_thread_learns_that_its_block_is_held_back() {
    let output = Arc::new(new_output(buffered(4, 99)));
    assert!(push(&output, "abcd"));
    let thread = spawn(&output, "ef", None);
    assert_waits(&output, &thread);
    // The client takes nothing, though nothing of this response waits for it in nginx's hands.
    assert!(output.hold_back(u64::MAX, no_task));
    assert!(thread.join().unwrap().unwrap().is_none());
    assert_eq!(take(&output), ["m:abcd", "f:ef"]);
}

#[test]
fn a_full_memory_is_waited_for_until_the_client_stalls() {
    let output = Arc::new(new_output(buffered(4, 99)));
    assert!(push(&output, "abcd"));
    let thread = spawn(&output, "efg", None);
    assert_waits(&output, &thread);
    take(&output);
    output.drained(0, 0, false, no_task);
    assert_waits(&output, &thread);
    // The event loop has come round: there is room.
    output.drained(4, 0, false, no_task);
    assert!(thread.join().unwrap().unwrap().is_none());
    assert_eq!(take(&output), ["m:efg"]);

    let thread = spawn(&output, "hij", None);
    until(|| waits(&output) || thread.is_finished());
    // It has, and the client takes no more.
    output.drained(0, 0, true, no_task);
    assert!(thread.join().unwrap().unwrap().is_none());
    assert_eq!(take(&output), ["m:h", "f:ij"]);
}

#[test]
fn memory_is_not_filled_in_crumbs() {
    let output = Arc::new(new_output(buffered(8, 0)));
    assert!(push(&output, "abcdefg"));
    let thread = spawn(&output, "hijk", None);
    assert_waits(&output, &thread);
    assert_eq!(take(&output), ["m:abcdefg"]);
    output.drained(1, 0, false, no_task);
    thread::sleep(Duration::from_millis(10));
    // Two bytes are a quarter of it.
    until(|| lock(&output.state).memory == 8);
    assert_waits(&output, &thread);
    assert_eq!(take(&output), ["m:hi"]);
    output.drained(8, 0, false, no_task);
    thread.join().unwrap().unwrap();
    assert_eq!(take(&output), ["m:jk"]);
}

#[test]
fn without_a_file_the_thread_waits_for_a_client_that_stalls() {
    let output = Arc::new(new_output(buffered(4, 0)));
    assert!(push(&output, "abcd"));
    output.drained(0, 0, true, no_task);
    let thread = spawn(&output, "ef", None);
    assert_waits(&output, &thread);
    output.drained(4, 0, true, no_task);
    thread.join().unwrap().unwrap();
    assert_eq!(take(&output), ["m:abcd", "m:ef"]);
}

#[test]
fn a_block_larger_than_memory_goes_through_it_by_copies() {
    let output = Arc::new(new_output(buffered(8, 0)));
    let gone = Arc::new(AtomicUsize::new(0));
    let thread = {
        let (output, block) = (Arc::clone(&output), owned(100, &gone));
        thread::spawn(move || send(&output, block, Some(End::Complete)))
    };
    let mut batch = Batch::default();
    let (mut total, mut most) = (0, 0);
    while batch.end.is_none() {
        until(|| waits(&output) || thread.is_finished());
        most = most.max(lock(&output.state).memory);
        let known = batch.blocks.len();
        output.take(&mut batch);
        let more: usize = batch.blocks[known..].iter().map(|block| text_of(block).len()).sum();
        total += more;
        output.drained(more, 0, false, no_task);
    }
    thread.join().unwrap().unwrap();
    assert_eq!((total, most), (100, 8));
    // The client is still busy with the pieces; the block's owner is not.
    assert_eq!(gone.load(Ordering::SeqCst), 1);
}

#[test]
fn a_block_that_fits_is_not_copied() {
    for buffering in [buffered(8, 0), unbuffered(8)] {
        let output = Arc::new(new_output(buffering));
        for wait in [false, true] {
            let gone = Arc::new(AtomicUsize::new(0));
            if wait {
                assert!(push(&output, "12345678"));
            }
            let (own, block) = (Arc::clone(&output), owned(8, &gone));
            let thread = thread::spawn(move || send(&own, block, None));
            if wait {
                until(|| waits(&output));
                take(&output);
                output.drained(8, 0, false, no_task);
            }
            thread.join().unwrap().unwrap();
            assert_eq!(gone.load(Ordering::SeqCst), 0);
            assert_eq!(take(&output), ["m:oooooooo"]);
            assert_eq!(gone.load(Ordering::SeqCst), 1);
            output.drained(8, 0, false, no_task);
        }
    }
}

#[test]
fn without_buffering_the_thread_waits_for_the_client() {
    let output = Arc::new(new_output(Buffering { enabled: false, ..buffered(4, 99) }));
    // A block goes whole where there is any room.
    assert!(push(&output, "abc"));
    assert!(push(&output, "defghi"));
    let thread = spawn(&output, "jk", Some(End::Complete));
    assert_waits(&output, &thread);
    assert_eq!(take(&output), ["m:abc", "m:defghi"]);
    output.drained(5, 0, true, no_task);
    // Four bytes are as many as may be on their way.
    assert_waits(&output, &thread);
    output.drained(1, 0, true, no_task);
    thread.join().unwrap().unwrap();
    assert_eq!(take(&output), ["m:jk"]);
}

#[test]
fn an_application_may_override_buffering() {
    let output = Arc::new(new_output(buffered(4, 99)));
    output.set_buffering(false);
    assert!(push(&output, "abcdef"));
    output.drained(0, 0, true, no_task);
    let thread = spawn(&output, "gh", None);
    assert_waits(&output, &thread);
    output.close(no_task);
    assert_eq!(thread.join().unwrap().unwrap_err(), Closed);

    let output = new_output(Buffering { enabled: false, ..buffered(4, 99) });
    output.set_buffering(true);
    assert!(push(&output, "abcd"));
    output.drained(0, 0, true, no_task);
    send(&output, bytes("ef"), None).unwrap();
    assert_eq!(take(&output), ["m:abcd", "f:ef"]);
}

#[test]
fn an_end_comes_after_the_rest() {
    let output = Arc::new(new_output(buffered(4, 0)));
    assert!(push(&output, "abcd"));
    let thread = spawn(&output, "ef", Some(End::Failed));
    assert_waits(&output, &thread);
    assert_eq!(take_end(&output), None);
    output.drained(4, 0, false, no_task);
    thread.join().unwrap().unwrap();
    let mut batch = Batch::default();
    output.take(&mut batch);
    assert_eq!((batch.blocks.len(), batch.end), (1, Some(End::Failed)));

    // Nothing with an end needs no room.
    let output = new_output(buffered(4, 99));
    assert!(push(&output, "abcd"));
    output.drained(0, 0, true, no_task);
    send(&output, bytes("ef"), None).unwrap();
    assert!(output.try_push(None, Bytes::new(), Some(End::Complete), || ()).unwrap().is_none());
    assert_eq!(take_end(&output), Some(End::Complete));
}

#[test]
fn a_closed_pipe_takes_nothing_and_holds_nothing() {
    let output = Arc::new(new_output(buffered(8, 0)));
    let gone = Arc::new(AtomicUsize::new(0));
    send(&output, owned(8, &gone), None).unwrap();
    let thread = spawn(&output, "ef", Some(End::Complete));
    assert_waits(&output, &thread);
    output.close(no_task);
    assert_eq!(thread.join().unwrap().unwrap_err(), Closed);
    assert_eq!(gone.load(Ordering::SeqCst), 1);
    let never = || panic!("nobody is to be told");
    assert_eq!(output.try_push(Some(head()), bytes("x"), None, never).unwrap_err(), Closed);
    assert_eq!(
        output.try_push(None, Bytes::new(), Some(End::Complete), never).unwrap_err(),
        Closed
    );
    let mut batch = Batch::default();
    output.take(&mut batch);
    assert!(batch.head.is_none() && batch.blocks.is_empty() && batch.end.is_none());
}

#[test]
fn a_pipe_closed_between_push_and_wait_is_noticed() {
    for stalled in [false, true] {
        let output = new_output(buffered(4, 99));
        assert!(push(&output, "abcd"));
        output.drained(0, 0, stalled, no_task);
        let rest = output.try_push(None, bytes("ef"), None, || ()).unwrap().unwrap();
        output.close(no_task);
        assert_eq!(output.push_waiting(rest, || ()).unwrap_err(), Closed);
    }
}
