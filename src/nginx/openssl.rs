//! A client's TLS connection, as nginx and its OpenSSL describe it.
//!
//! The module is linked with none of these functions, because it must load in an nginx that has no TLS, and must use the
//! OpenSSL that nginx uses. They are looked up by name when the first connection is described. nginx exports what is
//! linked into it (`-Wl,-E`), so its own OpenSSL is found before any other.

use std::ffi::{CStr, c_char, c_int, c_long, c_void};
use std::marker::PhantomData;
use std::ptr;
use std::sync::{Arc, OnceLock};

use nginx_sys::{ngx_connection_t, ngx_int_t, ngx_pool_t, ngx_str_t};

use super::sys;
use crate::http::tls::Tls;

/// The connection of a request over TLS. It is valid during `'ev`, which is one call from nginx.
pub(super) struct Connection<'ev> {
    library: &'static Library,
    connection: *mut ngx_connection_t,
    ssl: *mut Ssl,
    call: PhantomData<&'ev ngx_connection_t>,
}

impl Connection<'_> {
    /// `None` if the connection is not over TLS, or if nginx's TLS library is not OpenSSL 1.1.1 or newer.
    ///
    /// # Safety
    ///
    /// This is nginx's thread. The connection is that of a request, and lives during `'ev`.
    pub(super) unsafe fn of(connection: *mut ngx_connection_t) -> Option<Self> {
        // SAFETY: the connection is live, as this function requires.
        let own = unsafe { (*connection).ssl };
        if own.is_null() {
            return None;
        }
        let library = Library::loaded()?;
        // SAFETY: OpenSSL's object is the structure's first field (nginx-bindings/build/wrapper.h checks that). A
        // connection over TLS has one until it is closed.
        let ssl = unsafe { *own.cast::<*mut Ssl>() };
        Some(Self { library, connection, ssl, call: PhantomData })
    }

    /// The version as the protocol writes it.
    pub(super) fn version(&self) -> Option<u16> {
        // SAFETY: `of` requires that the connection is live.
        let version = unsafe { (self.library.version)(self.ssl) };
        u16::try_from(version).ok()
    }

    /// The number of the cipher suite.
    pub(super) fn cipher(&self) -> Option<u16> {
        // SAFETY: as for `version`; a cipher is a constant of the library.
        let id = unsafe {
            let cipher = (self.library.current_cipher)(self.ssl);
            (!cipher.is_null()).then(|| (self.library.cipher_id)(cipher))
        };
        // The upper half is OpenSSL's own.
        id.map(|id| id as u16)
    }

    /// nginx's certificate, in DER. `None` if the session was resumed and nginx has several certificates: none was
    /// sent then, and OpenSSL does not remember with which of them the session began.
    pub(super) fn certificate(&self) -> Option<Vec<u8>> {
        // SAFETY: as for `version`.
        let certificate = unsafe { (self.library.certificate)(self.ssl) };
        // SAFETY: as for `version`.
        let resumed = unsafe { (self.library.session_reused)(self.ssl) } != 0;
        if certificate.is_null() || (resumed && self.has_several_certificates(certificate)) {
            return None;
        }
        // SAFETY: the certificate belongs to the connection.
        unsafe { self.library.der(certificate) }
    }

    /// Whether nginx has another certificate for this connection than the `current` one.
    fn has_several_certificates(&self, current: *mut X509) -> bool {
        let control = |command: c_int, number: c_long, pointer: *mut X509| {
            // SAFETY: as for `version`. These commands choose among the certificates of this connection, which is
            // past the point at which one is sent.
            unsafe { (self.library.ctrl)(self.ssl, command, number, pointer.cast()) == 1 }
        };
        let several = control(CTRL_SET_CURRENT_CERT, CERT_SET_FIRST, ptr::null_mut())
            && control(CTRL_SET_CURRENT_CERT, CERT_SET_NEXT, ptr::null_mut());
        control(CTRL_SELECT_CURRENT_CERT, 0, current);
        several
    }

    /// The client's certificate and those that it has sent with it, in DER. A session that is resumed has the first
    /// alone, unless it comes from the worker's own memory.
    pub(super) fn client_certificates(&self) -> Vec<Vec<u8>> {
        let library = self.library;
        // SAFETY: as for `version`; a session's certificate belongs to the session, and may be null.
        let own = unsafe {
            let session = (library.session)(self.ssl);
            if session.is_null() { ptr::null_mut() } else { (library.session_peer)(session) }
        };
        // SAFETY: as above.
        let Some(own) = (unsafe { library.der(own) }) else { return Vec::new() };
        let mut certificates = vec![own];
        // SAFETY: as for `version`. A stack that is null has -1 elements.
        let (chain, len) = unsafe {
            let chain = (library.peer_cert_chain)(self.ssl);
            (chain, (library.stack_num)(chain))
        };
        // A server's chain does not contain the client's own certificate (SSL_get_peer_cert_chain(3)).
        for at in 0..len {
            // SAFETY: the chain belongs to the session, and its elements are certificates.
            certificates.extend(unsafe { library.der((library.stack_value)(chain, at).cast()) });
        }
        certificates
    }

    /// nginx's `$ssl_client_s_dn`, in `pool`. `None` if nginx is out of memory, or OpenSSL cannot write the name.
    ///
    /// # Safety
    ///
    /// `pool` is valid, and lives as long as the text is used.
    pub(super) unsafe fn client_name<'a>(&self, pool: *mut ngx_pool_t) -> Option<&'a [u8]> {
        // SAFETY: as this function requires.
        unsafe { self.text(self.library.ngx_subject_dn, pool) }
    }

    /// nginx's `$ssl_client_verify`, in `pool`. `None` if nginx is out of memory.
    ///
    /// # Safety
    ///
    /// As for [`client_name`](Self::client_name).
    pub(super) unsafe fn verification<'a>(&self, pool: *mut ngx_pool_t) -> Option<&'a [u8]> {
        // SAFETY: as this function requires.
        unsafe { self.text(self.library.ngx_client_verify, pool) }
    }

    /// # Safety
    ///
    /// As for [`client_name`](Self::client_name).
    unsafe fn text<'a>(&self, function: NginxText, pool: *mut ngx_pool_t) -> Option<&'a [u8]> {
        let mut text = ngx_str_t::empty();
        // SAFETY: `of` requires that the connection is live, and this function that the pool is valid.
        let found = unsafe { function(self.connection, pool, &raw mut text) };
        // SAFETY: nginx has allocated the text from the pool, or it is a constant.
        (found == sys::OK).then(|| unsafe { sys::bytes(text) })
    }

    /// What [`keep`](Self::keep) has kept for this connection.
    pub(super) fn kept(&self) -> Option<Arc<Tls>> {
        let library = self.library;
        // SAFETY: as for `version`; the place is the module's own.
        let kept = unsafe { (library.ex_data)(self.ssl, library.place) }.cast::<Tls>();
        if kept.is_null() {
            return None;
        }
        // SAFETY: `keep` has put it there, with a reference of its own that lives as long as the connection.
        unsafe {
            Arc::increment_strong_count(kept);
            Some(Arc::from_raw(kept))
        }
    }

    /// Keeps `tls` until the connection is closed. Called once for a connection.
    pub(super) fn keep(&self, tls: Arc<Tls>) {
        let library = self.library;
        let raw = Arc::into_raw(tls);
        // SAFETY: as for `kept`.
        let kept = unsafe { (library.set_ex_data)(self.ssl, library.place, raw.cast_mut().cast()) };
        if kept != 1 {
            // SAFETY: OpenSSL is out of memory, and has not taken the reference.
            drop(unsafe { Arc::from_raw(raw) });
        }
    }
}

/// OpenSSL frees a connection, and calls this with what the module has kept for it, or with null. Python's `ssl` may
/// use the same OpenSSL: its threads call this, too, always with null. It does not panic.
unsafe extern "C" fn on_free(
    _ssl: *mut c_void,
    kept: *mut c_void,
    _all: *mut c_void,
    _place: c_int,
    _number: c_long,
    _argument: *mut c_void,
) {
    if !kept.is_null() {
        // SAFETY: `keep` has put the reference there. Nobody uses the connection any more, and nginx copies none
        // (SSL_dup(3)).
        drop(unsafe { Arc::from_raw(kept.cast::<Tls>()) });
    }
}

// OpenSSL's structures, of which nothing but the address is known here.
enum Ssl {}
enum Cipher {}
enum Session {}
enum X509 {}
enum Stack {}

type NginxText =
    unsafe extern "C" fn(*mut ngx_connection_t, *mut ngx_pool_t, *mut ngx_str_t) -> ngx_int_t;

type OnFree =
    unsafe extern "C" fn(*mut c_void, *mut c_void, *mut c_void, c_int, c_long, *mut c_void);

// <openssl/ssl.h> and <openssl/crypto.h>
const CTRL_SELECT_CURRENT_CERT: c_int = 116;
const CTRL_SET_CURRENT_CERT: c_int = 117;
const CERT_SET_FIRST: c_long = 1;
const CERT_SET_NEXT: c_long = 2;
const EX_INDEX_SSL: c_int = 0;
const VERSION_TEXT: c_int = 0;

/// The functions, with the types that ngx_event_openssl.h and OpenSSL's headers give them.
struct Library {
    ngx_client_verify: NginxText,
    ngx_subject_dn: NginxText,
    version: unsafe extern "C" fn(*const Ssl) -> c_int,
    current_cipher: unsafe extern "C" fn(*const Ssl) -> *const Cipher,
    cipher_id: unsafe extern "C" fn(*const Cipher) -> u32,
    certificate: unsafe extern "C" fn(*const Ssl) -> *mut X509,
    session_reused: unsafe extern "C" fn(*const Ssl) -> c_int,
    ctrl: unsafe extern "C" fn(*mut Ssl, c_int, c_long, *mut c_void) -> c_long,
    session: unsafe extern "C" fn(*const Ssl) -> *mut Session,
    session_peer: unsafe extern "C" fn(*mut Session) -> *mut X509,
    peer_cert_chain: unsafe extern "C" fn(*const Ssl) -> *mut Stack,
    stack_num: unsafe extern "C" fn(*const Stack) -> c_int,
    stack_value: unsafe extern "C" fn(*const Stack, c_int) -> *mut c_void,
    i2d_x509: unsafe extern "C" fn(*const X509, *mut *mut u8) -> c_int,
    ex_data: unsafe extern "C" fn(*const Ssl, c_int) -> *mut c_void,
    set_ex_data: unsafe extern "C" fn(*mut Ssl, c_int, *mut c_void) -> c_int,
    /// The module's own place among a connection's data.
    place: c_int,
}

impl Library {
    fn loaded() -> Option<&'static Self> {
        static LIBRARY: OnceLock<Option<Library>> = OnceLock::new();

        LIBRARY.get_or_init(Self::load).as_ref()
    }

    fn load() -> Option<Self> {
        if !is_openssl(version_text()?) {
            return None;
        }
        // SAFETY: each function has the type of its field, in OpenSSL 1.1.1 and in all versions since.
        unsafe {
            Some(Self {
                ngx_client_verify: function(c"ngx_ssl_get_client_verify")?,
                ngx_subject_dn: function(c"ngx_ssl_get_subject_dn")?,
                version: function(c"SSL_version")?,
                current_cipher: function(c"SSL_get_current_cipher")?,
                cipher_id: function(c"SSL_CIPHER_get_id")?,
                certificate: function(c"SSL_get_certificate")?,
                session_reused: function(c"SSL_session_reused")?,
                ctrl: function(c"SSL_ctrl")?,
                session: function(c"SSL_get_session")?,
                session_peer: function(c"SSL_SESSION_get0_peer")?,
                peer_cert_chain: function(c"SSL_get_peer_cert_chain")?,
                stack_num: function(c"OPENSSL_sk_num")?,
                stack_value: function(c"OPENSSL_sk_value")?,
                i2d_x509: function(c"i2d_X509")?,
                ex_data: function(c"SSL_get_ex_data")?,
                set_ex_data: function(c"SSL_set_ex_data")?,
                place: new_place()?,
            })
        }
    }

    /// A certificate in DER; `None` for null.
    ///
    /// # Safety
    ///
    /// The certificate is valid, or null.
    unsafe fn der(&self, certificate: *const X509) -> Option<Vec<u8>> {
        if certificate.is_null() {
            return None;
        }
        // SAFETY: the certificate is valid, as this function requires. With null nothing is written.
        let len = unsafe { (self.i2d_x509)(certificate, ptr::null_mut()) };
        let mut der = vec![0; usize::try_from(len).ok()?];
        let mut end = der.as_mut_ptr();
        // SAFETY: there is room for as many bytes as the same call has said above.
        let written = unsafe { (self.i2d_x509)(certificate, &raw mut end) };
        (written == len).then_some(der)
    }
}

/// What nginx's TLS library says of its version.
fn version_text() -> Option<&'static CStr> {
    type Version = unsafe extern "C" fn(c_int) -> *const c_char;

    // SAFETY: the function has this type in OpenSSL, LibreSSL, BoringSSL and AWS-LC.
    let version = unsafe { function::<Version>(c"OpenSSL_version")? };
    // SAFETY: it gives a constant text, whatever the number.
    Some(unsafe { CStr::from_ptr(version(VERSION_TEXT)) })
}

/// Whether a TLS library is OpenSSL itself. Others have functions of the same names and of other types, and some say
/// that they are "compatible".
fn is_openssl(version: &CStr) -> bool {
    let version = version.to_string_lossy();
    version.starts_with("OpenSSL ") && !version.contains("compatible")
}

/// Has OpenSSL give each connection one more place for data, which [`on_free`] frees.
fn new_place() -> Option<c_int> {
    type NewIndex = unsafe extern "C" fn(
        c_int,
        c_long,
        *mut c_void,
        Option<unsafe extern "C" fn()>,
        Option<unsafe extern "C" fn()>,
        Option<OnFree>,
    ) -> c_int;

    // SAFETY: the function has this type in OpenSSL; the two functions that this module does not have are null.
    let new_index = unsafe { function::<NewIndex>(c"CRYPTO_get_ex_new_index")? };
    // SAFETY: `on_free` is a function of this module, which is never unloaded.
    let place = unsafe { new_index(EX_INDEX_SSL, 0, ptr::null_mut(), None, None, Some(on_free)) };
    (place >= 0).then_some(place)
}

/// # Safety
///
/// `F` is the type of a pointer to the function of this name.
unsafe fn function<F: Copy>(name: &CStr) -> Option<F> {
    const { assert!(size_of::<F>() == size_of::<*mut c_void>()) };
    // SAFETY: the name ends in NUL.
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    // SAFETY: `F` is a pointer to the function that was found, as this function requires.
    (!found.is_null()).then(|| unsafe { std::mem::transmute_copy::<*mut c_void, F>(&found) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_openssl_itself_is_asked() {
        assert!(is_openssl(c"OpenSSL 1.1.1k  FIPS 25 Mar 2021"));
        assert!(is_openssl(c"OpenSSL 3.0.19 27 Jan 2026"));
        assert!(!is_openssl(c"OpenSSL 1.1.1 (compatible; BoringSSL)"));
        assert!(!is_openssl(c"OpenSSL 1.1.1 (compatible; AWS-LC 1.48.0)"));
        assert!(!is_openssl(c"LibreSSL 4.0.0"));
    }
}
