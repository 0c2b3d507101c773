"""Tests of the layer check: what it must find, and what it must leave alone."""

import unittest

from check_layers import LAYERS, faults
from layer_order import Tree, folders_of, order_faults, protocol_faults

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


def disordered(
    order: str, exceptions: tuple[str, ...] = (), sub: str = "", **files: str
) -> list[str]:
    """The faults of a folder `nginx` with these files; `sub` is the order of its folder `sub`."""
    folders = {"nginx": {"order": order.split(), "exceptions": list(exceptions)}}
    if sub:
        folders["nginx/sub"] = {"order": sub.split()}
    return list(order_faults(tree_of(files), folders_of(folders)))


def tree_of(files: dict[str, str]) -> Tree:
    """A file's name is its path below nginx/, with `__` for `/`. Each folder has a mod.rs."""
    rooms = {("nginx", *name.split("__")): source for name, source in files.items()}
    mods = {(*folder, "mod"): "mod a;" for folder in [("nginx",), *(room[:-1] for room in rooms)]}
    return Tree.of({**mods, **rooms})


class Order(unittest.TestCase):
    def test_an_order_that_holds(self) -> None:
        self.assertEqual(disordered("a b", a="", b="use super::a::A;"), [])
        self.assertEqual(disordered("a b", a="", b="fn f() { crate::nginx::a::f() }"), [])

    def test_an_arrow_against_the_order(self) -> None:
        for source in (
            "\nuse super::b;",
            "\nuse crate::nginx::{b::B};",
            "\nfn f() { super::b::f() }",
            "use std::fmt;\nmod inner { use super::super::b; }",
        ):
            (fault,) = disordered("a b", a=source, b="")
            self.assertRegex(fault, r"^src/nginx/a\.rs:2: names src/nginx/b\.rs; b is above a")

    def test_a_circle(self) -> None:
        (fault,) = disordered("a b c", a="use super::c;", b="use super::a;", c="use super::b;")
        files = [f"src/nginx/{name}.rs" for name in "acba"]
        self.assertIn(f"a circle: {' -> '.join(files)}", fault)

    def test_a_circle_through_a_folder(self) -> None:
        faults = disordered(
            "a sub/", sub="x y", a="use super::sub::y;", sub__x="use crate::nginx::a;", sub__y=""
        )
        self.assertEqual(len(faults), 1)
        self.assertIn("a.rs -> src/nginx/sub/y.rs", faults[0])
        self.assertIn("sub/x.rs -> src/nginx/a.rs", faults[0])

    def test_the_order_of_a_sub_folder(self) -> None:
        (fault,) = disordered("sub/", sub="x y", sub__x="use super::y;", sub__y="")
        self.assertIn("y is above x in the order of src/nginx/sub", fault)

    def test_an_unlisted_file(self) -> None:
        (fault,) = disordered("a", a="", b="")
        self.assertIn('"b" is missing from the order of src/nginx', fault)
        faults = disordered("a", a="", sub__x="")
        self.assertEqual(len(faults), 2)

    def test_an_entry_without_a_file(self) -> None:
        (fault,) = disordered("a b", a="")
        self.assertIn('src/nginx has no "b"', fault)

    def test_an_entry_twice(self) -> None:
        (fault,) = disordered("a a", a="")
        self.assertIn('"a" twice', fault)

    def test_a_mod_that_only_declares_is_no_file(self) -> None:
        declaring = "//! Purpose.\n#![forbid(unsafe_code)]\npub(crate) mod a;\nuse a::A;"
        self.assertEqual(disordered("a", mod=declaring, a=""), [])
        (fault,) = disordered("a", mod="mod a;\nfn f() {}", a="")
        self.assertIn('"mod" is missing', fault)

    def test_what_a_mod_re_exports_is_where_it_comes_from(self) -> None:
        files = {"mod": "mod a; mod b;\npub(crate) use b::B as C;", "a": "use super::C;", "b": ""}
        (fault,) = disordered("a b", **files)
        self.assertIn("names src/nginx/b.rs", fault)
        self.assertEqual(disordered("b a", **files), [])

    def test_what_a_file_has_imported_leads_on(self) -> None:
        files = {
            "sub__mod": "mod x; mod y;",
            "sub__x": "use super::super::sub;\nfn f() { sub::y::f() }",
        }
        (fault,) = disordered("sub/", sub="x y", sub__y="", **files)
        self.assertIn("names src/nginx/sub/y.rs", fault)

    def test_tests_do_not_count(self) -> None:
        self.assertEqual(disordered("a b", a="#[cfg(test)]\nmod t { use super::b; }", b=""), [])
        self.assertEqual(disordered("a b", a="#[cfg(all(test, loom))]\nuse super::b;", b=""), [])
        self.assertEqual(disordered("a", a="#[cfg(test)]\nmod t;", a__t="use super::x;"), [])
        (fault,) = disordered("a b", a="#[cfg(not(test))]\nmod t { use super::super::b; }", b="")
        self.assertIn("names src/nginx/b.rs", fault)

    def test_comments_and_visibilities_do_not_count(self) -> None:
        self.assertEqual(disordered("a b", a="/// [`super::b::B`]\nfn f() {}", b=""), [])
        self.assertEqual(
            disordered("a mod", mod="fn f() {}", a="pub(in crate::nginx) fn f() {}"), []
        )

    def test_exceptions_only_shrink(self) -> None:
        files = {"a": "use super::b;", "b": ""}
        self.assertEqual(disordered("a b", ("a -> b",), **files), [])
        (fault,) = disordered("b a", ("a -> b",), **files)
        self.assertIn('no longer needs the exception "a -> b"', fault)
        (fault,) = disordered("a b", ("a -> b", "b -> a"), **files)
        self.assertIn('no longer needs the exception "b -> a"', fault)


class Protocols(unittest.TestCase):
    def found(self, source: str, places: str = "", exceptions: str = "") -> list[str]:
        table = {
            "names": ["wsgi", "asgi"],
            "places": places.split(),
            "exceptions": exceptions.split(),
        }
        return list(protocol_faults(tree_of({"a": source}), table))

    def test_a_protocol_in_code(self) -> None:
        for source in ("use crate::http::wsgi;", "fn wsgi_app() {}", "enum P { Asgi(AsgiConfig) }"):
            (fault,) = self.found(f"\n{source}")
            self.assertTrue(fault.startswith("src/nginx/a.rs:2: "), fault)

    def test_what_names_none(self) -> None:
        for source in ('"wsgi"', "// wsgi", "mod wsgi;", "pywsgi::f(NGX_UWSGI, Pywsgi)", "asgiref"):
            self.assertEqual(self.found(source), [])

    def test_places_and_exceptions(self) -> None:
        for place in ("nginx", "nginx/a"):
            self.assertEqual(self.found("wsgi", places=place), [])
            self.assertEqual(self.found("wsgi", exceptions=place), [])
        (fault,) = self.found("fn f() {}", exceptions="nginx/a")
        self.assertIn('"nginx/a" names no protocol', fault)


if __name__ == "__main__":
    unittest.main()
