//! Who may see the status: the local host alone, unless the location says who.

use nginx_sys::{ngx_array_t, ngx_cycle, ngx_http_request_t, ngx_module_t};

use super::reply::fields;
use crate::nginx::sys;

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    NotLocal,
    /// It comes from the local host, but on behalf of another one.
    Forwarded,
}

impl Refusal {
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::NotLocal => {
                "python_status answers the local host alone, unless its location says who else may \
                 see it (allow, deny)"
            }
            Self::Forwarded => {
                "python_status does not answer what a proxy on the local host passes on, unless its \
                 location says who may see it (allow, deny)"
            }
        }
    }
}

/// Fields by which a proxy says for whom it asks.
const FORWARDED: [&[u8]; 3] = [b"forwarded", b"x-forwarded-for", b"x-real-ip"];

/// # Safety
///
/// `r` is a live request.
pub(super) unsafe fn refusal(r: *mut ngx_http_request_t) -> Option<Refusal> {
    // SAFETY: the request is live.
    unsafe {
        if has_rules(r) {
            // nginx has applied them before this handler is called.
            return None;
        }
        if !is_local((*(*r).connection).sockaddr.cast()) {
            return Some(Refusal::NotLocal);
        }
        is_forwarded(r).then_some(Refusal::Forwarded)
    }
}

/// Whether the location has an `allow` or a `deny` (ngx_http_access_module).
///
/// # Safety
///
/// `r` is a live request.
unsafe fn has_rules(r: *mut ngx_http_request_t) -> bool {
    // SAFETY: the cycle's modules end with null, and each has a name. The access module's configuration begins with the
    // pointer to its rules for IPv4, which `allow all` and `deny all` are among.
    unsafe {
        let mut next = (*ngx_cycle).modules.cast::<*const ngx_module_t>();
        while let Some(module) = (*next).as_ref() {
            if std::ffi::CStr::from_ptr(module.name) == c"ngx_http_access_module" {
                let rules = sys::loc_conf::<*const ngx_array_t>(r, module);
                return !rules.is_null() && !(*rules).is_null();
            }
            next = next.add(1);
        }
        false
    }
}

/// Whether an address is one of the local host.
///
/// # Safety
///
/// `address` is a valid address of a socket.
unsafe fn is_local(address: *const libc::sockaddr) -> bool {
    // SAFETY: an address has the form that its family says.
    unsafe {
        match i32::from((*address).sa_family) {
            libc::AF_UNIX => true,
            libc::AF_INET => {
                let address = (*address.cast::<libc::sockaddr_in>()).sin_addr.s_addr;
                std::net::Ipv4Addr::from(u32::from_be(address)).is_loopback()
            }
            libc::AF_INET6 => {
                let address = (*address.cast::<libc::sockaddr_in6>()).sin6_addr.s6_addr;
                std::net::Ipv6Addr::from(address).to_canonical().is_loopback()
            }
            _ => false,
        }
    }
}

/// # Safety
///
/// `r` is a live request.
unsafe fn is_forwarded(r: *mut ngx_http_request_t) -> bool {
    // SAFETY: the request is live.
    let mut fields = unsafe { fields(r) };
    fields.any(|(name, _)| FORWARDED.iter().any(|known| name.eq_ignore_ascii_case(known)))
}
