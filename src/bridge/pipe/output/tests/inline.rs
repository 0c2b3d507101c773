//! The event loop as the sender: what has no room comes back, or goes to the file.

use super::*;

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
