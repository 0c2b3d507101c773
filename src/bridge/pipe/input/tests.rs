use std::cell::Cell;
use std::thread;
use std::time::Duration;

use super::*;
use crate::bridge::fixture::until;
use crate::bridge::pipe::spill;

fn no_task() {
    panic!("no task of a loop waits");
}

fn never() {
    panic!("the event loop is not to be asked");
}

fn file_of(bytes: &[u8]) -> Arc<File> {
    let file = spill::open(&std::env::temp_dir()).unwrap();
    spill::write(&file, bytes, 0).unwrap();
    Arc::new(file)
}

fn memory(bytes: &'static [u8]) -> Segment {
    Segment::Memory(Bytes::from_static(bytes))
}

/// What a read gives, as bytes; empty at the end.
fn bytes(read: Result<Read, InputError>) -> Bytes {
    match read.unwrap() {
        Read::Data(bytes) => {
            assert!(!bytes.is_empty());
            bytes
        }
        Read::End => Bytes::new(),
        Read::Wait => panic!("nothing is here yet"),
    }
}

fn is_wait(read: Result<Read, InputError>) -> bool {
    matches!(read, Ok(Read::Wait))
}

#[test]
fn a_buffered_body_is_read_in_pieces_and_ends() {
    let input = Input::buffered([memory(b"abcdef"), memory(b"gh")].into());
    assert_eq!(bytes(input.try_read(4, never)), "abcd");
    assert_eq!(bytes(input.try_read(4, never)), "ef");
    assert_eq!(bytes(input.read_waiting(0, never, &Buffers::new())), "g");
    assert_eq!(bytes(input.try_read(0, never)), "h");
    for _ in 0..2 {
        assert_eq!(bytes(input.try_read(4, never)), "");
        assert_eq!(bytes(input.read_waiting(4, never, &Buffers::new())), "");
    }
}

#[test]
fn a_file_is_read_only_where_the_thread_may_wait() {
    let file = file_of(b"..cdefgh..");
    let segment = Segment::File { file, start: 2, end: 8 };
    let input = Input::buffered([memory(b"ab"), segment, memory(b"ij")].into());
    assert_eq!(bytes(input.try_read(9, never)), "ab");
    assert!(is_wait(input.try_read(9, never)));
    assert_eq!(bytes(input.read_waiting(4, never, &Buffers::new())), "cdef");
    assert!(is_wait(input.try_read(9, never)));
    assert_eq!(bytes(input.read_waiting(0, never, &Buffers::new())), "g");
    assert_eq!(bytes(input.read_waiting(9, never, &Buffers::new())), "h");
    assert_eq!(bytes(input.try_read(9, never)), "ij");
    assert_eq!(bytes(input.try_read(9, never)), "");
}

#[test]
fn a_large_file_is_read_block_by_block() {
    let body: Vec<u8> = (0..BLOCK as u32 * 2 + 5).map(|n| n as u8).collect();
    let segment = Segment::File { file: file_of(&body), start: 0, end: body.len() as u64 };
    let input = Input::buffered([segment].into());
    let mut sizes = Vec::new();
    let mut read = Vec::new();
    while read.len() < body.len() {
        let block = bytes(input.read_waiting(usize::MAX, never, &Buffers::new()));
        sizes.push(block.len());
        read.extend_from_slice(&block);
    }
    assert_eq!(sizes, [BLOCK, BLOCK, 5]);
    assert!(read == body);
}

#[test]
fn a_buffered_body_is_read_again_from_anywhere() {
    let segment = Segment::File { file: file_of(b"..cdefgh.."), start: 2, end: 8 };
    let input = Input::buffered([memory(b"ab"), segment, memory(b"ij")].into());
    let whole = b"abcdefghij";
    assert_eq!(input.length(), Some(10));
    let buffers = Buffers::new();
    for start in [10, 3, 0, 99, 2, 8, 5, u64::MAX, 9, 1, 7] {
        for max in [1, 3, 100] {
            input.seek(start);
            let mut read = Vec::new();
            loop {
                let part = match input.try_read(max, never).unwrap() {
                    Read::Wait => bytes(input.read_waiting(max, never, &buffers)),
                    part => bytes(Ok(part)),
                };
                if part.is_empty() {
                    break;
                }
                assert!(part.len() <= max);
                read.extend_from_slice(&part);
            }
            assert_eq!(read, whole.get(start as usize..).unwrap_or_default(), "{start} {max}");
        }
    }
}

#[test]
fn a_streamed_body_has_no_other_place() {
    let input = Input::streamed(false);
    assert_eq!(input.length(), None);
    input.push(Bytes::from_static(b"abc"), no_task);
    assert_eq!(bytes(input.try_read(1, never)), "a");
    input.seek(0);
    assert_eq!(bytes(input.try_read(9, never)), "bc");
}

#[test]
fn a_short_file_never_looks_like_an_end() {
    let segment = Segment::File { file: file_of(b"abc"), start: 0, end: 6 };
    let input = Input::buffered([segment, memory(b"tail")].into());
    for _ in 0..2 {
        assert_eq!(input.read_waiting(9, never, &Buffers::new()).unwrap_err(), InputError::File);
        assert_eq!(input.try_read(9, never).unwrap_err(), InputError::File);
    }
    // Nor does what the event loop says later, nor another place.
    input.end(no_task);
    input.seek(0);
    assert_eq!(input.try_read(9, never).unwrap_err(), InputError::File);
}

#[test]
fn a_streamed_body_is_bounded_and_asked_for() {
    let input = Input::streamed(false);
    let quarter = Bytes::from(vec![b'x'; LIMIT / 4]);
    for _ in 0..3 {
        assert!(input.push(quarter.clone(), no_task));
    }
    assert!(!input.push(quarter.clone(), no_task));
    assert!(!input.push(Bytes::new(), no_task), "an empty part does not start it again");

    let asked = Cell::new(0);
    let ask = || asked.set(asked.get() + 1);
    assert_eq!(bytes(input.try_read(LIMIT / 4, ask)).len(), LIMIT / 4);
    assert_eq!(bytes(input.try_read(LIMIT / 4 - 1, ask)).len(), LIMIT / 4 - 1);
    assert_eq!(asked.get(), 0);
    assert_eq!(bytes(input.try_read(1, ask)).len(), 1);
    assert_eq!(asked.get(), 1, "half of it is taken");
    assert_eq!(bytes(input.try_read(LIMIT, ask)).len(), LIMIT / 4);
    assert_eq!(asked.get(), 1, "once is enough");

    // What it has pushed since counts as well.
    assert!(input.push(quarter.clone(), no_task));
    assert!(input.push(quarter.clone(), no_task));
    assert!(!input.push(quarter, no_task));
}

#[test]
fn a_body_that_waits_to_be_asked_for_is_asked_for_once() {
    let input = Input::streamed(true);
    let asked = Cell::new(0);
    let ask = || asked.set(asked.get() + 1);
    assert!(is_wait(input.try_read(9, ask)));
    assert!(is_wait(input.try_read(9, ask)));
    assert_eq!(asked.get(), 1);
    assert!(input.push(Bytes::from_static(b"a"), no_task));
    input.end(no_task);
    assert_eq!(bytes(input.try_read(9, ask)), "a");
    assert_eq!(bytes(input.try_read(9, ask)), "");
    assert_eq!(asked.get(), 1);

    let input = Input::streamed(false);
    assert!(is_wait(input.try_read(9, never)));
}

#[test]
fn a_body_that_has_ended_is_not_asked_for() {
    let ends: [fn(&Input); 2] =
        [|input| input.end(no_task), |input| input.fail(InputError::TimedOut, no_task)];
    for end in ends {
        let input = Input::streamed(false);
        assert!(!input.push(Bytes::from(vec![b'x'; LIMIT]), no_task));
        end(&input);
        assert_eq!(bytes(input.try_read(LIMIT, never)).len(), LIMIT);
        let _end = input.try_read(1, never);
        let _end = input.read_waiting(1, never, &Buffers::new());
    }
}

#[test]
fn a_failure_comes_after_what_is_here_and_stays() {
    let input = Input::streamed(false);
    input.push(Bytes::from_static(b"ab"), no_task);
    input.fail(InputError::ClientGone, no_task);
    input.fail(InputError::Answered, no_task);
    input.end(no_task);
    assert_eq!(bytes(input.try_read(9, never)), "ab");
    for _ in 0..2 {
        assert_eq!(input.try_read(9, never).unwrap_err(), InputError::ClientGone);
        assert_eq!(
            input.read_waiting(9, never, &Buffers::new()).unwrap_err(),
            InputError::ClientGone
        );
    }

    let whole = Input::buffered([memory(b"ab")].into());
    whole.fail(InputError::ClientGone, no_task);
    assert_eq!(bytes(whole.try_read(9, never)), "ab");
    assert_eq!(bytes(whole.try_read(9, never)), "");
}

#[test]
fn an_empty_part_is_no_part() {
    let input = Input::streamed(false);
    assert!(input.push(Bytes::new(), no_task));
    assert!(is_wait(input.try_read(9, never)));
    input.push(Bytes::from_static(b"x"), no_task);
    assert_eq!(bytes(input.try_read(9, never)), "x");
}

#[test]
fn a_thread_waits_for_the_next_part() {
    let input = Arc::new(Input::streamed(false));
    let thread = {
        let input = Arc::clone(&input);
        thread::spawn(move || {
            let first = bytes(input.read_waiting(9, never, &Buffers::new()));
            (first, bytes(input.read_waiting(9, never, &Buffers::new())))
        })
    };
    let waits = || lock(&input.state).waiting;
    until(waits);
    input.push(Bytes::from_static(b"ab"), no_task);
    input.notify(no_task);
    until(|| lock(&input.state).segments.is_empty() && waits());
    thread::sleep(Duration::from_millis(10));
    assert!(!thread.is_finished());
    input.end(no_task);
    assert_eq!(thread.join().unwrap(), (Bytes::from_static(b"ab"), Bytes::new()));
}

#[test]
fn a_task_is_woken_once_for_what_has_come() {
    let input = Input::streamed(false);
    let woken = Cell::new(0);
    let wake = || woken.set(woken.get() + 1);
    assert!(is_wait(input.poll_read(9, never)));
    input.notify(wake);
    assert_eq!(woken.get(), 0, "nothing has come");
    assert!(input.push("ab".into(), wake));
    assert!(input.push("cd".into(), wake));
    assert_eq!(woken.get(), 0, "more may come at once");
    input.notify(wake);
    input.notify(wake);
    assert_eq!(woken.get(), 1);
    for part in ["ab", "cd"] {
        assert_eq!(bytes(input.poll_read(9, never)), part);
    }
    assert!(input.push("ef".into(), wake));
    input.notify(wake);
    assert_eq!(woken.get(), 1, "it does not wait");
    assert_eq!(bytes(input.poll_read(9, never)), "ef");
    assert!(is_wait(input.poll_read(9, never)));
    assert!(is_wait(input.poll_read(9, never)));
    input.end(wake);
    input.fail(InputError::ClientGone, wake);
    assert_eq!(woken.get(), 2);
    assert_eq!(bytes(input.poll_read(9, never)), "");
}

#[test]
fn a_task_is_woken_by_a_full_pipe_and_by_a_failure() {
    let input = Input::streamed(true);
    let (woken, asked) = (Cell::new(0), Cell::new(0));
    let wake = || woken.set(woken.get() + 1);
    let ask = || asked.set(asked.get() + 1);
    assert!(is_wait(input.poll_read(LIMIT, ask)));
    assert!(is_wait(input.poll_read(LIMIT, ask)));
    assert_eq!(asked.get(), 1);
    assert!(!input.push(vec![0; LIMIT].into(), wake));
    assert_eq!(woken.get(), 1);
    assert_eq!(bytes(input.poll_read(LIMIT, ask)).len(), LIMIT);
    assert_eq!(asked.get(), 2);
    assert!(is_wait(input.poll_read(LIMIT, ask)));
    input.fail(InputError::TimedOut, wake);
    assert_eq!(woken.get(), 2);
    assert_eq!(input.poll_read(LIMIT, ask).unwrap_err(), InputError::TimedOut);
    assert_eq!(asked.get(), 2);
}
