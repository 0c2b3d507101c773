"""What is found out of nginx and its module, without running them."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import pytest

from pywsgi.command import doctor
from pywsgi.command.doctor import closed_folder, findings
from pywsgi.command.finding import (
    Nginx,
    find_module,
    find_nginx,
    needed_libraries,
    python_version,
)
from pywsgi.command.options import Options, UsageError

ABOUT = (
    "nginx version: nginx/1.26.3\nconfigure arguments: --prefix=/etc/nginx"
    " --modules-path=/usr/lib/nginx/modules --conf-path=/etc/nginx/nginx.conf"
    " --with-http_v2_module --with-stream=dynamic\n"
)


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def options(**values: str | None) -> Options:
    return Options(**{"nginx": None, "module": None, "venv": None, "chdir": None, **values})


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PYWSGI_NGINX", "PYWSGI_MODULE"):
        monkeypatch.delenv(name, raising=False)


def test_what_nginx_says_of_itself() -> None:
    nginx = Nginx(Path("/usr/sbin/nginx"), ABOUT, "system")
    assert (nginx.version, nginx.version_text) == ((1, 26, 3), "1.26.3")
    assert nginx.configured("modules-path") == "/usr/lib/nginx/modules"
    assert nginx.configured("sbin-path") == ""
    assert nginx.has("http_v2_module")
    assert not nginx.has("http_v3_module")
    # As a module of its own it may not be loaded.
    assert not nginx.has("stream")


def test_the_order_for_nginx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = script(tmp_path / "named", "echo nginx/1.1.1 >&2")
    other = script(tmp_path / "other", "echo nginx/2.2.2 >&2")
    on_path = script(tmp_path / "nginx", "echo nginx/3.3.3 >&2")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_nginx(options())[0::2] == (on_path, "system")
    monkeypatch.setenv("PYWSGI_NGINX", str(other))
    assert find_nginx(options())[0::2] == (other, "environment")
    assert find_nginx(options(nginx=str(named)))[0::2] == (named, "option")
    with pytest.raises(UsageError, match=r"--nginx: .* is no nginx that can be run"):
        find_nginx(options(nginx=str(script(tmp_path / "no", "exit 1"))))


def test_the_wheels_nginx_has_a_module_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = tmp_path / "site"
    wheel.mkdir()
    nginx = script(tmp_path / "wheels-nginx", "echo nginx/1.30.0 >&2")
    module = tmp_path / "wheels.so"
    module.touch()
    (wheel / "pywsgi_nginx.py").write_text(
        "from pathlib import Path\n"
        f"def executable(): return Path({str(nginx)!r})\n"
        f"def module(): return Path({str(module)!r})\n"
    )
    monkeypatch.syspath_prepend(str(wheel))
    try:
        found = find_nginx(options())
        assert found[0::2] == (nginx, "pywsgi-nginx")
        assert find_module(options(), found) == module
        # It is linked with no libpython.
        assert python_version(module) == sys.version_info[:2]
        own = tmp_path / "own.so"
        own.touch()
        assert find_module(options(module=str(own)), found) == own
        # Another nginx cannot load it.
        other = Nginx(nginx, f"nginx/1.30.0 --modules-path={tmp_path}/none", "option")
        monkeypatch.setattr("pywsgi.command.finding.MODULE", "no-such-module.so")
        with pytest.raises(UsageError, match=r"there is no no-such-module.so .*/none"):
            find_module(options(), other)
    finally:
        sys.modules.pop("pywsgi_nginx", None)


def test_the_libraries_of_an_elf_file(tmp_path: Path) -> None:
    assert any(name.startswith("libc.so") for name in needed_libraries(Path("/bin/sh")))
    text = tmp_path / "text.so"
    text.write_text("no ELF")
    assert needed_libraries(text) == []
    cut = tmp_path / "cut.so"
    cut.write_bytes(Path("/bin/sh").read_bytes()[:100])
    assert needed_libraries(cut) == []
    assert needed_libraries(tmp_path / "missing.so") == []


def test_the_python_of_a_module(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, version in (("libpython3.11.so.1.0", (3, 11)), ("libpython3.14t.so.1.0", (3, 14))):
        monkeypatch.setattr(
            "pywsgi.command.finding.needed_libraries", lambda _, name=name: ["libc.so.6", name]
        )
        assert python_version(Path("a.so")) == version
    monkeypatch.setattr("pywsgi.command.finding.needed_libraries", lambda _: ["libc.so.6"])
    assert python_version(Path("a.so")) is None


@pytest.mark.parametrize(
    ("said", "text", "cure"),
    [
        (
            'module "/m.so" version 1022001 instead of 1026003 in /nginx.conf:1',
            "is built for nginx 1.22.1, and this is 1.26.3",
            "install the module of this nginx's package",
        ),
        (
            'module "/m.so" is not binary compatible in /nginx.conf:1',
            "has another ABI signature than /nginx",
            "--with-compat",
        ),
        (
            'dlopen() "/m.so" failed (libpython3.13.so.1.0: cannot open shared object file: No such'
            " file or directory)",
            "needs libpython3.13.so.1.0, which is missing",
            "apt install libpython3.13",
        ),
        (
            'dlopen() "/m.so" failed (libffi.so.8: cannot open shared object file)',
            "needs libffi.so.8",
            "install the library libffi.so.8",
        ),
        ('dlopen() "/m.so" failed (/m.so: Permission denied)', "cannot be read", "chmod a+r /m.so"),
        (
            "nginx -t ends with 1: pywsgi-nginx: /python3 has no shared library libpython3.12.so,"
            " which nginx's module needs: pyenv install 3.12",
            "/python3 has no shared library libpython3.12.so, which nginx's module needs",
            "pyenv install 3.12",
        ),
        ("something else", "cannot be loaded: something else", "install it again"),
    ],
)
def test_why_a_module_is_not_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, text: str, cure: str
) -> None:
    monkeypatch.setattr(doctor, "_test", lambda *_: said)
    found = list(doctor._of_module(Nginx(Path("/nginx"), ABOUT, "x"), Path("/m.so"), tmp_path))[-1]
    assert (found.level, found.subject) == ("error", "module")
    assert text in found.text
    assert cure in found.cure


def test_a_missing_nginx_is_a_finding(tmp_path: Path) -> None:
    found = list(findings(options(nginx="/no/nginx", venv=str(tmp_path))))
    assert [(each.level, each.subject) for each in found] == [
        ("ok", "pywsgi"),
        ("error", "Python"),
        ("error", "nginx"),
    ]
    assert found[1].cure == f"python3 -m venv {tmp_path}"


def test_a_folder_that_others_cannot_enter(tmp_path: Path) -> None:
    import pwd

    nobody = pwd.getpwnam("nobody")
    place = tmp_path / "home" / "app"
    place.mkdir(parents=True)
    for folder in (place, *place.parents):
        if Path(tempfile.gettempdir()) in folder.parents:
            folder.chmod(0o755)
    assert closed_folder(place, nobody) is None
    (tmp_path / "home").chmod(0o700)
    assert closed_folder(place, nobody) == tmp_path / "home"
    assert closed_folder(tmp_path / "missing", nobody) == tmp_path / "missing"
    assert closed_folder(place, pwd.getpwuid(0)) is None


def test_what_the_doctor_is_told_wrongly(tmp_path: Path) -> None:
    no_nginx = script(tmp_path / "no", "exit 1")
    *_, last = findings(options(nginx=str(no_nginx)))
    assert last[1:] == ("nginx", f"--nginx: {no_nginx} is no nginx that can be run", "")
