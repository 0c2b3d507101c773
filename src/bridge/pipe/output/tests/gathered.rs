//! Small blocks that go to the temporary file together.

use super::*;

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
