//! What is wrong with a configuration, and where.

use std::fmt;

use nginx_sys::ngx_uint_t;

/// What is wrong, as nginx prints it before `in FILE:LINE`.
#[derive(Debug)]
pub(in crate::nginx) struct ConfError(pub(in crate::nginx) String);

impl ConfError {
    pub(in crate::nginx) fn out_of_memory() -> Self {
        Self("out of memory".to_owned())
    }

    /// The same for what is found when nginx is no longer at that directive: the text names its place.
    pub(in crate::nginx) fn at(text: impl fmt::Display, place: &Place) -> Self {
        Self(format!("{text} in {}:{}", place.file, place.line))
    }
}

/// Where a directive stands.
#[derive(Clone, Debug)]
pub(in crate::nginx) struct Place {
    pub(in crate::nginx) file: String,
    pub(in crate::nginx) line: ngx_uint_t,
}
