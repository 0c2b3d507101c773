//! The extension `tls` of a scope (ASGI TLS Extension 0.2).

use std::collections::HashMap;
use std::sync::Arc;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::http::tls::Tls;

/// How many descriptions are kept as Python's objects. Connections without a client's certificate share a few of them.
const MOST: usize = 64;

/// The descriptions that were given to applications, as Python's objects.
#[derive(Default)]
pub(super) struct Described {
    /// By the address of the description.
    known: HashMap<usize, Known>,
}

struct Known {
    /// Keeps the address from becoming another description's.
    _tls: Arc<Tls>,
    dict: Py<PyDict>,
    chain: Py<PyTuple>,
}

impl Described {
    /// A dict of the application's own. The list in it is its own, too.
    pub(super) fn dict<'py>(
        &mut self,
        py: Python<'py>,
        tls: &Arc<Tls>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let address = Arc::as_ptr(tls).addr();
        if let Some(known) = self.known.get(&address) {
            return known.copy(py);
        }
        let known = Known::new(py, tls)?;
        let dict = known.copy(py);
        if self.known.len() >= MOST {
            self.known.clear();
        }
        self.known.insert(address, known);
        dict
    }
}

impl Known {
    fn new(py: Python<'_>, tls: &Arc<Tls>) -> PyResult<Self> {
        let chain = PyTuple::new(py, &tls.client_certs)?;
        let dict = PyDict::new(py);
        dict.set_item("server_cert", &tls.server_cert)?;
        dict.set_item(intern!(py, "client_cert_chain"), chain.to_list())?;
        dict.set_item("client_cert_name", &tls.client_name)?;
        dict.set_item("client_cert_error", &tls.client_error)?;
        dict.set_item("tls_version", tls.version)?;
        dict.set_item("cipher_suite", tls.cipher)?;
        Ok(Self { _tls: Arc::clone(tls), dict: dict.unbind(), chain: chain.unbind() })
    }

    fn copy<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let dict = self.dict.bind(py).copy()?;
        dict.set_item(intern!(py, "client_cert_chain"), self.chain.bind(py).to_list())?;
        Ok(dict)
    }
}
