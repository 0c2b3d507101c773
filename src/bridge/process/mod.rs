//! What a web worker and an application process say to each other, through memory that they share.

pub(crate) mod broken;
pub(crate) mod channel;
pub(crate) mod descriptors;
pub(crate) mod frames;
pub(crate) mod front;
mod heads;
pub(crate) mod link;
pub(crate) mod question;
pub(crate) mod relay;
pub(crate) mod ring;
#[cfg(test)]
#[cfg(not(feature = "loom"))]
mod samples;
#[cfg(test)]
#[cfg(not(feature = "loom"))]
mod tests;
pub(crate) mod to_process;
pub(crate) mod to_worker;
mod wire;
