"""wsgi_force_ranges: byte ranges of responses that are not files; more in nginx/test_ranges.py."""

from __future__ import annotations

import pytest

PLAIN = """
    def application(environ, start_response):
        length = environ["QUERY_STRING"]
        headers = [("Content-Type", "text/plain")]
        if length:
            headers.append(("Content-Length", "100"))
        start_response("200 OK", headers)
        return (bytes([65 + n % 26]) * 10 for n in range(10))
"""


LETTERS = b"".join(bytes([65 + n % 26]) * 10 for n in range(10))


@pytest.mark.parametrize(
    ("directive", "status"),
    [("", 200), ("wsgi_force_ranges off;", 200), ("wsgi_force_ranges on;", 206)],
)
def test_other_responses_serve_ranges_where_asked_for(nginx, directive, status):
    app = nginx.app("plain", PLAIN)
    nginx.start(f"wsgi_app {app}; {directive}")
    client = nginx.client()
    response = client.get("/?length", headers={"Range": "bytes=25-44"})
    assert response.status_code == status
    assert response.content == (LETTERS[25:45] if status == 206 else LETTERS)
    whole = client.get("/?length")
    assert ("Accept-Ranges" in whole.headers) is (status == 206)
    # Only a single range: nginx does not hold the whole body.
    several = client.get("/?length", headers={"Range": "bytes=0-9,20-29"})
    assert (several.status_code, several.content) == (200, LETTERS)
    # Of unknown length: none.
    unknown = client.get("/", headers={"Range": "bytes=25-44"})
    assert (unknown.status_code, unknown.content) == (200, LETTERS)
