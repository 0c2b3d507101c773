//! The OSError of a read or a write whose client is gone.

use pyo3::create_exception;
use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;

use crate::bridge::pipe::input::InputError;

// If the application does not catch it, it is no error of its own.
create_exception!(pywsgi, ClientGone, PyOSError);

/// What a read or a write raises.
pub(super) fn os_error(error: InputError) -> PyErr {
    match error {
        InputError::File | InputError::Taken => PyOSError::new_err(error.to_string()),
        InputError::ClientGone
        | InputError::TimedOut
        | InputError::Refused
        | InputError::Answered => ClientGone::new_err(error.to_string()),
    }
}
