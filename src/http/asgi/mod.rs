//! What the ASGI specification asks of a scope.

pub(crate) mod scope;
