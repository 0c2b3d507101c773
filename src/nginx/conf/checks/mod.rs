//! What is checked while the configuration is read, so that it does not fail in a worker.

pub(in crate::nginx) mod access;
pub(in crate::nginx) mod needed;
pub(in crate::nginx) mod python_home;
pub(in crate::nginx) mod target;
pub(in crate::nginx) mod warning_filter;
pub(in crate::nginx) mod xoption;
