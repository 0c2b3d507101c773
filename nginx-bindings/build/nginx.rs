//! The place of nginx's headers, and the flags that they are compiled with.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

/// An nginx that has been configured.
pub(crate) struct Nginx {
    /// `NGINX_VERSION`: 1.30.4
    pub(crate) version: String,
    /// `nginx_version`: 1030004
    pub(crate) number: u32,
    pub(crate) includes: Vec<PathBuf>,
    /// The `-D` flags of its Makefile.
    pub(crate) defines: Vec<String>,
}

impl Nginx {
    /// The nginx that NGINX_SOURCE_DIR and NGINX_BUILD_DIR name. The second defaults to `objs` in the first.
    pub(crate) fn from_env() -> Result<Self, String> {
        let source = directory("NGINX_SOURCE_DIR").ok_or_else(|| {
            "NGINX_SOURCE_DIR is not set: build with make, or set it to nginx's sources or headers".to_owned()
        })?;
        let build = directory("NGINX_BUILD_DIR").unwrap_or_else(|| source.join("objs"));
        let header = read(&source.join("src/core/nginx.h"), "is NGINX_SOURCE_DIR right?")?;
        let makefile = read(&build.join("Makefile"), "configure nginx, or set NGINX_BUILD_DIR")?;
        let version =
            define(&header, "NGINX_VERSION").map(|word| word.trim_matches('"').to_owned());
        let number = define(&header, "nginx_version").and_then(|word| word.parse().ok());
        let (Some(version), Some(number)) = (version, number) else {
            return Err(format!("{}/src/core/nginx.h says no version", source.display()));
        };
        let (includes, defines) = flags(&makefile);
        let includes = includes.iter().map(|path| source.join(path)).collect();
        Ok(Self { version, number, includes, defines })
    }

    pub(crate) fn compiler_arguments(&self) -> Vec<String> {
        let includes = self.includes.iter().map(|path| format!("-I{}", path.display()));
        includes.chain(self.defines.iter().map(|define| format!("-D{define}"))).collect()
    }
}

fn directory(variable: &str) -> Option<PathBuf> {
    println!("cargo::rerun-if-env-changed={variable}");
    env::var_os(variable).filter(|path| !path.is_empty()).map(PathBuf::from)
}

fn read(file: &Path, advice: &str) -> Result<String, String> {
    println!("cargo::rerun-if-changed={}", file.display());
    fs::read_to_string(file).map_err(|error| format!("{}: {error}; {advice}", file.display()))
}

/// The value of a `#define` on one line.
fn define<'a>(header: &'a str, name: &str) -> Option<&'a str> {
    header.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some("#define") && words.next() == Some(name)).then(|| words.next())?
    })
}

/// The values of `-I` and `-D` in nginx's Makefile, in its variables ALL_INCS and CFLAGS.
fn flags(makefile: &str) -> (Vec<String>, Vec<String>) {
    let (mut includes, mut defines) = (Vec::new(), Vec::new());
    for line in makefile.replace("\\\n", " ").lines() {
        let Some(value) = ["CFLAGS", "ALL_INCS"]
            .iter()
            .find_map(|name| line.strip_prefix(name)?.trim_start().strip_prefix('='))
        else {
            continue;
        };
        let mut words = shlex::Shlex::new(value);
        while let Some(word) = words.next() {
            for (option, values) in [("-I", &mut includes), ("-D", &mut defines)] {
                match word.strip_prefix(option) {
                    Some("") => values.extend(words.next()),
                    Some(value) => values.push(value.to_owned()),
                    None => {}
                }
            }
        }
    }
    (includes, defines)
}
