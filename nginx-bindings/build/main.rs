//! Makes the bindings to nginx, and rejects an nginx for which they would be wrong.

mod check;
mod nginx;
mod surface;

use std::cell::RefCell;
use std::collections::{BTreeSet, HashSet};
use std::env;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;

use bindgen::callbacks::{FieldInfo, ItemInfo, ParseCallbacks};
use bindgen::{FieldVisibilityKind, Formatter, RustTarget};

use self::nginx::Nginx;
use self::surface::{Record, Surface};

/// The oldest and the newest version that the module is tested with. A newer one is accepted if the check finds no
/// difference.
const OLDEST: u32 = 1_022_000;
const NEWEST: u32 = 1_031_999;

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), String> {
    println!("cargo::rerun-if-changed=build");
    let nginx = Nginx::from_env()?;
    println!("cargo::metadata=version_number={}", nginx.number);
    if nginx.number < OLDEST {
        return Err(format!("nginx {} is too old: the module needs 1.22 or later", nginx.version));
    }
    if nginx.number > NEWEST {
        println!(
            "cargo::warning=nginx {} is newer than those that the module has been tested with (1.22 to 1.31)",
            nginx.version
        );
    }
    let surface = Surface::of(nginx.number);
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo has set no OUT_DIR")?);
    let bindings = out.join("bindings.rs");
    generate(&nginx, &surface, &bindings)?;
    check::compare(&nginx, &surface, &bindings, &out)
}

/// Writes the bindings. Fails if this nginx does not have everything that the module uses.
fn generate(nginx: &Nginx, surface: &Surface, file: &Path) -> Result<(), String> {
    let seen = Seen::default();
    let mut builder = bindgen::Builder::default()
        .header("build/wrapper.h")
        .clang_args(nginx.compiler_arguments())
        .allowlist_var(check::SIGNATURE)
        .parse_callbacks(Box::new(Callbacks { fields: surface.fields(), seen: seen.clone() }))
        .rust_target(RustTarget::stable(85, 0).map_err(|error| error.to_string())?)
        .rust_edition(bindgen::RustEdition::Edition2024)
        .formatter(Formatter::None)
        .default_visibility(FieldVisibilityKind::Private)
        .generate_cstr(true)
        .layout_tests(false)
        .derive_debug(false)
        .use_core();
    for record in &surface.records {
        builder = builder.allowlist_type(record.name);
    }
    for name in &surface.types {
        builder = builder.allowlist_type(name);
    }
    for name in &surface.functions {
        builder = builder.allowlist_function(name);
    }
    for name in surface.variables.iter().chain(&surface.numbers).chain(&surface.strings) {
        builder = builder.allowlist_var(name);
    }
    let bindings = builder.generate().map_err(|error| {
        format!("bindgen cannot read the headers of nginx {}: {error}", nginx.version)
    })?;
    let missing = seen.missing(surface);
    if !missing.is_empty() {
        return Err(format!(
            "nginx {} does not have what this module uses of it: {}.\n{}",
            nginx.version,
            missing.join(", "),
            check::WHAT_TO_DO
        ));
    }
    for header in seen.headers.borrow().iter() {
        println!("cargo::rerun-if-changed={header}");
    }
    bindings.write_to_file(file).map_err(|error| format!("{}: {error}", file.display()))
}

/// The headers and names that bindgen has found.
#[derive(Clone, Debug, Default)]
struct Seen {
    headers: Rc<RefCell<BTreeSet<String>>>,
    /// Names of items, and [`Record::key`]s.
    names: Rc<RefCell<HashSet<String>>>,
}

impl Seen {
    fn add(&self, name: String) {
        self.names.borrow_mut().insert(name);
    }

    /// The names that the module uses but bindgen has not found.
    fn missing(&self, surface: &Surface) -> Vec<String> {
        let seen = self.names.borrow();
        let items = [&surface.functions, &surface.variables, &surface.numbers, &surface.strings];
        let items = items.into_iter().flatten();
        let items = items.filter(|name| !seen.contains(**name)).map(|name| (*name).to_owned());
        let fields = surface.records.iter().flat_map(|record| {
            record
                .all_fields()
                .filter(|field| !seen.contains(&Record::key(record.name, field)))
                .map(|field| format!("{}.{field}", record.name))
        });
        items.chain(fields).collect()
    }
}

#[derive(Debug)]
struct Callbacks {
    /// The keys of the fields that are public.
    fields: HashSet<String>,
    seen: Seen,
}

impl ParseCallbacks for Callbacks {
    fn include_file(&self, file: &str) {
        self.seen.headers.borrow_mut().insert(file.to_owned());
    }

    fn item_name(&self, item: ItemInfo<'_>) -> Option<String> {
        self.seen.add(item.name.to_owned());
        None
    }

    fn field_visibility(&self, field: FieldInfo<'_>) -> Option<FieldVisibilityKind> {
        let key = Record::key(field.type_name, field.field_name);
        let public = self.fields.contains(&key);
        self.seen.add(key);
        Some(if public { FieldVisibilityKind::Public } else { FieldVisibilityKind::Private })
    }
}
