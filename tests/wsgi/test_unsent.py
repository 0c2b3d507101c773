"""Memory of a response that nginx does not send is given back without another request."""

from __future__ import annotations

import pytest

SOURCE = """
    from testkit import record

    class Body(bytes):
        def __del__(self):
            record("freed")

    def application(environ, start_response):
        if environ["PATH_INFO"] == "/moved":
            start_response("200 OK", [("X-Accel-Redirect", "/page.html")])
        else:
            start_response("404 Not Found", [])
        return [Body(64 * 1024)]
"""


@pytest.mark.parametrize("path", ["/moved", "/intercepted"])
def test_a_body_that_another_page_takes_the_place_of(serve, nginx, path):
    # nginx is still busy with it when the thread has long gone to rest.
    nginx.page("page.html", "page" * 512)
    serve(
        SOURCE,
        "wsgi_intercept_errors on; error_page 404 /page.html;",
        server="location = /page.html { limit_rate 1k; }",
    )
    assert nginx.client().get(path).text == "page" * 512
    assert nginx.wait_recorded("freed", timeout=20) == ["-"]
