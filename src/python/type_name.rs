//! What a value is, for messages to the author of an application.

use pyo3::prelude::*;

/// The name of the value's type, for a message.
pub(super) fn type_name(value: &Bound<'_, PyAny>) -> String {
    value.get_type().name().map(|name| name.to_string()).unwrap_or_default()
}
