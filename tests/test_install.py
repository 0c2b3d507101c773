"""`make install` and `make uninstall` after a build, run by root, who has no Rust."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from harness import NGINX, PROJECT

MODULE = "ngx_http_pywsgi_module.so"


@pytest.fixture
def make(tmp_path):
    """`make("install")` runs make with a DESTDIR, and without cargo on the PATH."""
    (tmp_path / "home").mkdir()

    def run(target: str, *variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["make", "-s", target, f"DESTDIR={tmp_path / 'root'}", f"NGINX={NGINX}", *variables],
            cwd=PROJECT,
            env={
                "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
                "HOME": str(tmp_path / "home"),
                "CARGO": str(tmp_path / "no-cargo"),
                "CARGO_TARGET_DIR": str(tmp_path / "target"),
            },
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run


@pytest.fixture
def built(tmp_path):
    """A module as `make module` leaves it; its content does not matter here."""
    path = tmp_path / "target" / "release" / MODULE
    path.parent.mkdir(parents=True)
    path.write_bytes(b"\x7fELF and so on")
    return path


def installed(tmp_path) -> list[str]:
    """The files below DESTDIR."""
    root = tmp_path / "root"
    return sorted(
        str(path.relative_to(root))
        for path in root.rglob("*")
        if path.is_symlink() or not path.is_dir()
    )


def find(tmp_path, name: str) -> Path:
    """The one installed file of that name."""
    (path,) = (path for path in installed(tmp_path) if os.path.basename(path) == name)
    return tmp_path / "root" / path


def test_install_needs_no_cargo(tmp_path, make, built):
    done = make("install")
    assert done.returncode == 0, done.stderr
    assert len(installed(tmp_path)) == 2
    conf, module = (find(tmp_path, name) for name in ("mod-http-pywsgi.conf", MODULE))
    assert module.read_bytes() == built.read_bytes()
    assert (module.stat().st_mode & 0o777, conf.stat().st_mode & 0o777) == (0o644, 0o644)
    directive, path = conf.read_text().rstrip(";\n").split()
    assert (directive, os.path.basename(path)) == ("load_module", MODULE)
    assert str(module) in done.stdout and str(conf) in done.stdout


def test_install_replaces_the_file_and_does_not_write_into_it(tmp_path, make, built):
    """A running nginx has the old file mapped, and would execute what is written into it."""
    assert make("install").returncode == 0
    module = find(tmp_path, MODULE)
    with open(module, "rb") as mapped:
        built.write_bytes(b"\x7fELF, another")
        assert make("install").returncode == 0
        assert mapped.read() == b"\x7fELF and so on"
    assert module.read_bytes() == b"\x7fELF, another"


def test_install_before_anything_was_built_says_what_to_do(tmp_path, make):
    done = make("install")
    assert done.returncode != 0
    assert "make module" in done.stderr
    assert str(tmp_path / "target" / "release" / MODULE) in done.stderr
    assert installed(tmp_path) == []


def test_install_says_that_the_sources_are_newer(make, built):
    os.utime(built, (0, 0))
    done = make("install")
    assert done.returncode == 0
    assert "newer" in done.stderr and "make module" in done.stderr
    os.utime(built)
    assert make("install").stderr == ""


def test_uninstall_removes_what_install_has_installed(tmp_path, make, built):
    assert make("install").returncode == 0
    conf = find(tmp_path, "mod-http-pywsgi.conf").relative_to(tmp_path / "root")
    # The link that `make install` tells to make, and those of others.
    enabled = tmp_path / "root" / "etc" / "nginx" / "modules-enabled"
    enabled.mkdir(parents=True)
    (enabled / "50-mod-http-pywsgi.conf").symlink_to(f"/{conf}")
    (enabled / "50-mod-other.conf").symlink_to("/usr/share/nginx/modules-available/other.conf")
    done = make("uninstall")
    assert done.returncode == 0, done.stderr
    assert installed(tmp_path) == ["etc/nginx/modules-enabled/50-mod-other.conf"]


def test_uninstall_leaves_a_link_that_is_not_ours(tmp_path, make, built):
    assert make("install").returncode == 0
    enabled = tmp_path / "root" / "etc" / "nginx" / "modules-enabled"
    enabled.mkdir(parents=True)
    (enabled / "50-mod-http-pywsgi.conf").symlink_to("/srv/ours/pywsgi.conf")
    assert make("uninstall").returncode == 0
    assert installed(tmp_path) == ["etc/nginx/modules-enabled/50-mod-http-pywsgi.conf"]


def test_uninstall_without_an_install(tmp_path, make):
    done = make("uninstall")
    assert done.returncode == 0
    assert "nothing" in done.stdout
    assert installed(tmp_path) == []
