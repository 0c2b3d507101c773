"""Tests of the layer check: what it must find, and what it must leave alone."""

import unittest

from check_layers import LAYERS, faults

CRATES = frozenset({"bytes", "loom", "nginx_sys", "pyo3", "rustix", "thiserror"})


def found(layer: str, source: str) -> list[int]:
    """The lines of the faults in `source`, as a file of that folder."""
    return [line for line, _ in faults(source, layer, LAYERS[layer], CRATES)]


class Faults(unittest.TestCase):
    def test_crates(self) -> None:
        self.assertEqual(found("http", "use bytes::Bytes;"), [1])
        self.assertEqual(found("bridge", "use pyo3::Python;"), [1])
        self.assertEqual(found("nginx", "fn f() {}\nfn g() { pyo3::ffi::f() }"), [2])
        self.assertEqual(found("python", "use ::nginx_sys as n;"), [1])
        self.assertEqual(found("python", "extern crate nginx_sys;"), [1])
        self.assertEqual(found("python", "fn f(r: *mut nginx_sys::ngx_str_t) {}"), [1])

    def test_layers(self) -> None:
        self.assertEqual(found("nginx", "use crate::python;"), [1])
        self.assertEqual(found("python", "use crate::{\n http::head, nginx::log};"), [1])
        self.assertEqual(found("bridge", "use super::super::nginx::log;"), [1])
        self.assertEqual(found("http", "fn f() { crate::bridge::f() }"), [1])
        self.assertEqual(found("nginx", "use crate::*;"), [1])

    def test_unsafe(self) -> None:
        self.assertEqual(found("http", "\n\nunsafe fn f() {}"), [3])
        self.assertEqual(found("bridge", "#![forbid(unsafe_code)]"), [])
        self.assertEqual(found("nginx", "unsafe fn f() {}"), [])

    def test_after_strings_and_characters(self) -> None:
        self.assertEqual(found("http", "const A: char = '\"';\nuse pyo3::ffi;"), [2])
        self.assertEqual(found("http", 'const A: &str = r#"""#;\nuse pyo3::ffi;'), [2])
        self.assertEqual(found("http", "fn f<'a>(b: &'a u8) {}\nuse pyo3::ffi;"), [2])


class NoFaults(unittest.TestCase):
    def test_what_a_folder_may_name(self) -> None:
        self.assertEqual(found("http", "use std::fmt;\nuse thiserror::Error;"), [])
        self.assertEqual(found("bridge", "use crate::http::head::Head;\nuse loom::sync::Arc;"), [])
        self.assertEqual(found("nginx", "use crate::{bridge::{self, wake}, http};"), [])
        self.assertEqual(found("python", "use super::app;\nuse pyo3::ffi;"), [])

    def test_what_is_not_code(self) -> None:
        self.assertEqual(found("http", "// pyo3::ffi, unsafe\n/* use pyo3::ffi; */"), [])
        self.assertEqual(found("http", 'const A: &str = "unsafe \\" pyo3::ffi";'), [])
        self.assertEqual(found("http", 'const A: &[u8] = br##"pyo3::"# unsafe"##;'), [])


if __name__ == "__main__":
    unittest.main()
