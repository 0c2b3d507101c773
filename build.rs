//! Tells the crate which Python and which nginx it is built for.

use std::env;
use std::error::Error;
use std::fs;
use std::process::Command;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");

    // nginx calls dlclose at the end of a worker's exit. Threads of an application may still run then, and the panic
    // hook and thread-local destructors point into the module.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");

    // `python_home` is checked against this version while the configuration is read.
    pyo3_build_config::use_pyo3_cfgs();
    let python = pyo3_build_config::get();
    println!("cargo:rustc-env=PYWSGI_PYTHON_VERSION={}", python.version());
    let executable = python.executable().ok_or("set PYO3_PYTHON to the Python to embed")?;
    println!("cargo:rustc-env=PYWSGI_PYTHON_EXECUTABLE={executable}");
    compile_package(executable, &env::var("OUT_DIR")?)?;

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

/// Compiles the package `pywsgi` to CPython's bytecode: a worker that did it at its start would need 50 ms of processor
/// time.
fn compile_package(python: &str, folder: &str) -> Result<(), Box<dyn Error>> {
    let mut files = Vec::new();
    for entry in fs::read_dir("python-shim/pywsgi")? {
        let path = entry?.path();
        if path.extension().is_some_and(|suffix| suffix == "py") {
            // Not the folder: Python writes its own bytecode there.
            println!("cargo:rerun-if-changed={}", path.display());
            files.push(path);
        }
    }
    // It names a file that is new.
    println!("cargo:rerun-if-changed=src/python/shim.rs");
    files.sort();
    // The same each time: the hash seed decides the order of sets, which are constants.
    let done = Command::new(python)
        .args(["-I", "-S", "-B", "-c", COMPILE, folder])
        .args(&files)
        .env("PYTHONHASHSEED", "0")
        .status()?;
    if !done.success() {
        return Err(format!("{python} cannot compile python-shim: {done}").into());
    }
    Ok(())
}

const COMPILE: &str = r#"
import importlib.util, marshal, pathlib, sys
folder = pathlib.Path(sys.argv[1])
(folder / "magic").write_bytes(importlib.util.MAGIC_NUMBER)
for file in map(pathlib.Path, sys.argv[2:]):
    code = compile(file.read_bytes(), f"pywsgi/{file.name}", "exec", dont_inherit=True)
    (folder / f"{file.stem}.code").write_bytes(marshal.dumps(code))
"#;
