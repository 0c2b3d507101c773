//! Blocks that go to the temporary file, and files of the application's.

use super::*;

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
