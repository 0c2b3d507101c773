"""The build refuses an nginx for which its bindings would be wrong (nginx-bindings/build).

Each test runs the build script that made the bindings, over headers that have been altered.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from harness import MODULE, NGINX_VERSION

SOURCE = Path(os.environ.get("NGINX_SOURCE_DIR", "/usr/share/nginx/src"))
BUILD = Path(os.environ.get("NGINX_BUILD_DIR", MODULE.parent.parent / "nginx-objs"))


@pytest.fixture
def headers(tmp_path):
    """A copy of nginx's headers."""
    copy = tmp_path / "nginx"
    for header in SOURCE.rglob("*.h"):
        target = copy / header.relative_to(SOURCE)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(header, target)
    return copy


def build(headers: Path, out: Path, **environment: str) -> tuple[int, str]:
    """Runs the build script; returns its exit code and output."""
    # Cargo keeps build scripts beside the module, or one folder up if a target is given.
    folders = [MODULE.parent, MODULE.parent.parent.parent / "debug"]
    scripts = [
        script
        for folder in folders
        for script in folder.glob("build/nginx-bindings-*/build-script-main")
    ]
    script = max(scripts, key=lambda path: path.stat().st_mtime)
    out.mkdir()
    host = re.search(r"host: (\S+)", subprocess.check_output(["rustc", "-vV"], text=True))[1]
    done = subprocess.run(
        [script],
        cwd=Path(__file__).parent.parent / "nginx-bindings",
        env={
            "PATH": os.environ["PATH"],
            "HOME": os.environ.get("HOME", "/"),
            "OUT_DIR": str(out),
            "HOST": host,
            "TARGET": host,
            "OPT_LEVEL": "0",
            "DEBUG": "false",
            "NGINX_SOURCE_DIR": str(headers),
            "NGINX_BUILD_DIR": str(BUILD),
            **environment,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    return done.returncode, done.stdout


def alter(header: Path, pattern: str, replacement: str) -> None:
    text, count = re.subn(pattern, replacement, header.read_text(), count=1)
    assert count == 1, f"{header} has no {pattern}"
    header.write_text(text)


def test_what_the_compiler_places_elsewhere_is_refused(headers, tmp_path):
    """CFLAGS reach only the C compiler; bindgen sees the structures unchanged."""
    moved = "#ifdef PYWSGI_MOVED\n{}\n#endif\n"
    alter(
        headers / "src/core/ngx_buf.h",
        r"struct ngx_buf_s \{\n",
        r"\g<0>" + moved.format("void *moved;"),
    )
    alter(
        headers / "src/http/ngx_http_request.h",
        r"    unsigned +aio:1;",
        moved.format("unsigned moved:1;") + r"\g<0>",
    )
    code, output = build(headers, tmp_path / "out", CFLAGS="-DPYWSGI_MOVED")
    assert code == 1
    assert "Rust and the C compiler differ in" in output
    assert "size of ngx_buf_t: 80 in Rust, 88 in C" in output
    assert "offset of ngx_buf_t.file_pos: 16 in Rust, 24 in C" in output
    assert "ngx_http_request_t.aio: the bits of this field" in output
    assert "ngx_event_t:" not in output and "ngx_event_t." not in output
    assert "Build for an nginx from 1.22 to 1.31" in output


def test_what_an_nginx_does_not_have_is_named(headers, tmp_path):
    alter(headers / "src/http/ngx_http_request.h", r"(size_t +)limit_rate;", r"\1rate_limit;")
    alter(headers / "src/http/ngx_http.h", r"ngx_http_send_header\(", "ngx_http_send_head(")
    code, output = build(headers, tmp_path / "out")
    assert code == 1
    assert (
        "does not have what this module uses of it: ngx_http_send_header, "
        "ngx_http_request_t.limit_rate.\n" in output
    )
    assert "Build for an nginx from 1.22 to 1.31" in output


def test_an_unknown_nginx_is_built_for_if_its_interface_is_as_known(headers, tmp_path):
    version(headers, 1099000, "1.99.0")
    code, output = build(headers, tmp_path / "out")
    assert "cargo::warning=nginx 1.99.0 is newer than those" in output
    if NGINX_VERSION >= (1, 29):
        assert code == 0, output
    else:
        # These headers lack what newer nginx versions have.
        assert code == 1
        assert "does not have what this module uses of it: ngx_http_send_early_hints, " in output


def test_an_older_nginx_is_refused(headers, tmp_path):
    version(headers, 1021006, "1.21.6")
    code, output = build(headers, tmp_path / "out")
    assert code == 1
    assert "error: nginx 1.21.6 is too old: the module needs 1.22 or later" in output


def version(headers: Path, number: int, text: str) -> None:
    header = headers / "src/core/nginx.h"
    alter(header, r"(#define nginx_version +)\d+", rf"\g<1>{number}")
    alter(header, r'(#define NGINX_VERSION +)"[\d.]+"', rf'\1"{text}"')
