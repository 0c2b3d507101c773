//! What a web worker and an application process say to each other, through memory that they share.

pub(crate) mod channel;
pub(crate) mod frames;
mod heads;
pub(crate) mod ring;
#[cfg(test)]
#[cfg(not(feature = "loom"))]
mod samples;
pub(crate) mod to_process;
pub(crate) mod to_worker;
mod wire;
