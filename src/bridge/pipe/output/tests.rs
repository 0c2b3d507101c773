//! The pipe of a response, by subject. Here is what its tests share.

mod batches;
mod file;
mod gathered;
mod inline;
mod room;
mod task;

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
        Block::Tray(tray) => tray.copy(),
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
            Block::Memory(_) | Block::Tray(_) => format!("m:{}", text_of(block)),
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
