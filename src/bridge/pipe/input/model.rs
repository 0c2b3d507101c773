use loom::thread;

use super::*;
use crate::bridge::fixture::check;

fn no_task() {
    panic!("no task of a loop waits");
}

/// The event loop's ear: it sleeps until it is asked.
#[derive(Default)]
struct Ear {
    asked: Mutex<bool>,
    heard: Condvar,
}

impl Ear {
    fn ask(&self) {
        let mut asked = lock(&self.asked);
        assert!(!*asked, "one question at a time");
        *asked = true;
        self.heard.notify_one();
    }

    fn wait(&self) {
        let mut asked = lock(&self.asked);
        while !*asked {
            asked = wait(&self.heard, asked);
        }
        *asked = false;
    }
}

/// The thread: reads all there is, first without waiting.
fn read_all(input: &Input, ear: &Ear) -> Result<usize, InputError> {
    let mut total = 0;
    loop {
        let read = match input.try_read(LIMIT, || ear.ask())? {
            Read::Wait => input.read_waiting(LIMIT, || ear.ask(), &Buffers::new())?,
            read => read,
        };
        match read {
            Read::Data(bytes) => total += bytes.len(),
            Read::End => return Ok(total),
            Read::Wait => panic!("read_waiting never says that"),
        }
    }
}

/// The event loop reads on when it is asked, and stops when the pipe is full.
#[test]
fn a_body_that_is_asked_for_comes_whole() {
    check(3, || {
        let (input, ear) = (Arc::new(Input::streamed(true)), Arc::new(Ear::default()));
        let thread = {
            let (input, ear) = (Arc::clone(&input), Arc::clone(&ear));
            thread::spawn(move || read_all(&input, &ear))
        };
        let full = Bytes::from_static(&[0; LIMIT]);
        for _ in 0..2 {
            ear.wait();
            assert!(!input.push(full.clone(), no_task));
        }
        ear.wait();
        assert!(input.push(Bytes::from_static(b"x"), no_task));
        input.end(no_task);
        assert_eq!(thread.join().unwrap(), Ok(2 * LIMIT + 1));
    });
}

/// The event loop is not asked: it pushes by itself.
#[test]
fn a_thread_that_waits_sees_each_part_and_the_end() {
    check(3, || {
        let (input, ear) = (Arc::new(Input::streamed(false)), Arc::new(Ear::default()));
        let thread = {
            let (input, ear) = (Arc::clone(&input), Arc::clone(&ear));
            thread::spawn(move || read_all(&input, &ear))
        };
        input.push(Bytes::from_static(b"ab"), no_task);
        input.notify(no_task);
        input.push(Bytes::from_static(b"cd"), no_task);
        input.end(no_task);
        assert_eq!(thread.join().unwrap(), Ok(4));
    });
}

#[test]
fn a_thread_that_waits_sees_the_failure() {
    check(3, || {
        let (input, ear) = (Arc::new(Input::streamed(true)), Arc::new(Ear::default()));
        let thread = {
            let (input, ear) = (Arc::clone(&input), Arc::clone(&ear));
            thread::spawn(move || read_all(&input, &ear))
        };
        input.fail(InputError::ClientGone, no_task);
        assert_eq!(thread.join().unwrap(), Err(InputError::ClientGone));
    });
}

#[test]
fn what_comes_between_the_question_and_the_wait_is_seen() {
    check(3, || {
        let (input, ear) = (Arc::new(Input::streamed(true)), Arc::new(Ear::default()));
        let thread = {
            let (input, ear) = (Arc::clone(&input), Arc::clone(&ear));
            thread::spawn(move || input.read_waiting(LIMIT, || ear.ask(), &Buffers::new()))
        };
        ear.wait();
        assert!(input.push(Bytes::from_static(b"ab"), no_task));
        input.notify(no_task);
        assert!(matches!(thread.join().unwrap(), Ok(Read::Data(bytes)) if bytes == "ab"));
    });
}

/// The loop: reads all there is, and sleeps until it is woken.
fn poll_all(input: &Input, ear: &Ear, woken: &Ear) -> Result<usize, InputError> {
    let mut total = 0;
    loop {
        match input.poll_read(LIMIT, || ear.ask())? {
            Read::Data(bytes) => total += bytes.len(),
            Read::End => return Ok(total),
            Read::Wait => woken.wait(),
        }
    }
}

#[test]
fn a_task_gets_a_body_that_is_asked_for_whole() {
    check(3, || {
        let input = Arc::new(Input::streamed(true));
        let (ear, woken) = (Arc::new(Ear::default()), Arc::new(Ear::default()));
        let thread = {
            let (input, ear, woken) = (Arc::clone(&input), Arc::clone(&ear), Arc::clone(&woken));
            thread::spawn(move || poll_all(&input, &ear, &woken))
        };
        let wake = || woken.ask();
        ear.wait();
        assert!(!input.push(Bytes::from_static(&[0; LIMIT]), wake));
        ear.wait();
        assert!(input.push(Bytes::from_static(b"x"), wake));
        input.end(wake);
        assert_eq!(thread.join().unwrap(), Ok(LIMIT + 1));
    });
}

#[test]
fn a_task_sees_each_part_and_the_end_or_the_failure() {
    for complete in [true, false] {
        check(3, move || {
            let input = Arc::new(Input::streamed(false));
            let (ear, woken) = (Arc::new(Ear::default()), Arc::new(Ear::default()));
            let thread = {
                let (input, ear, woken) =
                    (Arc::clone(&input), Arc::clone(&ear), Arc::clone(&woken));
                thread::spawn(move || poll_all(&input, &ear, &woken))
            };
            let wake = || woken.ask();
            input.push(Bytes::from_static(b"ab"), wake);
            input.notify(wake);
            input.push(Bytes::from_static(b"cd"), wake);
            let result = if complete {
                input.end(wake);
                Ok(4)
            } else {
                input.fail(InputError::ClientGone, wake);
                Err(InputError::ClientGone)
            };
            assert_eq!(thread.join().unwrap(), result);
        });
    }
}
