//! The pipe with a loop's task on its other side.

use super::*;

/// How often the task has been woken.
#[derive(Default)]
struct Woken(Cell<usize>);

impl Woken {
    fn wake(&self) -> impl FnOnce() + '_ {
        || self.0.set(self.0.get() + 1)
    }

    fn count(&self) -> usize {
        self.0.take()
    }
}

fn detached(write: &mut (dyn FnMut() + Send)) {
    write();
}

fn no_file(_: &mut (dyn FnMut() + Send)) {
    panic!("nothing goes to the file");
}

/// The task: pushes a block; what is left of it.
fn push(output: &Output, block: impl Into<Bytes>, end: Option<End>) -> Option<Rest> {
    let rest = output.try_push(None, block.into(), end, || ()).unwrap()?;
    again(output, rest)
}

/// The same with what is left.
fn again(output: &Output, rest: Rest) -> Option<Rest> {
    let polled = output.poll_push(rest, || (), no_file).unwrap();
    assert!(polled.failure.is_none());
    polled.rest
}

/// The event loop: what is here, and how long each part is; whether it is in the file.
fn take(output: &Output) -> Vec<(bool, usize)> {
    let mut batch = Batch::default();
    output.take(&mut batch);
    let blocks = batch.blocks.iter().map(|block| match block {
        Block::Memory(bytes) => (false, bytes.len()),
        Block::Tray(tray) => (false, tray.len()),
        Block::Spilled(part) | Block::File(part) => (true, part.len() as usize),
    });
    blocks.collect()
}

#[test]
fn a_task_is_woken_once_when_there_is_room() {
    for (buffering, least) in [(unbuffered(8), 1), (buffered(8, 0), 2)] {
        let (output, woken) = (new_output(buffering), Woken::default());
        assert!(push(&output, "abcdefgh", None).is_none());
        let rest = push(&output, "ijklmnop", None).unwrap();
        output.drained(0, 0, true, woken.wake());
        output.drained(least - 1, 0, false, woken.wake());
        assert_eq!(woken.count(), 0, "there is no room for it");
        output.drained(1, 0, false, woken.wake());
        output.drained(1, 0, false, woken.wake());
        assert_eq!(woken.count(), 1);
        // It has been woken, and did not wait again: nobody wakes it.
        output.drained(6 - least, 0, false, woken.wake());
        assert_eq!(woken.count(), 0);
        let left = again(&output, rest);
        output.drained(8, 0, false, woken.wake());
        assert_eq!(woken.count(), usize::from(left.is_some()));
        assert!(left.is_none_or(|rest| again(&output, rest).is_none()));
    }
}

#[test]
fn a_task_that_does_not_wait_is_not_woken() {
    let output = new_output(buffered(4, 9));
    assert!(push(&output, "abcd", None).is_none());
    output.hold_back(u64::MAX, no_task);
    output.drained(4, 0, false, no_task);
    output.files_closed(1, no_task);
    output.close(no_task);
}

#[test]
fn a_block_goes_piece_by_piece_as_there_is_room_and_the_end_comes_after_it() {
    let output = new_output(buffered(8, 0));
    let announced = AtomicUsize::new(0);
    let announce = || {
        announced.fetch_add(1, Ordering::SeqCst);
    };
    let woken = Woken::default();
    let block = Bytes::from(vec![b'x'; 100]);
    let mut rest = output.try_push(None, block, Some(End::Complete), announce).unwrap();
    let mut batch = Batch::default();
    let mut total = 0;
    while let Some(left) = rest {
        rest = output.poll_push(left, announce, no_file).unwrap().rest;
        assert_eq!(announced.swap(0, Ordering::SeqCst), 1, "the event loop has to know");
        assert!(lock(&output.state).memory <= 8);
        let known = batch.blocks.len();
        output.take(&mut batch);
        assert_eq!(batch.end.is_some(), rest.is_none());
        let more = batch.blocks[known..].iter().map(|block| match block {
            Block::Memory(bytes) => bytes.len(),
            other => panic!("{other:?}"),
        });
        let more = more.sum();
        total += more;
        output.drained(more, 0, false, woken.wake());
        assert_eq!(woken.count(), usize::from(rest.is_some()));
    }
    assert_eq!((total, batch.end), (100, Some(End::Complete)));
}

#[test]
fn a_block_larger_than_memory_does_not_live_on_in_its_pieces() {
    struct Owner(Arc<AtomicUsize>);
    impl AsRef<[u8]> for Owner {
        fn as_ref(&self) -> &[u8] {
            b"abcdefghijkl"
        }
    }
    impl Drop for Owner {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let gone = Arc::new(AtomicUsize::new(0));
    let output = new_output(buffered(8, 0));
    let rest = push(&output, Bytes::from_owner(Owner(Arc::clone(&gone))), None).unwrap();
    let mut batch = Batch::default();
    output.take(&mut batch);
    output.drained(8, 0, false, || ());
    assert_eq!(gone.load(Ordering::SeqCst), 0, "there is more of it");
    assert!(again(&output, rest).is_none());
    output.take(&mut batch);
    assert_eq!(batch.blocks.len(), 2);
    assert_eq!(gone.load(Ordering::SeqCst), 1, "the pieces are copies");
}

#[test]
fn what_a_stalled_client_does_not_take_goes_to_the_file() {
    for held_back in [false, true] {
        let (output, woken) = (new_output(buffered(4, 6)), Woken::default());
        assert!(push(&output, "abcd", None).is_none());
        let rest = push(&output, "efghijklmn", None).unwrap();
        if held_back {
            assert!(output.hold_back(u64::MAX, woken.wake()));
        } else {
            output.drained(0, 0, true, woken.wake());
        }
        assert_eq!(woken.count(), 1, "it may go to the file now");
        let polled = output.poll_push(rest, || (), detached).unwrap();
        assert!(polled.failure.is_none());
        assert_eq!(take(&output), [(false, 4), (true, 6)]);
        // The file is full.
        let rest = polled.rest.unwrap();
        output.drained(4, 0, true, woken.wake());
        output.drained(0, 5, false, woken.wake());
        assert_eq!(woken.count(), 0, "what is in the file comes first");
        output.drained(0, 1, false, woken.wake());
        assert_eq!(woken.count(), 1);
        assert!(again(&output, rest).is_none());
        assert_eq!(take(&output), [(false, 4)]);
    }
}

#[test]
fn a_task_is_woken_when_a_file_has_been_closed() {
    let (output, woken) = (new_output(buffered(4, 99)), Woken::default());
    assert!(push(&output, "abcd", None).is_none());
    output.drained(0, 0, true, no_task);
    for _ in 0..FILES {
        let rest = output.try_push(None, "efgh".into(), None, || ()).unwrap().unwrap();
        assert!(output.poll_push(rest, || (), detached).unwrap().rest.is_none());
        output.drained(0, 4, true, no_task);
    }
    let rest = push(&output, "ijkl", None).unwrap();
    output.drained(0, 0, true, woken.wake());
    assert_eq!(woken.count(), 0);
    output.files_closed(1, woken.wake());
    assert_eq!(woken.count(), 1);
    assert!(output.poll_push(rest, || (), detached).unwrap().rest.is_none());
}

#[test]
fn without_the_file_a_response_waits_for_its_client() {
    let directory = Path::new("/nonexistent/pywsgi").into();
    let output = new_output(Buffering { directory, ..buffered(4, 99) });
    let woken = Woken::default();
    assert!(push(&output, "abcd", None).is_none());
    output.drained(0, 0, true, no_task);
    let rest = output.try_push(None, "efgh".into(), None, || ()).unwrap().unwrap();
    let polled = output.poll_push(rest, || (), detached).unwrap();
    assert_eq!(polled.failure.unwrap().kind(), io::ErrorKind::NotFound);
    output.drained(4, 0, true, woken.wake());
    assert_eq!(woken.count(), 1);
    assert!(again(&output, polled.rest.unwrap()).is_none());
}

#[test]
fn a_task_is_woken_when_the_pipe_is_closed() {
    let (output, woken) = (new_output(unbuffered(4)), Woken::default());
    assert!(push(&output, "abcd", None).is_none());
    let rest = push(&output, "efgh", None).unwrap();
    assert!(!output.poll_closed());
    output.close(woken.wake());
    assert_eq!(woken.count(), 1, "once for both");
    assert_eq!(output.poll_push(rest, || (), no_file).unwrap_err(), Closed);
    assert!(output.poll_closed());
    output.close(no_task);
}

#[test]
fn a_task_that_waits_for_the_end_alone_is_woken_by_nothing_else() {
    let (output, woken) = (new_output(unbuffered(4)), Woken::default());
    assert!(!output.poll_closed());
    assert!(push(&output, "abcd", None).is_none());
    output.hold_back(u64::MAX, woken.wake());
    output.drained(4, 0, true, woken.wake());
    assert_eq!(woken.count(), 0);
    output.close(woken.wake());
    assert_eq!(woken.count(), 1);
}
