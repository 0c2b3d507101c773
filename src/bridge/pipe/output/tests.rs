use std::cell::Cell;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::hints::MAX_HINTS;
use super::parts::{Block, SHARED_FROM};
use super::queue::JOINED;
use super::state::{FILES, PIECE};
use super::*;
use crate::bridge::fixture::{buffered, unbuffered, until};

fn no_task() {
    panic!("no task of a loop waits");
}

/// Where large blocks find no loan.
fn new_output(buffering: Buffering) -> Output {
    Output::new(buffering, Loans::used_up())
}

type Pushed = Result<Option<io::Error>, Closed>;

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn head() -> ResponseHead {
    ResponseHead::new(200, b"OK")
}

/// The thread: without waiting; says whether all went in.
fn push(output: &Output, text: &str) -> bool {
    output.try_push(None, bytes(text), None, || ()).unwrap().is_none()
}

/// The thread: by whatever way.
fn send(output: &Output, block: Bytes, end: Option<End>) -> Pushed {
    match output.try_push(None, block, end, || ())? {
        Some(rest) => output.push_waiting(rest, || ()),
        None => Ok(None),
    }
}

fn spawn(output: &Arc<Output>, text: &str, end: Option<End>) -> JoinHandle<Pushed> {
    let (output, block) = (Arc::clone(output), bytes(text));
    thread::spawn(move || send(&output, block, end))
}

fn waits(output: &Output) -> bool {
    lock(&output.state).waiting
}

/// That the thread waits, and goes on waiting.
fn assert_waits<T>(output: &Output, thread: &JoinHandle<T>) {
    until(|| waits(output));
    thread::sleep(Duration::from_millis(10));
    assert!(waits(output) && !thread.is_finished());
}

fn text_of(block: &Block) -> String {
    let bytes = match block {
        Block::Memory(bytes) => bytes.to_vec(),
        Block::Spilled(part) | Block::File(part) => {
            let mut bytes = vec![0; part.len() as usize];
            part.file.read_exact_at(&mut bytes, part.start).unwrap();
            bytes
        }
    };
    String::from_utf8(bytes).unwrap()
}

/// The event loop: what is here, each block as `m:` or `f:` and its text.
fn take(output: &Output) -> Vec<String> {
    let mut batch = Batch::default();
    output.take(&mut batch);
    batch
        .blocks
        .iter()
        .map(|block| match block {
            Block::Memory(_) => format!("m:{}", text_of(block)),
            Block::Spilled(_) => format!("f:{}", text_of(block)),
            Block::File(_) => format!("a:{}", text_of(block)),
        })
        .collect()
}

fn take_end(output: &Output) -> Option<End> {
    let mut batch = Batch::default();
    output.take(&mut batch);
    batch.end
}

/// Bytes whose owner counts in `gone` when it is dropped.
fn owned(len: usize, gone: &Arc<AtomicUsize>) -> Bytes {
    struct Owner(Vec<u8>, Arc<AtomicUsize>);
    impl AsRef<[u8]> for Owner {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }
    impl Drop for Owner {
        fn drop(&mut self) {
            self.1.fetch_add(1, Ordering::SeqCst);
        }
    }
    Bytes::from_owner(Owner(vec![b'o'; len], Arc::clone(gone)))
}

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
fn an_end_stays_whatever_comes_after_it() {
    let output = new_output(buffered(9, 0));
    output.try_push(None, bytes("a"), Some(End::Complete), || ()).unwrap();
    assert!(push(&output, "late"));
    assert_eq!(take_end(&output), Some(End::Complete));
    assert_eq!(take_end(&output), None);
}

#[test]
fn order_holds_through_memory_and_file_and_back() {
    let output = new_output(buffered(8, 99));
    assert!(push(&output, "abcdefgh"));
    assert_eq!(take(&output), ["m:abcdefgh"]);
    output.drained(2, 0, true, no_task);
    // Two bytes of memory are free.
    assert!(push(&output, "i"));
    send(&output, bytes("jklm"), None).unwrap();
    // The file holds something: now even what would have room goes there.
    output.drained(6, 0, true, no_task);
    send(&output, bytes("n"), None).unwrap();
    assert_eq!(take(&output), ["m:i", "f:jklmn"]);
    output.drained(1, 4, true, no_task);
    send(&output, bytes("o"), None).unwrap();
    assert_eq!(take(&output), ["f:o"]);
    output.drained(0, 2, false, no_task);
    assert!(push(&output, "p"));
    send(&output, bytes("qr"), Some(End::Complete)).unwrap();
    assert_eq!(take(&output), ["m:p", "m:qr"]);
}

/// The thread: what has no room is gathered, if it may be.
fn try_gather(output: &Output, text: &str, end: Option<End>) -> bool {
    let rest = output.try_push(None, bytes(text), end, || ()).unwrap().unwrap();
    match output.try_gather(rest, || ()).unwrap() {
        None => true,
        Some(rest) => {
            output.push_waiting(rest, || ()).unwrap();
            false
        }
    }
}

#[test]
fn small_blocks_are_gathered_and_go_to_the_file_together() {
    let output = new_output(buffered(4, 1 << 20));
    assert!(push(&output, "abcd"));
    assert_eq!(take(&output), ["m:abcd"]);
    // The event loop may come round at once: it is waited for.
    let rest = output.try_push(None, bytes("ef"), None, || ()).unwrap().unwrap();
    let rest = output.try_gather(rest, || ()).unwrap();
    assert!(rest.is_some());
    output.drained(0, 0, true, no_task);
    let block = "x".repeat(1000);
    let gathered = (0..).take_while(|_| try_gather(&output, &block, None)).count();
    assert_eq!(gathered, (JOINED - 1) / block.len());
    // The one that was too many has taken them along, in one piece.
    let taken = take(&output);
    assert_eq!(taken, [format!("f:{}", "x".repeat((gathered + 1) * block.len()))]);
    assert_eq!(lock(&output.state).memory, 4);
    // Those that are gathered behind a part of the file are taken as they are, without an announcement missing.
    let told = Cell::new(0);
    let rest = output.try_push(None, bytes("yz"), Some(End::Complete), || ()).unwrap().unwrap();
    assert!(output.try_gather(rest, || told.set(told.get() + 1)).unwrap().is_none());
    assert_eq!(told.get(), 1);
    let mut batch = Batch::default();
    output.take(&mut batch);
    assert_eq!(batch.blocks.iter().map(text_of).collect::<Vec<_>>(), ["yz"]);
    assert_eq!(batch.end, Some(End::Complete));
    assert_eq!(lock(&output.state).memory, 6);
}

#[test]
fn what_is_gathered_is_bounded_by_memory_and_by_the_file() {
    // However often the event loop takes them.
    let output = new_output(buffered(4, 1 << 20));
    assert!(push(&output, "abcd"));
    output.drained(0, 0, true, no_task);
    let block = "x".repeat(1000);
    let gathered = (0..100).filter(|_| {
        take(&output);
        try_gather(&output, &block, None)
    });
    assert_eq!(gathered.count(), JOINED / block.len());
    assert!(lock(&output.state).memory <= 4 + JOINED);

    // As much as the file has room for.
    let output = new_output(buffered(4, 3));
    assert!(push(&output, "abcd"));
    output.drained(0, 0, true, no_task);
    assert!(try_gather(&output, "ef", None));
    let rest = output.try_push(None, bytes("gh"), None, || ()).unwrap().unwrap();
    let rest = output.try_gather(rest, || ()).unwrap().unwrap();
    let output = Arc::new(output);
    let thread = {
        let output = Arc::clone(&output);
        thread::spawn(move || output.push_waiting(rest, || ()))
    };
    assert_waits(&output, &thread);
    assert_eq!(take(&output), ["m:abcd", "f:efg"]);
    output.drained(4, 3, false, no_task);
    thread.join().unwrap().unwrap();
    assert_eq!(take(&output), ["m:h"]);
}

#[test]
fn what_is_gathered_is_sent_if_there_is_no_file() {
    let directory = Path::new("/nonexistent/pywsgi").into();
    let output = Arc::new(new_output(Buffering { directory, ..buffered(4, 1 << 20) }));
    assert!(push(&output, "abcd"));
    output.drained(0, 0, true, no_task);
    assert!(try_gather(&output, "ef", None));
    let block = "x".repeat(JOINED);
    let thread = spawn(&output, &block, Some(End::Complete));
    assert_waits(&output, &thread);
    assert_eq!(take(&output), ["m:abcd", "m:ef"]);
    output.drained(6, 0, false, no_task);
    let sent = (0..).map(|_| {
        until(|| waits(&output) || thread.is_finished());
        let taken = take(&output).concat().matches('x').count();
        output.drained(taken, 0, false, no_task);
        taken
    });
    let mut total = 0;
    for taken in sent {
        total += taken;
        if total == JOINED {
            break;
        }
    }
    assert_eq!(thread.join().unwrap().unwrap().unwrap().kind(), io::ErrorKind::NotFound);
}

#[test]
fn so_many_temporary_files_are_open_and_the_thread_waits_for_one_to_close() {
    let output = Arc::new(new_output(buffered(4, 99)));
    assert!(push(&output, "abcd"));
    assert!(output.drained(0, 0, true, no_task));
    for _ in 0..FILES {
        send(&output, bytes("efgh"), None).unwrap();
        assert!(!output.drained(0, 0, true, no_task), "the file is in use");
        assert!(output.drained(0, 4, true, no_task));
    }
    assert_eq!(take(&output).len(), 1 + FILES);
    let thread = {
        let output = Arc::clone(&output);
        thread::spawn(move || send(&output, bytes("ijkl"), None))
    };
    until(|| lock(&output.state).waiting);
    output.files_closed(1, no_task);
    thread.join().unwrap().unwrap();
    assert_eq!(take(&output), ["f:ijkl"]);
}

#[test]
fn a_place_in_a_file_is_written_once() {
    let output = new_output(buffered(4, 99));
    let mut files = Vec::new();
    assert!(push(&output, "abcd"));
    output.drained(0, 0, true, no_task);
    for texts in [["ef", "gh"], ["ij", "kl"]] {
        for text in texts {
            send(&output, bytes(text), None).unwrap();
        }
        let mut batch = Batch::default();
        output.take(&mut batch);
        for block in batch.blocks {
            if let Block::Spilled(part) = block {
                files.push(part);
            }
        }
        // The client has all of the file: what comes next begins a new one.
        output.drained(0, 4, true, no_task);
    }
    let places: Vec<_> = files.iter().map(|part| (part.start, part.end)).collect();
    assert_eq!(places, [(0, 4), (0, 4)]);
    assert!(!Arc::ptr_eq(&files[0].file, &files[1].file));
    assert_eq!(files[0].file.metadata().unwrap().len(), 4);
}

#[test]
fn a_file_of_the_application_s_waits_for_nothing() {
    let output = new_output(buffered(4, 99));
    let file = Arc::new(spill::open(&std::env::temp_dir()).unwrap());
    spill::write(&file, b"0123456789", 0).unwrap();
    assert!(push(&output, "abcd"));
    let announced = Cell::new(0);
    let announce = || announced.set(announced.get() + 1);
    let part = FilePart { file, start: 2, end: 9 };
    output.push_file(Some(head()), part.clone(), Some(End::Complete), announce).unwrap();
    assert_eq!(announced.get(), 0, "the block before it has announced it");
    let mut batch = Batch::default();
    output.take(&mut batch);
    let texts: Vec<_> = batch.blocks.iter().map(text_of).collect();
    assert_eq!((texts, batch.end), (vec!["abcd".into(), "2345678".into()], Some(End::Complete)));
    assert!(batch.head.is_some());
    output.push_file(None, part.clone(), None, announce).unwrap();
    assert_eq!(announced.get(), 1);
    output.close(no_task);
    assert_eq!(output.push_file(None, part, None, announce), Err(Closed));
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
fn beyond_the_limit_of_the_file_the_thread_waits() {
    let output = Arc::new(new_output(buffered(4, 6)));
    assert!(push(&output, "abcd"));
    output.drained(0, 0, true, no_task);
    let thread = spawn(&output, "efghijklmn", Some(End::Complete));
    assert_waits(&output, &thread);
    assert_eq!(take(&output), ["m:abcd", "f:efghij"]);
    // A part of the file is room for nothing: no place is written twice.
    output.drained(0, 5, true, no_task);
    assert_waits(&output, &thread);
    assert_eq!(lock(&output.state).file_end, 6);
    output.drained(0, 1, true, no_task);
    thread.join().unwrap().unwrap();
    let mut batch = Batch::default();
    output.take(&mut batch);
    assert_eq!(batch.blocks.iter().map(text_of).collect::<String>(), "klmn");
    assert_eq!(batch.end, Some(End::Complete));
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
fn what_goes_to_the_file_is_in_pieces() {
    let output = new_output(buffered(4, u64::MAX));
    assert!(push(&output, "abcd"));
    take(&output);
    output.drained(0, 0, true, no_task);
    let gone = Arc::new(AtomicUsize::new(0));
    let pieces = Cell::new(0);
    let block = owned(2 * PIECE + 3, &gone);
    let rest = output.try_push(None, block, None, || ()).unwrap().unwrap();
    let sizes = |output: &Output| lock(&output.state).queue.bytes();
    let announce = || {
        pieces.set(pieces.get() + 1);
        assert_eq!(sizes(&output), PIECE as u64, "a piece at a time");
    };
    output.push_waiting(rest, announce).unwrap();
    assert_eq!(gone.load(Ordering::SeqCst), 1);
    assert_eq!(pieces.get(), 1, "the first announces all");
    let sizes: Vec<_> = take(&output).iter().map(|text| text.len() - 2).collect();
    assert_eq!(sizes, [2 * PIECE + 3]);
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

#[test]
fn without_the_file_a_response_goes_on() {
    let directory = Path::new("/nonexistent/pywsgi").into();
    let output = Arc::new(new_output(Buffering { directory, ..buffered(4, 99) }));
    assert!(push(&output, "abcd"));
    output.drained(0, 0, true, no_task);
    let thread = spawn(&output, "ef", Some(End::Complete));
    assert_waits(&output, &thread);
    assert_eq!(take(&output), ["m:abcd"]);
    output.drained(4, 0, true, no_task);
    let error = thread.join().unwrap().unwrap().unwrap();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    assert_eq!(take(&output), ["m:ef"]);
    // It is not tried again.
    assert!(push(&output, "gh"));
    let thread = spawn(&output, "ij", None);
    assert_waits(&output, &thread);
    output.drained(4, 0, true, no_task);
    assert!(thread.join().unwrap().unwrap().is_none());
}

/// The event loop, inline: what has no room comes back.
fn try_push_rest(output: &Output, text: &str, end: Option<End>) -> Option<Rest> {
    let rest = output.try_push(None, bytes(text), end, || ()).unwrap()?;
    output.try_push_rest(rest).unwrap()
}

#[test]
fn inline_the_rest_comes_back_until_there_is_room() {
    let output = new_output(buffered(8, 99));
    assert!(try_push_rest(&output, "abc", None).is_none());
    let rest = try_push_rest(&output, "defghijklmnopqrst", Some(End::Complete)).unwrap();
    // No more than what there is room for, whatever there is of a file.
    let rest = output.try_push_rest(rest).unwrap().unwrap();
    let mut batch = Batch::default();
    output.take(&mut batch);
    assert_eq!(batch.blocks.iter().map(text_of).collect::<Vec<_>>(), ["abc", "defgh"]);
    assert!(batch.end.is_none());
    let rest = output.try_push_rest(rest).unwrap().unwrap();
    assert!(take(&output).is_empty(), "taken is not yet sent");
    output.drained(8, 0, true, no_task);
    let rest = output.try_push_rest(rest).unwrap().unwrap();
    assert_eq!(take(&output), ["m:ijklmnop"]);
    output.drained(8, 0, false, no_task);
    assert!(output.try_push_rest(rest).unwrap().is_none());
    let mut batch = Batch::default();
    output.take(&mut batch);
    assert_eq!(batch.blocks.iter().map(text_of).collect::<Vec<_>>(), ["qrst"]);
    assert_eq!(batch.end, Some(End::Complete));
}

#[test]
fn inline_a_pipe_without_buffering_takes_one_block_at_a_time() {
    let output = new_output(unbuffered(4));
    assert!(try_push_rest(&output, "abcdef", None).is_none());
    let rest = try_push_rest(&output, "gh", None).unwrap();
    assert_eq!(take(&output), ["m:abcdef"]);
    output.drained(6, 0, false, no_task);
    assert!(output.try_push_rest(rest).unwrap().is_none());
    assert_eq!(take(&output), ["m:gh"]);
}

#[test]
fn inline_a_rest_is_not_copied() {
    let gone = Arc::new(AtomicUsize::new(0));
    let output = new_output(buffered(8, 0));
    let rest = output.try_push(None, owned(20, &gone), None, || ()).unwrap().unwrap();
    let rest = output.try_push_rest(rest).unwrap().unwrap();
    drop(take(&output));
    output.drained(8, 0, false, no_task);
    assert_eq!(gone.load(Ordering::SeqCst), 0, "the rest is of the same block");
    drop(rest);
    assert_eq!(gone.load(Ordering::SeqCst), 1);
}

#[test]
fn inline_a_closed_pipe_takes_no_rest() {
    let output = new_output(buffered(4, 99));
    let rest = try_push_rest(&output, "abcdefgh", None).unwrap();
    assert!(!output.close(no_task));
    assert_eq!(output.try_push_rest(rest).unwrap_err(), Closed);
}

/// The event loop, inline, for `write()`.
fn write(output: &Output, text: &str, end: Option<End>) -> Result<(), Overflow> {
    match try_push_rest(output, text, end) {
        Some(rest) => output.push_spilling(rest),
        None => Ok(()),
    }
}

#[test]
fn inline_what_is_written_goes_into_the_file() {
    let output = new_output(buffered(4, 99));
    write(&output, "ab", None).unwrap();
    write(&output, "cdefgh", None).unwrap();
    write(&output, "ij", Some(End::Complete)).unwrap();
    let mut batch = Batch::default();
    output.take(&mut batch);
    assert_eq!(batch.blocks.iter().map(text_of).collect::<String>(), "abcdefghij");
    assert!(matches!(batch.blocks[0], Block::Memory(_)));
    assert!(matches!(batch.blocks.last(), Some(Block::Spilled(_))));
    assert_eq!(batch.end, Some(End::Complete));
}

#[test]
fn inline_what_is_written_beyond_all_room_is_refused() {
    for buffering in [buffered(4, 3), buffered(4, 0), unbuffered(4)] {
        let output = new_output(buffering);
        write(&output, "abcd", None).unwrap();
        assert!(matches!(write(&output, "efghijkl", Some(End::Complete)), Err(Overflow::NoRoom)));
        assert_eq!(take_end(&output), None, "its end is lost with it");
    }
}

#[test]
fn inline_what_is_written_to_a_closed_pipe_is_refused() {
    let output = new_output(buffered(4, 99));
    let rest = try_push_rest(&output, "abcdefgh", None).unwrap();
    output.close(no_task);
    assert!(matches!(output.push_spilling(rest), Err(Overflow::Closed)));
}

#[test]
fn inline_a_file_that_cannot_be_made_is_an_error_of_what_is_written() {
    let directory = Path::new("/nowhere/at/all").into();
    let output = new_output(Buffering { directory, ..buffered(4, 99) });
    write(&output, "abcd", None).unwrap();
    assert!(matches!(write(&output, "efgh", None), Err(Overflow::File(_))));
    assert_eq!(take(&output), ["m:abcd"]);
}

#[test]
fn inline_there_is_room_where_something_of_a_rest_is_taken() {
    for buffering in [buffered(8, 99), unbuffered(8)] {
        let output = new_output(buffering);
        assert!(output.has_room());
        write(&output, "abcdef", None).unwrap();
        assert!(output.has_room());
        let rest = try_push_rest(&output, "ghijklmn", None);
        assert!(!output.has_room());
        drop(take(&output));
        output.drained(14, 0, false, no_task);
        assert!(output.has_room());
        assert!(rest.is_none_or(|rest| output.try_push_rest(rest).unwrap().is_none()));
    }
    let output = new_output(buffered(8, 99));
    write(&output, "abcdefghijkl", None).unwrap();
    assert!(!output.has_room(), "a part is in the file");
    output.close(no_task);
    assert!(output.has_room(), "it is told so");
}
