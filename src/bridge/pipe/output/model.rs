use std::os::unix::fs::FileExt;

use loom::thread;

use super::parts::Block;
use super::*;
use crate::bridge::fixture::{buffered, check, unbuffered};

fn no_task() {
    panic!("no task of a loop waits");
}

/// Where large blocks find no loan.
fn new_output(buffering: Buffering) -> Output {
    Output::new(buffering, Loans::used_up())
}

/// What the event loop hears of the announcements.
#[derive(Default)]
struct Ear {
    told: Mutex<bool>,
    heard: Condvar,
}

impl Ear {
    fn announce(&self) {
        let mut told = lock(&self.told);
        assert!(!*told, "one announcement per batch");
        *told = true;
        self.heard.notify_one();
    }

    fn wait(&self) {
        let mut told = lock(&self.told);
        while !*told {
            told = wait(&self.heard, told);
        }
        *told = false;
    }
}

/// The thread: sends `blocks` and ends.
fn send(output: &Output, ear: &Ear, blocks: &[&'static str]) -> Result<(), Closed> {
    for (at, block) in blocks.iter().enumerate() {
        let end = (at + 1 == blocks.len()).then_some(End::Complete);
        let block = Bytes::from_static(block.as_bytes());
        if let Some(rest) = output.try_push(None, block, end, || ear.announce())? {
            assert!(output.push_waiting(rest, || ear.announce())?.is_none());
        }
    }
    Ok(())
}

/// The event loop: takes all until the end, and checks after each batch that memory is bounded. The
/// client stalls with each batch but takes it before the next.
fn receive(output: &Output, ear: &Ear, limit: usize, stalls: bool, wake: impl Fn()) -> String {
    let (mut text, mut end) = (Vec::new(), None);
    while end.is_none() {
        ear.wait();
        assert!(lock(&output.state).memory <= limit);
        let mut batch = Batch::default();
        output.take(&mut batch);
        end = batch.end;
        if stalls && end.is_none() {
            output.drained(0, 0, true, &wake);
        }
        let (mut memory, mut file) = (0, 0);
        for block in batch.blocks {
            match block {
                Block::Memory(bytes) => {
                    memory += bytes.len();
                    text.extend_from_slice(&bytes);
                }
                Block::Tray(_) | Block::File(_) => panic!("the application has neither"),
                Block::Spilled(part) => {
                    file += part.len();
                    let at = text.len();
                    text.resize(at + part.len() as usize, 0);
                    part.file.read_exact_at(&mut text[at..], part.start).unwrap();
                }
            }
        }
        output.drained(memory, file, false, &wake);
    }
    String::from_utf8(text).unwrap()
}

fn runs(
    preemptions: usize,
    buffering: Buffering,
    stalls: bool,
    limit: usize,
    blocks: &'static [&'static str],
) {
    check(preemptions, move || {
        let output = Arc::new(new_output(buffering.clone()));
        let ear = Arc::new(Ear::default());
        let thread = {
            let (output, ear) = (Arc::clone(&output), Arc::clone(&ear));
            thread::spawn(move || send(&output, &ear, blocks))
        };
        assert_eq!(receive(&output, &ear, limit, stalls, no_task), blocks.concat());
        assert_eq!(thread.join().unwrap(), Ok(()));
    });
}

#[test]
fn without_buffering_every_block_arrives() {
    runs(3, unbuffered(2), false, 2, &["ab", "cd", "ef"]);
}

#[test]
fn with_buffering_every_block_arrives() {
    runs(3, buffered(2, 0), false, 2, &["ab", "cd", "ef"]);
}

#[test]
fn a_large_block_arrives_in_pieces() {
    runs(3, buffered(2, 0), false, 2, &["abcdef"]);
}

#[test]
fn by_way_of_the_file_every_block_arrives_in_order() {
    runs(2, buffered(2, 3), true, 2, &["ab", "cd", "efgh", "i"]);
}

/// The event loop holds back what it is told of. The client takes something after the first time, if
/// `takes`, and then nothing more.
fn holds_back(buffering: Buffering, takes: bool) {
    const BLOCKS: [&str; 3] = ["ab", "cd", "ef"];
    check(2, move || {
        let output = Arc::new(new_output(buffering.clone()));
        let ear = Arc::new(Ear::default());
        let thread = {
            let (output, ear) = (Arc::clone(&output), Arc::clone(&ear));
            thread::spawn(move || send(&output, &ear, &BLOCKS))
        };
        let mut batch = Batch::default();
        let mut takes = takes;
        while batch.end.is_none() {
            ear.wait();
            let held = output.hold_back(u64::MAX, no_task);
            if !held || std::mem::take(&mut takes) {
                output.take(&mut batch);
            }
        }
        assert_eq!(thread.join().unwrap(), Ok(()));
        let lens = batch.blocks.iter().map(|block| match block {
            Block::Memory(bytes) => bytes.len() as u64,
            Block::Tray(tray) => tray.len() as u64,
            Block::Spilled(part) | Block::File(part) => part.len(),
        });
        assert_eq!(lens.sum::<u64>(), 6);
    });
}

#[test]
fn an_end_is_announced_though_the_rest_is_held_back() {
    holds_back(buffered(9, 0), false);
    holds_back(buffered(9, 0), true);
}

#[test]
fn a_thread_whose_blocks_are_held_back_does_not_wait() {
    holds_back(buffered(2, 9), false);
    holds_back(buffered(2, 9), true);
}

#[test]
fn closing_wakes_a_thread_that_waits() {
    check(3, || {
        let output = Arc::new(new_output(unbuffered(2)));
        let ear = Arc::new(Ear::default());
        let thread = {
            let (output, ear) = (Arc::clone(&output), Arc::clone(&ear));
            thread::spawn(move || send(&output, &ear, &["ab", "cd", "ef"]))
        };
        output.close(no_task);
        assert_eq!(thread.join().unwrap(), Err(Closed));
    });
}

/// A stalled client's news comes while the thread is about to wait.
#[test]
fn a_thread_learns_that_the_client_stalls() {
    check(2, || {
        let output = Arc::new(new_output(buffered(2, 9)));
        let ear = Arc::new(Ear::default());
        let thread = {
            let (output, ear) = (Arc::clone(&output), Arc::clone(&ear));
            thread::spawn(move || send(&output, &ear, &["ab", "cd"]))
        };
        output.drained(0, 0, true, no_task);
        assert_eq!(thread.join().unwrap(), Ok(()));
    });
}

/// The loop: sends `blocks` and ends, and sleeps until it is woken whenever something has no room.
fn poll_send(
    output: &Output,
    ear: &Ear,
    woken: &Ear,
    blocks: &[&'static str],
) -> Result<(), Closed> {
    for (at, block) in blocks.iter().enumerate() {
        let end = (at + 1 == blocks.len()).then_some(End::Complete);
        let block = Bytes::from_static(block.as_bytes());
        let mut rest = output.try_push(None, block, end, || ear.announce())?;
        while let Some(left) = rest {
            let polled = output.poll_push(left, || ear.announce(), |write| write())?;
            assert!(polled.failure.is_none());
            rest = polled.rest;
            if rest.is_some() {
                woken.wait();
            }
        }
    }
    Ok(())
}

/// The event loop: as [`receive`] does.
fn polls(
    preemptions: usize,
    buffering: Buffering,
    stalls: bool,
    limit: usize,
    blocks: &'static [&'static str],
) {
    check(preemptions, move || {
        let output = Arc::new(new_output(buffering.clone()));
        let (ear, woken) = (Arc::new(Ear::default()), Arc::new(Ear::default()));
        let thread = {
            let (output, ear, woken) = (Arc::clone(&output), Arc::clone(&ear), Arc::clone(&woken));
            thread::spawn(move || poll_send(&output, &ear, &woken, blocks))
        };
        let wake = || woken.announce();
        assert_eq!(receive(&output, &ear, limit, stalls, wake), blocks.concat());
        assert_eq!(thread.join().unwrap(), Ok(()));
    });
}

#[test]
fn every_block_of_a_task_arrives() {
    polls(3, unbuffered(2), false, 2, &["ab", "cd", "ef"]);
    polls(3, buffered(2, 0), false, 2, &["ab", "cdef"]);
}

#[test]
fn by_way_of_the_file_every_block_of_a_task_arrives_in_order() {
    polls(2, buffered(2, 3), true, 2, &["ab", "cdef", "g"]);
}

#[test]
fn closing_wakes_a_task_that_waits() {
    check(3, || {
        let output = Arc::new(new_output(unbuffered(2)));
        let (ear, woken) = (Arc::new(Ear::default()), Arc::new(Ear::default()));
        let thread = {
            let (output, ear, woken) = (Arc::clone(&output), Arc::clone(&ear), Arc::clone(&woken));
            thread::spawn(move || {
                let sent = poll_send(&output, &ear, &woken, &["ab", "cd"]);
                while !output.poll_closed() {
                    woken.wait();
                }
                sent
            })
        };
        output.close(|| woken.announce());
        assert_eq!(thread.join().unwrap(), Err(Closed));
    });
}

#[test]
fn a_task_that_waits_for_the_end_alone_sees_it() {
    check(3, || {
        let output = Arc::new(new_output(unbuffered(2)));
        let woken = Arc::new(Ear::default());
        let thread = {
            let (output, woken) = (Arc::clone(&output), Arc::clone(&woken));
            thread::spawn(move || {
                if !output.poll_closed() {
                    woken.wait();
                    assert!(output.poll_closed());
                }
            })
        };
        output.close(|| woken.announce());
        thread.join().unwrap();
    });
}
