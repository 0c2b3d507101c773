//! What the event loop asks of the attendant, a Python thread that runs no requests.

use std::collections::VecDeque;

use super::exchange::Job;
use super::sync::{Condvar, Mutex, lock, wait};

#[derive(Debug)]
pub(crate) enum Task {
    /// Write the Python stack of the thread that runs this request to the log.
    LogStack(Job),
    /// The client of this request is gone: call whom it has asked to, and stop it where it is to be.
    Gone(Job),
    /// Attach once, so that references dropped by the event loop are given back.
    Collect,
    /// End; Python's main thread then lets the others end, runs `atexit`, finalises.
    Stop,
}

/// The queue to the attendant.
#[derive(Debug)]
pub(crate) struct Tasks {
    queue: Mutex<Queue>,
    added: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    tasks: VecDeque<Task>,
    /// A `Collect` waits already.
    collect: bool,
    stacks: usize,
}

/// Stacks that may wait to be logged, each with its request: the interpreter may be busy.
const STACKS: usize = 32;

impl Tasks {
    pub(crate) fn new() -> Self {
        Self { queue: Mutex::new(Queue::default()), added: Condvar::new() }
    }

    pub(crate) fn push(&self, task: Task) {
        {
            let mut queue = lock(&self.queue);
            match task {
                Task::Collect if std::mem::replace(&mut queue.collect, true) => return,
                Task::LogStack(_) if queue.stacks == STACKS => return,
                Task::LogStack(_) => queue.stacks += 1,
                Task::Gone(_) | Task::Collect | Task::Stop => {}
            }
            queue.tasks.push_back(task);
        }
        self.added.notify_one();
    }

    /// Waits for the next task.
    pub(crate) fn next(&self) -> Task {
        let mut queue = lock(&self.queue);
        loop {
            if let Some(task) = queue.tasks.pop_front() {
                match task {
                    Task::Collect => queue.collect = false,
                    Task::LogStack(_) => queue.stacks -= 1,
                    Task::Gone(_) | Task::Stop => {}
                }
                return task;
            }
            queue = wait(&self.added, queue);
        }
    }
}

#[cfg(test)]
#[cfg(not(feature = "loom"))]
mod tests {
    use super::*;
    use crate::bridge::fixture::{jobs, worker};

    /// All tasks up to `Stop`, each as a letter.
    fn drain(tasks: &Tasks) -> String {
        std::iter::from_fn(|| match tasks.next() {
            Task::LogStack(_) => Some('L'),
            Task::Collect => Some('C'),
            Task::Gone(_) => Some('G'),
            Task::Stop => None,
        })
        .collect()
    }

    #[test]
    fn one_collect_waits_for_all() {
        let tasks = Tasks::new();
        let [job] = jobs(&worker(1, 0));
        for _ in 0..2 {
            tasks.push(Task::Collect);
            tasks.push(Task::Collect);
            tasks.push(Task::LogStack(job.clone()));
            tasks.push(Task::Collect);
            tasks.push(Task::Stop);
            assert_eq!(drain(&tasks), "CL");
        }
    }

    #[test]
    fn a_bounded_number_of_stacks_waits() {
        let tasks = Tasks::new();
        let [job] = jobs(&worker(1, 0));
        for _ in 0..2 {
            for _ in 0..2 * STACKS {
                tasks.push(Task::LogStack(job.clone()));
            }
            tasks.push(Task::Collect);
            tasks.push(Task::Stop);
            assert_eq!(drain(&tasks), "L".repeat(STACKS) + "C");
        }
    }
}

#[cfg(test)]
#[cfg(feature = "loom")]
mod model {
    use std::sync::Arc;

    use loom::sync::atomic::{AtomicUsize, Ordering};
    use loom::thread;

    use super::*;
    use crate::bridge::fixture::check;

    #[test]
    fn what_is_dropped_before_a_collect_is_collected() {
        check(3, || {
            let tasks = Arc::new(Tasks::new());
            let dropped = Arc::new(AtomicUsize::new(0));
            let main = {
                let (tasks, dropped) = (Arc::clone(&tasks), Arc::clone(&dropped));
                thread::spawn(move || {
                    let mut collected = 0;
                    loop {
                        match tasks.next() {
                            Task::Collect => collected = dropped.load(Ordering::Relaxed),
                            Task::LogStack(_) | Task::Gone(_) => panic!("nobody asked for it"),
                            Task::Stop => return collected,
                        }
                    }
                })
            };
            for _ in 0..2 {
                dropped.fetch_add(1, Ordering::Relaxed);
                tasks.push(Task::Collect);
            }
            tasks.push(Task::Stop);
            assert_eq!(main.join().unwrap(), 2);
        });
    }
}
