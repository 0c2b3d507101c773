"""python_path: directories in front of sys.path."""

from __future__ import annotations

from directives.venv import IMPORT


def test_folders_stand_in_front_in_their_order(nginx):
    nginx.app("one/word.py", "")
    nginx.app("two/word.py", "")
    # Names of a package of the venv and of a module of the standard library.
    nginx.app("two/falcon.py", "")
    nginx.app("two/colorsys.py", "")
    for module in ["word", "falcon", "colorsys"]:
        nginx.app(f"use_{module}", IMPORT.format(module=module))
    nginx.start(
        http=f"python_path {nginx.apps}/one {nginx.apps}/two;",
        server="".join(
            f"location /{module} {{ wsgi_app {nginx.apps}/use_{module}.py; }}\n"
            for module in ["word", "falcon", "colorsys"]
        ),
    )
    client = nginx.client()
    assert client.get("/word").text == f"{nginx.apps}/one/word.py"
    assert client.get("/falcon").text == f"{nginx.apps}/two/falcon.py"
    assert client.get("/colorsys").text == f"{nginx.apps}/two/colorsys.py"


def test_pth_files_work(nginx):
    nginx.app("hidden/inside.py", "")
    (nginx.app("site/empty.py", "").parent / "more.pth").write_text(f"{nginx.apps}/hidden\n")
    path = nginx.app("wsgi", IMPORT.format(module="inside"))
    nginx.start(f"wsgi_app {path};", http=f"python_path {nginx.apps}/site;")
    assert nginx.client().get("/").text == f"{nginx.apps}/hidden/inside.py"


def test_a_target_by_its_module_s_name(nginx, ask):
    nginx.start("wsgi_app ask:application;", http=f"python_path {nginx.apps};")
    assert str(nginx.apps) in nginx.client().get("/").json()["path"]


def test_a_missing_folder(nginx, refuses_a_missing_path):
    refuses_a_missing_path("python_path", nginx.apps)


def test_a_file_is_no_folder(refused, ask):
    refused("python_path", str(ask), "director", http=f"python_path {ask};")
