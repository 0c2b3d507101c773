//! Compares the bindings with what the C compiler makes of the same headers, and rejects them if the two differ.
//!
//! The build makes a program from the bindings and a C file, both generated from the list in [`super::surface`], and
//! runs it. Sizes, alignments, offsets and constants must be equal. For each bit field, a value that one side sets
//! must be the value that the other side reads, and all other bits must stay unchanged.

use std::path::Path;
use std::process::Command;
use std::{env, fs};

use crate::nginx::Nginx;
use crate::surface::Surface;

pub(crate) const WHAT_TO_DO: &str = "Build for an nginx from 1.22 to 1.31, or take a newer release of this module. \
     If you maintain it: nginx-bindings/build/surface.rs lists what it uses.";

/// wrapper.h's name for NGX_MODULE_SIGNATURE.
pub(crate) const SIGNATURE: &str = "PYWSGI_NGINX_SIGNATURE";

pub(crate) fn compare(
    nginx: &Nginx,
    surface: &Surface,
    bindings: &Path,
    out: &Path,
) -> Result<(), String> {
    let target = env::var("TARGET").unwrap_or_default();
    if env::var("HOST").as_ref() != Ok(&target) {
        return Err(format!(
            "the bindings are checked by a program that runs while they are made: build on {target} itself"
        ));
    }
    let (c, rust) = (out.join("layout.c"), out.join("layout.rs"));
    write(&c, &c_side(surface))?;
    write(&rust, &rust_side(surface, bindings))?;
    let version = &nginx.version;
    let mut compiler = cc::Build::new();
    for argument in nginx.compiler_arguments() {
        compiler.flag(argument);
    }
    compiler
        .include("build")
        .file(&c)
        // The program that this file is linked into has no sanitizer, whatever flags the module is built with.
        .flag("-fno-sanitize=address")
        .cargo_metadata(false)
        .warnings(false)
        .opt_level(0)
        .try_compile("pywsgi_layout")
        .map_err(|error| format!("the headers of nginx {version} do not compile: {error}"))?;
    let program = out.join("layout");
    let mut rustc = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    rustc.args([
        "--edition=2024",
        "--crate-type=bin",
        "--cap-lints=allow",
        "-l",
        "static=pywsgi_layout",
    ]);
    rustc.arg("-L").arg(out).arg("-o").arg(&program).arg(&rust);
    if let Some(linker) = env::var_os("RUSTC_LINKER") {
        let mut option = std::ffi::OsString::from("linker=");
        option.push(linker);
        rustc.arg("-C").arg(option);
    }
    run(&mut rustc)
        .map_err(|error| format!("the check of the bindings does not build: {error}"))?;
    run(&mut Command::new(&program)).map_err(|differences| {
        format!(
            "the bindings to nginx {version} are wrong: Rust and the C compiler differ in\n{differences}{WHAT_TO_DO}"
        )
    })
}

fn write(file: &Path, text: &str) -> Result<(), String> {
    fs::write(file, text).map_err(|error| format!("{}: {error}", file.display()))
}

/// Runs a command. If it fails, the error is its output.
fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let printed = [output.stdout, output.stderr].concat();
    Err(format!("{}\n{}", output.status, String::from_utf8_lossy(&printed)))
}

/// The numbers in the order in which [`rust_side`] compares them, and a getter and a setter for each bit field.
fn c_side(surface: &Surface) -> String {
    let mut functions = Vec::new();
    let mut numbers = Vec::new();
    for record in &surface.records {
        let name = record.name;
        numbers.push(format!("sizeof({name})"));
        numbers.push(format!("_Alignof({name})"));
        for field in record.plain_fields() {
            numbers.push(format!("offsetof({name}, {field})"));
            numbers.push(format!("sizeof((({name} *) 0)->{field})"));
        }
        for field in record.bit_fields() {
            let (get, set) = accessors(name, field);
            functions.push(format!(
                "unsigned long long {get}(const void *p) {{ return ((const {name} *) p)->{field}; }}\n\
                 void {set}(void *p, unsigned long long v) {{ (({name} *) p)->{field} = v; }}\n"
            ));
        }
    }
    numbers.extend(surface.types.iter().map(|name| format!("sizeof({name})")));
    numbers.extend(surface.numbers.iter().map(|name| (*name).to_owned()));
    let numbers: Vec<_> = numbers.iter().map(|number| format!("(long long) ({number})")).collect();
    let strings: Vec<_> = surface.strings.iter().copied().chain(["NGX_MODULE_SIGNATURE"]).collect();
    format!(
        "#include \"wrapper.h\"\n#include <stddef.h>\n\n\
         const long long c_numbers[] = {{\n    {}\n}};\n\
         const char *const c_strings[] = {{ {} }};\n{}",
        numbers.join(",\n    "),
        strings.join(", "),
        functions.concat()
    )
}

/// The comparing program. `program.rs` is the part that does not depend on the list.
fn rust_side(surface: &Surface, bindings: &Path) -> String {
    let mut numbers = 0;
    let mut body = Vec::new();
    let mut declarations = Vec::new();
    for record in &surface.records {
        let name = record.name;
        body.push(format!("c.number(\"size of {name}\", size_of::<{name}>() as i64);"));
        body.push(format!("c.number(\"alignment of {name}\", align_of::<{name}>() as i64);"));
        numbers += 2;
        for field in record.plain_fields() {
            let rust = in_rust(field);
            body.push(format!(
                "c.field(\"{name}.{field}\", std::mem::offset_of!({name}, {rust}), \
                 |p: *const {name}| unsafe {{ &raw const (*p).{rust} }});"
            ));
            numbers += 2;
        }
        for field in record.bit_fields() {
            let (get, set) = accessors(name, field);
            declarations.push(format!(
                "fn {get}(p: *const c_void) -> u64; fn {set}(p: *mut c_void, v: u64);"
            ));
            body.push(format!(
                "c.bits(\"{name}.{field}\", |p: &{name}| p.{field}() as u64, \
                 |p: &mut {name}, v| p.set_{field}(v as _), {get}, {set});"
            ));
        }
    }
    for name in &surface.types {
        body.push(format!("c.number(\"size of {name}\", size_of::<{name}>() as i64);"));
        numbers += 1;
    }
    for name in &surface.numbers {
        body.push(format!("c.number(\"{name}\", {name} as i64);"));
        numbers += 1;
    }
    for (at, name) in surface.strings.iter().copied().chain([SIGNATURE]).enumerate() {
        body.push(format!("c.string(\"{name}\", {name}, unsafe {{ c_strings[{at}] }});"));
    }
    format!(
        "include!({:?});\ninclude!({:?});\nconst C_NUMBERS: usize = {numbers};\nunsafe extern \"C\" {{\n    \
         static c_numbers: [i64; C_NUMBERS];\n    static c_strings: [*const c_char; {}];\n    {}\n}}\n\
         fn compare(c: &mut Check) {{\n    {}\n}}\n",
        bindings,
        Path::new(env!("CARGO_MANIFEST_DIR")).join("build/program.rs"),
        surface.strings.len() + 1,
        declarations.join("\n    "),
        body.join("\n    ")
    )
}

/// The names of the C side's getter and setter of a bit field.
fn accessors(record: &str, field: &str) -> (String, String) {
    (format!("c_get_{record}_{field}"), format!("c_set_{record}_{field}"))
}

/// bindgen appends an underscore if C's name is a keyword of Rust.
fn in_rust(field: &str) -> String {
    if field == "type" { "type_".to_owned() } else { field.to_owned() }
}
