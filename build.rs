//! Tells the crate which Python and which nginx it is built for.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=python-shim/pywsgi");

    // A worker's exit ends with dlclose, while threads of an application may still run; and the panic
    // hook and thread-local destructors point into the module.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");

    // `python_home` is checked against this version while the configuration is read.
    let python = pyo3_build_config::get();
    println!("cargo:rustc-env=PYWSGI_PYTHON_VERSION={}", python.version());
    if let Some(executable) = python.executable() {
        println!("cargo:rustc-env=PYWSGI_PYTHON_EXECUTABLE={executable}");
    }
}
