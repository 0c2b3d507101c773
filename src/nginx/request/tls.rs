//! The description of a client's TLS connection, which is made once for each connection.

use std::cell::RefCell;
use std::sync::Arc;

use nginx_sys::ngx_http_request_t;

use crate::http::tls::{Tls, distinguished_name, pem};
use crate::nginx::openssl::Connection;

/// nginx is out of memory.
#[derive(Debug)]
pub(super) struct NoMemory;

/// How many descriptions are remembered that other connections may share.
const SHARED: usize = 16;

/// The description of the request's connection. `None` if the connection is not over TLS, or the TLS library is one that
/// cannot be asked.
pub(super) fn describe(request: &ngx_http_request_t) -> Result<Option<Arc<Tls>>, NoMemory> {
    // SAFETY: a live request has a connection, and this is nginx's thread, for requests do not leave it. A stream of
    // HTTP/2 or HTTP/3 has a connection of its own, with the TLS of its real one.
    let Some(connection) = (unsafe { Connection::of(request.connection) }) else { return Ok(None) };
    if let Some(known) = connection.kept() {
        return Ok(Some(known));
    }
    let tls = shared(make(&connection, request)?);
    connection.keep(Arc::clone(&tls));
    Ok(Some(tls))
}

fn make(connection: &Connection<'_>, request: &ngx_http_request_t) -> Result<Tls, NoMemory> {
    let client_certs: Vec<String> =
        connection.client_certificates().iter().map(|certificate| pem(certificate)).collect();
    let (mut client_name, mut client_error) = (None, None);
    if !client_certs.is_empty() {
        let pool = request.pool;
        // SAFETY: the pool is the request's, and the texts are copied.
        let (name, verified) =
            unsafe { (connection.client_name(pool), connection.verification(pool)) };
        client_name = name.map(distinguished_name);
        // Without it, a certificate that is not valid would be taken for one that is.
        let failure = verified.ok_or(NoMemory)?.strip_prefix(b"FAILED:");
        client_error = failure.map(|reason| String::from_utf8_lossy(reason).into_owned());
    }
    Ok(Tls {
        server_cert: connection.certificate().as_deref().map(pem),
        client_certs,
        client_name,
        client_error,
        version: connection.version(),
        cipher: connection.cipher(),
    })
}

/// Connections without a client's certificate have few descriptions between them: a connection gets that of an earlier
/// one if it is the same.
fn shared(tls: Tls) -> Arc<Tls> {
    thread_local! {
        static RECENT: RefCell<Vec<Arc<Tls>>> = const { RefCell::new(Vec::new()) };
    }
    if !tls.client_certs.is_empty() {
        return Arc::new(tls);
    }
    RECENT.with_borrow_mut(|recent| {
        if let Some(same) = recent.iter().find(|known| ***known == tls) {
            return Arc::clone(same);
        }
        if recent.len() == SHARED {
            recent.remove(0);
        }
        let tls = Arc::new(tls);
        recent.push(Arc::clone(&tls));
        tls
    })
}
