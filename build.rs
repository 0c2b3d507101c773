//! Tells the crate which Python and which nginx it is built for.

use std::env;
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=python-shim/pywsgi");

    // nginx calls dlclose at the end of a worker's exit. Threads of an application may still run then, and the panic
    // hook and thread-local destructors point into the module.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");

    // `python_home` is checked against this version while the configuration is read.
    pyo3_build_config::use_pyo3_cfgs();
    let python = pyo3_build_config::get();
    println!("cargo:rustc-env=PYWSGI_PYTHON_VERSION={}", python.version());
    if let Some(executable) = python.executable() {
        println!("cargo:rustc-env=PYWSGI_PYTHON_EXECUTABLE={executable}");
    }

    // nginx-bindings sets the version of the nginx that its bindings are for. From 1.23 on, a header that may occur
    // several times is a linked list.
    println!("cargo:rerun-if-env-changed=DEP_NGINX_VERSION_NUMBER");
    println!("cargo:rustc-check-cfg=cfg(nginx_1_23, nginx_1_29)");
    let nginx: u32 = env::var("DEP_NGINX_VERSION_NUMBER")?.parse()?;
    if nginx >= 1_023_000 {
        println!("cargo:rustc-cfg=nginx_1_23");
    }
    // From 1.29 on, nginx can send 103 Early Hints.
    if nginx >= 1_029_000 {
        println!("cargo:rustc-cfg=nginx_1_29");
    }
    Ok(())
}
