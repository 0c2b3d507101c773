"""start_response: when it is called, how often, and with exc_info (PEP 3333)."""

from __future__ import annotations

import pytest


def test_validated(fetch, serve):
    serve(
        """
        from wsgiref.validate import validator

        @validator
        def application(environ, start_response):
            write = start_response("200 OK", [("Content-Type", "text/plain"), ("X-A", "b")])
            write(b"one ")
            write(b"two ")
            return [b"three"]
        """
    )
    response = fetch()
    assert (response.status, response.reason) == (200, "OK")
    assert response.get("Content-Type") == "text/plain"
    assert response.get("X-A") == "b"
    assert response.body == b"one two three"
    assert response.complete


def test_second_call_without_exc_info_raises(fetch, serve):
    serve(
        """
        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain"), ("X-Which", "first")])
            try:
                start_response("404 Not Found", [("X-Which", "second")])
            except Exception as error:
                return [b"raised ", type(error).__name__.encode()]
            return [b"did not raise"]
        """
    )
    response = fetch()
    assert response.status == 200
    assert response.get("X-Which") == "first"
    assert response.body.startswith(b"raised ")


def test_second_call_that_is_not_caught_is_a_500(nginx, fetch, serve):
    serve(
        """
        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain")])
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [b"x"]
        """
    )
    assert fetch().status == 500
    nginx.wait_log("Traceback")


def test_exc_info_before_the_head_has_gone_replaces_the_response(fetch, serve):
    serve(
        """
        import sys

        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain"), ("X-First", "1")])
            try:
                raise ValueError("late")
            except ValueError:
                start_response("503 Replaced", [("Content-Type", "text/html")], sys.exc_info())
            return [b"replaced"]
        """
    )
    response = fetch()
    assert (response.status, response.reason) == (503, "Replaced")
    assert response.get("X-First") is None
    assert response.get("Content-Type") == "text/html"
    assert response.body == b"replaced"


def test_exc_info_after_the_head_has_gone_reraises_the_original(nginx, fetch, serve):
    serve(
        """
        import sys
        from testkit import record

        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain")])
            yield b"begun"
            original = ValueError("the original")
            try:
                raise original
            except ValueError:
                try:
                    start_response("500 Oops", [], sys.exc_info())
                except BaseException as again:
                    record("raised", again is original)
                    record("traceback", again.__traceback__ is not None)
                    raise
                record("raised", "nothing")
        """
    )
    response = fetch()
    assert (response.status, response.body) == (200, b"begun")
    assert not response.complete
    assert nginx.wait_recorded("raised") == ["True"]
    assert nginx.recorded("traceback") == ["True"]
    nginx.wait_log("the original")


def test_head_is_held_back_until_the_first_non_empty_block(fetch, serve):
    serve(
        """
        import sys

        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain")])
            yield b""
            yield b""
            try:
                raise KeyError("x")
            except KeyError:
                start_response("418 Late", [("Content-Type", "text/x")], sys.exc_info())
            yield b""
            yield b"tea"
        """
    )
    response = fetch()
    assert (response.status, response.reason, response.body) == (418, "Late", b"tea")
    assert response.get("Content-Type") == "text/x"


def test_empty_first_block_before_start_response(fetch, serve):
    serve(
        """
        def application(environ, start_response):
            yield b""
            start_response("200 OK", [("Content-Type", "text/plain")])
            yield b"late"
        """
    )
    response = fetch()
    assert (response.status, response.body) == (200, b"late")


def test_start_response_in_the_first_step_of_a_generator(fetch, serve):
    serve(
        """
        def application(environ, start_response):
            start_response("201 Created", [("Content-Type", "text/plain")])
            yield b"made"
        """
    )
    response = fetch()
    assert (response.status, response.body) == (201, b"made")


@pytest.mark.parametrize(
    "body",
    ['return [b"x"]', 'return iter([b"x"])', "return []", "return iter(())", 'return [b""]'],
)
def test_start_response_never_called(nginx, fetch, serve, body):
    serve(f"def application(environ, start_response):\n    {body}\n")
    assert fetch().status == 500
    line = nginx.wait_log("start_response")
    assert "[error]" in line
    assert "app.py" in line


def test_non_empty_block_before_start_response(fetch, serve):
    serve(
        """
        def application(environ, start_response):
            yield b"too early"
            start_response("200 OK", [("Content-Type", "text/plain")])
        """
    )
    response = fetch()
    assert response.status == 500
    assert b"too early" not in response.body


def test_wrong_arguments_raise_in_the_application(fetch, serve):
    serve(
        """
        def application(environ, start_response):
            for arguments in [(), ("200 OK",), ("200 OK", [], None, None)]:
                try:
                    start_response(*arguments)
                except TypeError:
                    continue
                raise SystemExit(f"accepted {arguments!r}")
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [b"all refused"]
        """
    )
    assert fetch().body == b"all refused"


def test_start_response_kept_beyond_its_request(nginx, serve):
    serve(
        """
        kept = []

        def application(environ, start_response):
            outcome = b"first"
            if kept:
                try:
                    kept[0][0]("200 OK", [("X-Old", "1")])
                    kept[0][1](b"stray bytes")
                    outcome = b"accepted"
                except Exception:
                    outcome = b"refused"
            kept.append((start_response, start_response("200 OK", [("Content-Type", "a/b")])))
            return [outcome]
        """
    )
    with nginx.connect() as connection:
        for expected in (b"first", b"refused", b"refused"):
            connection.get()
            response = connection.response()
            assert response.body == expected
            assert response.get("X-Old") is None


def test_any_callable_is_an_application(nginx):
    path = nginx.app(
        "kinds",
        """
        class Instance:
            def __call__(self, environ, start_response):
                start_response("200 OK", [("Content-Type", "text/plain")])
                return (b"instance",)

        class Iterated:
            def __init__(self, environ, start_response):
                self.start = start_response

            def __iter__(self):
                self.start("200 OK", [("Content-Type", "text/plain")])
                yield b"iterated"

        class Old:
            # The old iteration protocol: no __iter__.
            def __getitem__(self, index):
                return [b"o", b"l", b"d"][index]

        def old(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain")])
            return Old()

        instance = Instance()
        """,
    )
    nginx.start(
        server=f"""
        location /instance {{ wsgi_app {path}:instance; }}
        location /iterated {{ wsgi_app {path}:Iterated; }}
        location /old {{ wsgi_app {path}:old; }}
        """
    )
    client = nginx.client()
    for name in ("instance", "iterated", "old"):
        assert client.get(f"/{name}").text == name
