//! The log of what concerns no request.

use nginx_sys::{ngx_cycle, ngx_log_t};

use crate::nginx::log::HasLog;

pub(super) struct CycleLog;

// SAFETY: there is always a cycle, and it has a log.
unsafe impl HasLog for CycleLog {
    fn log(&self) -> *mut ngx_log_t {
        // SAFETY: as above.
        unsafe { (*ngx_cycle).log }
    }
}
