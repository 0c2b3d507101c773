"""An extension module uses the libraries that it brings, not nginx's of the same name."""

from __future__ import annotations

import subprocess
import sysconfig
from pathlib import Path

import pytest
from harness import NGINX, VENV

IMAGE_FILTER = Path("/usr/lib/nginx/modules/ngx_http_image_filter_module.so")

# nginx is linked with zlib.
LIBRARY = """
    const char *zlibVersion(void) { return "own"; }
"""
MODULE = """
    #include <Python.h>
    #include <stdlib.h>
    #include <string.h>

    const char *zlibVersion(void);
    extern char **environ;

    static PyObject *version(PyObject *self, PyObject *args)
    {
        char *copy = strdup(zlibVersion());
        PyObject *text = PyUnicode_FromFormat("%s %s", copy, environ ? "environ" : "NULL");
        free(copy);
        return text;
    }
    static PyMethodDef methods[] = {{"version", version, METH_NOARGS, ""}, {0}};
    static PyModuleDef module = {PyModuleDef_HEAD_INIT, "bundled", 0, -1, methods};
    PyMODINIT_FUNC PyInit_bundled(void) { return PyModule_Create(&module); }
"""
SOURCE = """
    import bundled

    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [bundled.version().encode()]
"""


def compile_module(nginx) -> None:
    """Compiles an extension module and a library beside it that it links to, as in a wheel."""
    nginx.app("own.c", LIBRARY)
    nginx.app("bundled.c", MODULE)
    include = sysconfig.get_path("include")
    for command in (
        "gcc -shared -fPIC own.c -o libown.so",
        f"gcc -shared -fPIC -I{include} bundled.c -o bundled.so -L. -lown -Wl,-rpath,$ORIGIN",
    ):
        subprocess.run(command.split(), cwd=nginx.apps, check=True, timeout=60)
    for file in nginx.apps.glob("*.so"):
        file.chmod(0o755)


def skip_without_deep_binding(nginx) -> None:
    for line in nginx.log_lines("may get libraries of nginx"):
        pytest.skip(line.partition(": this")[2])


def test_its_own_library(nginx):
    compile_module(nginx)
    nginx.start(f"wsgi_app {nginx.app('app', SOURCE)};", http=f"python_path {nginx.apps};")
    answer = nginx.client().get("/").text
    skip_without_deep_binding(nginx)
    assert answer == "own environ"


@pytest.mark.unsanitized("malloc is its own, and must come first")
def test_another_malloc(nginx, monkeypatch):
    """With another malloc, such as jemalloc, the C library must not free what strdup() gave. So
    the search order is left as it is, and the log says so."""
    compile_module(nginx)
    source = """
        #include <stddef.h>
        void *__libc_malloc(size_t size);
        void *malloc(size_t size) { return __libc_malloc(size); }
    """
    path, preloaded = nginx.app("malloc.c", source), nginx.apps / "malloc.so"
    command = ["gcc", "-shared", "-fPIC", str(path), "-o", str(preloaded)]
    subprocess.run(command, check=True, timeout=60)
    monkeypatch.setenv("LD_PRELOAD", str(preloaded))
    nginx.start(f"wsgi_app {nginx.app('app', SOURCE)};", http=f"python_path {nginx.apps};")
    assert nginx.client().get("/").text.endswith(" environ")
    nginx.wait_log("this process has another malloc than the C library's")


@pytest.mark.skipif(
    NGINX != "/usr/sbin/nginx" or not IMAGE_FILTER.exists(),
    reason="no libnginx-mod-http-image-filter for this nginx",
)
@pytest.mark.unsanitized("malloc is its own, and must come first")
def test_pillow_beside_image_filter(nginx):
    """libgd brings another libavif, libtiff, freetype, …"""
    pillow = pytest.importorskip("PIL", reason="no wheel of Pillow")
    path = nginx.app(
        "app",
        """
        import io
        from PIL import Image, features

        def application(environ, start_response):
            file = io.BytesIO()
            Image.new("RGB", (64, 64), "red").save(file, "AVIF")
            names = ("avif", "freetype2", "libtiff", "webp")
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [" ".join(features.version(name) for name in names).encode()]
        """,
    )
    configuration = {"main": f"load_module {IMAGE_FILTER};"}
    checked = nginx.check(f"wsgi_app {path};", **configuration)
    if "is not binary compatible" in checked.stderr:
        pytest.skip("the image_filter module is of another nginx")
    code = (
        "from PIL import features;"
        "print(*map(features.version, ('avif', 'freetype2', 'libtiff', 'webp')))"
    )
    python = VENV / "bin" / "python3"
    expected = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    nginx.start()
    answer = nginx.client().get("/").text
    skip_without_deep_binding(nginx)
    assert answer == expected.stdout.strip(), pillow.__version__
