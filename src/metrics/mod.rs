//! What the workers of one nginx have done and are doing (`python_status`): numbers in memory that all of them share,
//! and how they are shown.
//!
//! | file | what |
//! |---|---|
//! | [`words`] | words of the shared memory |
//! | [`histogram`] | how long something took, in buckets |
//! | [`names`] | which application, pool or loop has which number |
//! | [`zone`] | the memory: an area for each process, the history, the answers |
//! | [`meters`] | what one process counts, as its threads write it |
//! | [`groups`] | what is counted of the processes of a `python_process` |
//! | [`numbers`] | what several processes have counted together |
//! | [`snapshot`] | all of it at one moment |
//! | [`board`] | the memory with the names, as a process has both |
//! | [`json`], [`exposition`], [`text`], [`page`] | how a snapshot is shown |
//!
//! Nothing here waits, and nothing is taken back: a number that counts only grows, as long as nginx lives. So a process
//! that dies leaves what it has counted, and the next one in its area counts on. What says how something is at the
//! moment is valid as long as the process of its area lives.

#![forbid(unsafe_code)]

pub(crate) mod board;
#[cfg(not(feature = "loom"))]
pub(crate) mod exposition;
pub(crate) mod groups;
pub(crate) mod histogram;
#[cfg(not(feature = "loom"))]
pub(crate) mod json;
pub(crate) mod meters;
pub(crate) mod names;
#[cfg(not(feature = "loom"))]
pub(crate) mod numbers;
#[cfg(not(feature = "loom"))]
pub(crate) mod page;
#[cfg(not(feature = "loom"))]
pub(crate) mod snapshot;
#[cfg(not(feature = "loom"))]
pub(crate) mod text;
pub(crate) mod words;
pub(crate) mod zone;
