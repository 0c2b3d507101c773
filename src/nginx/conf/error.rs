//! What is wrong with a configuration, and where.

use std::fmt;

use nginx_sys::ngx_uint_t;

use crate::bridge::code::Code;

/// What is wrong, as nginx prints it before `in FILE:LINE`.
#[derive(Debug)]
pub(in crate::nginx) struct ConfError {
    pub(in crate::nginx) code: Code,
    pub(in crate::nginx) text: String,
}

impl ConfError {
    pub(in crate::nginx) fn new(code: Code, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }

    pub(in crate::nginx) fn out_of_memory() -> Self {
        Self::new(Code::MemoryForConfiguration, "out of memory")
    }

    /// The same for what is found when nginx is no longer at that directive: the text names its place.
    pub(in crate::nginx) fn at(code: Code, text: impl fmt::Display, place: &Place) -> Self {
        Self::new(code, format!("{text} in {}:{}", place.file, place.line))
    }
}

impl fmt::Display for ConfError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.text)
    }
}

/// Where a directive stands.
#[derive(Clone, Debug)]
pub(in crate::nginx) struct Place {
    pub(in crate::nginx) file: String,
    pub(in crate::nginx) line: ngx_uint_t,
}
