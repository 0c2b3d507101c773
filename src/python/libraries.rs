//! An extension module's own libraries come before nginx's.
//!
//! nginx loads its modules with RTLD_GLOBAL (`ngx_dlopen`): their libraries, and those that nginx itself is linked
//! with, are searched for the symbols of whatever is loaded later. A wheel that brings libraries of its own
//! (Pillow's libavif, psycopg2's libcrypto) would get nginx's in their place, of another version. With
//! RTLD_DEEPBIND a library looks into itself and what it is linked with first.
//!
//! That includes the C library, so that a replacement of a part of it is not found. It must not be done if `malloc`
//! is another one (jemalloc or AddressSanitizer, by LD_PRELOAD or linked with nginx): what one allocates, as
//! strdup(3) does, the other would free. Nor if the linker has copied `environ` into nginx's executable, as it does
//! without -fPIC (R_X86_64_COPY): the original is null.

use pyo3::prelude::*;

use super::logging;
use super::sys;
use crate::bridge::code::Code;

/// Has extension modules loaded with RTLD_DEEPBIND from here on. Logs if that cannot be done.
pub(super) fn find_own_first(py: Python<'_>) -> PyResult<()> {
    let os = py.import("os")?;
    // Not every C library has it.
    let Some(deep) = os.getattr_opt("RTLD_DEEPBIND")? else { return Ok(()) };
    if let Some(replaced) = [c"malloc", c"environ"].into_iter().find(|name| sys::is_replaced(name))
    {
        let text = format!(
            "extension modules may get libraries of nginx in the place of their own: this process has another \
             {} than the C library's (LD_PRELOAD, or how nginx was built)",
            replaced.to_string_lossy(),
        );
        logging::write(py, Code::LibrariesOfNginx, &text);
        return Ok(());
    }
    let flags = os.getattr("RTLD_NOW")?.bitor(deep)?;
    py.import("sys")?.call_method1("setdlopenflags", (flags,))?;
    Ok(())
}
