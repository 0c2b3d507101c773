//! What the event loop asks of Python's main thread.

use std::collections::VecDeque;

use super::exchange::Job;
use super::sync::{Condvar, Mutex, lock, wait};

#[derive(Debug)]
pub(crate) enum Task {
    /// Write the Python stack of the thread that runs this request to the log.
    LogStack(Job),
    /// Attach once, so that references dropped by the event loop are given back.
    Collect,
    /// Let the threads end, run `atexit`, finalise.
    Stop,
}

/// The queue to Python's main thread.
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

/// Stacks that may wait to be logged, each with its request: the main thread may be long at an import.
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
                Task::Collect | Task::Stop => {}
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
                    Task::Stop => {}
                }
                return task;
            }
            queue = wait(&self.added, queue);
        }
    }
}
