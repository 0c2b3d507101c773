"""Fixtures of the WSGI tests."""

from __future__ import annotations

import pytest


@pytest.fixture
def serve(nginx):
    """Starts nginx with one application, made of this source, in `location /`.

    location: further text there. Other arguments are those of `Nginx.start`. The file is `app.py`,
    which log lines about the application name.
    """

    def start(source: str, location: str = "", **options):
        return nginx.start(f"wsgi_app {nginx.app('app', source)};\n{location}", **options)

    return start


@pytest.fixture
def returns(serve):
    """`returns("[b'x']")` starts nginx with an application that returns this expression.

    headers: the source of its header fields. `Blocks` is testkit's.
    """

    def start(
        result: str,
        headers: str = '("Content-Type", "text/plain")',
        location: str = "",
        *,
        status: str = "200 OK",
        **options,
    ):
        source = f"""
        from testkit import Blocks

        def application(environ, start_response):
            start_response({status!r}, [{headers}])
            return {result}
        """
        return serve(source, location, **options)

    return start


@pytest.fixture
def fails(nginx, serve, fetch):
    """`fails("return None")`: an application of that body is answered 500, and the next request is
    served. Returns the response.
    """

    def check(body: str):
        serve(
            f"""
            class Own(BaseException):
                pass

            def application(environ, start_response):
                if environ["PATH_INFO"] == "/good":
                    start_response("200 OK", [("Content-Type", "text/plain")])
                    return [b"good"]
                {body}
            """
        )
        workers = nginx.runners()
        response = fetch()
        assert response.status == 500
        nginx.wait_log("[error]")
        assert fetch("GET /good HTTP/1.1\r\nHost: x\r\n\r\n").body == b"good"
        assert nginx.runners() == workers
        return response

    return check
