"""What CPython itself is configured with, and what becomes of its environment variables."""

from __future__ import annotations

import pytest

SETTINGS = """
    import gc
    import json
    import sys
    import warnings

    assert_ran = False

    def documented():
        "A docstring."

    try:
        assert False
    except AssertionError:
        assert_ran = True

    def application(environ, start_response):
        word = environ["QUERY_STRING"]
        text = json.dumps(
            {
                "assert": assert_ran,
                "doc": documented.__doc__,
                "optimize": sys.flags.optimize,
                "debug": __debug__,
                "dont_write_bytecode": sys.dont_write_bytecode,
                "hash": hash("a string"),
                "hash_randomization": sys.flags.hash_randomization,
                "warnings": sys.warnoptions,
                "xoptions": sys._xoptions,
                "dev_mode": sys.flags.dev_mode,
                "pycache_prefix": sys.pycache_prefix,
                "int_max_str_digits": sys.get_int_max_str_digits(),
                "switch_interval": sys.getswitchinterval(),
                "frozen": gc.get_freeze_count(),
                "faulthandler": __import__("faulthandler").is_enabled(),
                "tracemalloc": __import__("tracemalloc").get_traceback_limit()
                if __import__("tracemalloc").is_tracing()
                else 0,
            }
        )
        if word:
            warnings.warn("shown", globals()["__builtins__"][word])
        start_response("200 OK", [("Content-Type", "application/json")])
        return [text.encode()]
"""


@pytest.fixture
def settings(nginx):
    """`settings("python_optimize 1;")`: the settings that an application then sees."""

    def start(http: str = "") -> dict:
        nginx.start(f"wsgi_app {nginx.app('app', SETTINGS)};", http=http)
        return nginx.client().get("/").json()

    return start


def test_defaults(settings):
    seen = settings()
    assert (seen["optimize"], seen["assert"], seen["debug"]) == (0, True, True)
    assert seen["doc"] == "A docstring."
    assert seen["dont_write_bytecode"] is False
    assert seen["hash_randomization"] == 1
    assert (seen["warnings"], seen["xoptions"]) == ([], {})
    assert not seen["dev_mode"]
    assert seen["switch_interval"] == pytest.approx(0.005)
    assert seen["frozen"] == 0


# python_optimize


@pytest.mark.parametrize(
    ("http", "level"),
    [
        ("python_optimize 0;", 0),
        ("python_optimize 1;", 1),
        ("python_optimize 2;", 2),
        ("python_env PYTHONOPTIMIZE=1;", 1),
        ("python_optimize 2; python_env PYTHONOPTIMIZE=1;", 2),
        ("python_optimize 0; python_env PYTHONOPTIMIZE=2;", 2),
    ],
)
def test_python_optimize(settings, http, level):
    seen = settings(http)
    assert seen["optimize"] == level
    assert seen["assert"] == seen["debug"] == (level == 0)
    assert seen["doc"] == (None if level == 2 else "A docstring.")


@pytest.mark.parametrize("value", ["3", "-1", "on", "''", "1.0"])
def test_python_optimize_refuses(refused, value):
    shown = value.strip("'")
    refused("python_optimize", f'has "{shown}"; .* 0, 1 .* 2', http=f"python_optimize {value};")


# python_dont_write_bytecode


@pytest.mark.parametrize(
    ("http", "is_on"),
    [
        ("python_dont_write_bytecode on;", True),
        ("python_dont_write_bytecode off;", False),
        ("python_env PYTHONDONTWRITEBYTECODE=1;", True),
        ("python_dont_write_bytecode off; python_env PYTHONDONTWRITEBYTECODE=1;", True),
        ("python_dont_write_bytecode on; python_env PYTHONDONTWRITEBYTECODE=;", True),
    ],
)
def test_python_dont_write_bytecode(nginx, settings, http, is_on):
    # The workers' user may write there.
    (nginx.data / "beside.py").write_text("")
    (nginx.data / "uses.py").write_text("import beside\n")
    seen = settings(f"{http} python_path {nginx.data}; python_import uses;")
    assert seen["dont_write_bytecode"] is is_on
    nginx.wait_log('python_import "uses" imported')
    assert (nginx.data / "__pycache__").exists() is not is_on


# python_hash_seed


def test_python_hash_seed(nginx, settings):
    seen = settings("python_hash_seed 42; python_env PYTHONHASHSEED=7;")
    nginx.reload()
    assert nginx.client().get("/").json()["hash"] == seen["hash"]
    nginx.write_config(f"wsgi_app {nginx.apps}/app.py;", http="python_env PYTHONHASHSEED=42;")
    nginx.reload()
    assert nginx.client().get("/").json()["hash"] == seen["hash"], "the same as that variable"
    nginx.write_config(f"wsgi_app {nginx.apps}/app.py;", http="python_hash_seed 43;")
    nginx.reload()
    assert nginx.client().get("/").json()["hash"] != seen["hash"]


def test_a_seed_of_zero_is_none(settings):
    assert settings("python_hash_seed 0;")["hash_randomization"] == 0


def test_a_random_seed(nginx, settings):
    seen = settings("python_hash_seed random; python_env PYTHONHASHSEED=7;")
    assert seen["hash_randomization"] == 1
    nginx.reload()
    assert nginx.client().get("/").json()["hash"] != seen["hash"]


@pytest.mark.parametrize("value", ["Random", "-1", "+1", "4294967296", "1.5", "''", "0x1"])
def test_python_hash_seed_refuses(refused, value):
    words = ["must be random, or a number from 0 to 4294967295"]
    refused("python_hash_seed", *words, http=f"python_hash_seed {value};")


# python_warnings


def test_python_warnings(nginx, settings):
    seen = settings(
        "python_env PYTHONWARNINGS=error::UserWarning,ignore::ResourceWarning;\n"
        'python_warnings ignore "default:shown:UserWarning";\n'
        "python_warnings error::FutureWarning;"
    )
    assert seen["warnings"] == [
        "error::UserWarning",
        "ignore::ResourceWarning",
        "ignore",
        "default:shown:UserWarning",
        "error::FutureWarning",
    ]
    client = nginx.client()
    # The last one that matches applies.
    assert client.get("/?UserWarning").status_code == 200
    assert "[warn]" in nginx.wait_log("UserWarning: shown")
    assert client.get("/?RuntimeWarning").status_code == 200
    assert client.get("/?FutureWarning").status_code == 500
    assert nginx.log_lines("RuntimeWarning: shown") == []
    assert nginx.log_lines("Invalid -W option") == []


def test_a_category_of_a_module_of_pythons_own(nginx, settings):
    settings("python_warnings error::json.JSONDecodeError;")
    # Python itself says what only an import can show: it is no category.
    nginx.wait_log("Invalid -W option ignored")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("loud", 'unknown action "loud"; write default, error, ignore'),
        ("''", 'unknown action ""'),
        ("ignore::DepreciationWarning", "unknown category .*; write one of .*DeprecationWarning"),
        ("default ignore::::x", 'has the line "x"; it must be a number'),
        ("ignore:a:UserWarning:b:1:c", "more than five fields"),
        ("error::UserWarning,ignore", 'unknown category "UserWarning,ignore"'),
    ],
)
def test_python_warnings_refuses(refused, value, words):
    refused("python_warnings", words, http=f"python_warnings {value};")


# python_xoption


def test_python_xoption(nginx, settings):
    seen = settings(f"""
        python_env PYTHONTRACEMALLOC=1 PYTHONPYCACHEPREFIX=/nonexistent;
        python_xoption tracemalloc=2 int_max_str_digits=700 own "two words=a=b";
        python_xoption pycache_prefix={nginx.data} no_debug_ranges own;
    """)
    assert seen["tracemalloc"] == 2
    assert seen["int_max_str_digits"] == 700
    assert seen["pycache_prefix"] == str(nginx.data)
    assert seen["xoptions"] == {
        "tracemalloc": "2",
        "int_max_str_digits": "700",
        "own": True,
        "two words": "a=b",
        "pycache_prefix": str(nginx.data),
        "no_debug_ranges": True,
    }
    assert not seen["faulthandler"]


@pytest.mark.parametrize(
    "http", ["python_xoption faulthandler;", "python_env PYTHONFAULTHANDLER=1;"]
)
def test_faulthandler(settings, http):
    assert settings(http)["faulthandler"]


@pytest.mark.parametrize("http", ["python_xoption dev;", "python_env PYTHONDEVMODE=1;"])
def test_the_development_mode(nginx, settings, http):
    seen = settings(http)
    assert seen["dev_mode"]
    assert seen["faulthandler"]
    assert seen["warnings"] == ["default"]
    assert nginx.client().get("/?DeprecationWarning").status_code == 200
    nginx.wait_log("DeprecationWarning: shown")


def test_the_development_mode_with_asgi(nginx):
    source = """
        import asyncio
        import sys
        from testkit import respond

        async def app(scope, receive, send):
            words = [sys.flags.dev_mode, asyncio.get_running_loop().get_debug()]
            await respond(send, repr(words).encode())
    """
    nginx.start(
        f"asgi_app {nginx.app('app', source)}; asgi_lifespan off;",
        http="python_xoption dev; python_event_loop main asyncio;",
    )
    assert nginx.client().get("/").text == "[True, True]"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("''", "has no name"),
        ("=1", "has no name"),
        ("utf8=0", "always runs in UTF-8 mode; remove it"),
        ("warn_default_encoding", "write python_env PYTHONWARNDEFAULTENCODING=1"),
        ("tracemalloc=0", "no number of frames; write tracemalloc=5"),
        ("own int_max_str_digits=100", "at least 640, or 0"),
        ("frozen_modules=maybe", "frozen_modules=on or frozen_modules=off"),
        ("own=1 own=2", 'python_xoption "own=2" contradicts "own=1"'),
    ],
)
def test_python_xoption_refuses(refused, value, words):
    refused("python_xoption", words, http=f"python_xoption {value};")


# python_switch_interval


@pytest.mark.parametrize(("value", "seconds"), [("1ms", 0.001), ("20ms", 0.02), ("1s", 1.0)])
def test_python_switch_interval(settings, value, seconds):
    assert settings(f"python_switch_interval {value};")["switch_interval"] == pytest.approx(seconds)


def test_python_switch_interval_refuses_zero(refused):
    refused("python_switch_interval", "at least 1ms", http="python_switch_interval 0;")


# python_gc_freeze


@pytest.mark.parametrize(("value", "is_on"), [("on", True), ("off", False)])
def test_python_gc_freeze(settings, value, is_on):
    assert (settings(f"python_gc_freeze {value};")["frozen"] > 0) is is_on


def test_it_waits_for_the_last_application(nginx):
    """Also for one that fails, and for one that is imported on another thread."""
    source = """
        import gc
        import weakref
        from testkit import gate, record

        class Node:
            pass

        # Garbage, which must not be kept for ever.
        gc.disable()
        node = Node()
        node.itself = node
        found = weakref.ref(node)
        del node
        {wait}
        record("at import", f"{{gc.get_freeze_count()}} {{found() is None}}")

        def application(environ, start_response):
            text = f"{{gc.get_freeze_count() > 0}} {{found() is None}}"
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [text.encode()]
    """
    first = nginx.app("first", source.format(wait=""))
    slow = nginx.app("slow", source.format(wait="record('slow'); gate('go')"))
    broken = nginx.app("broken", "raise ValueError('token')\n")
    nginx.start(
        f"wsgi_app {first};",
        server=f"""
            location /slow {{ wsgi_app {slow}; }}
            location /broken {{ wsgi_app {broken}; }}
        """,
        http="python_gc_freeze on;",
    )
    client = nginx.client()
    # The third one does not wait for the second, which takes longer than a second.
    assert client.get("/broken").status_code == 500
    assert client.get("/").text == "False False"
    nginx.open_gate("go")
    assert client.get("/slow").text == "True True"
    assert client.get("/").text == "True True"
    assert nginx.recorded("at import") == ["0 False", "0 False"]
