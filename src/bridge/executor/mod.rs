//! Who runs the application.

pub(crate) mod inline;
pub(crate) mod pool;
