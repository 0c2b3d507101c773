"""Response header fields that occur twice, and responses with very many fields."""

from __future__ import annotations

import pytest

SENDS = """
    import json, urllib.parse

    def application(environ, start_response):
        headers = json.loads(urllib.parse.unquote(environ["QUERY_STRING"]))
        start_response("200 OK", [tuple(field) for field in headers])
        return [b"0123456789" * 10]
"""

# Fields that may occur once: a second one contradicts the first.
SINGLE = [
    ("Content-Type", "text/plain", "text/html"),
    ("Last-Modified", "Thu, 01 Jan 2015 00:00:00 GMT", "Thu, 01 Jan 2016 00:00:00 GMT"),
    ("ETag", '"a"', '"b"'),
    ("Location", "http://one.example/", "http://two.example/"),
    ("Location", "/one", "http://two.example/"),
    ("Date", "Thu, 01 Jan 2015 00:00:00 GMT", "Thu, 01 Jan 2016 00:00:00 GMT"),
    ("Server", "first/1", "second/2"),
    ("Expires", "Thu, 01 Jan 2015 00:00:00 GMT", "Fri, 02 Jan 2015 00:00:00 GMT"),
]

LISTS = [
    ("WWW-Authenticate", "Negotiate", "Basic realm=x"),
    ("Cache-Control", "private", "max-age=5"),
    ("Link", "</a>; rel=preload", "</b>; rel=preload"),
    ("Content-Encoding", "br", "x"),
    ("Set-Cookie", "a=1", "a=2"),
    ("Vary", "Accept", "Cookie"),
]


def query(fields: list[tuple[str, str]]) -> str:
    import json
    from urllib.parse import quote

    return f"GET /?{quote(json.dumps(fields), safe='')} HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize("field", SINGLE, ids=lambda field: field[0])
def test_of_two_that_contradict_each_other_the_first_is_sent(nginx, serve, fetch, field):
    name, first, second = field
    serve(SENDS, "wsgi_pass_header Server; wsgi_pass_header Date;")
    for _ in range(2):
        response = fetch(query([(name, first), ("X-Between", "1"), (name.lower(), second)]))
        assert response.status == 200
        assert response.all(name) == [first]
    said = nginx.wait_log("twice in one response")
    assert f'"{name.lower()}" twice in one response' in said
    assert "[warn]" in said
    assert second not in said, "a value may be a secret"
    assert len(nginx.log_lines("twice in one response")) == 1


@pytest.mark.parametrize("field", LISTS, ids=lambda field: field[0])
def test_of_a_list_all_are_sent_in_their_order(nginx, serve, fetch, field):
    name, *values = field
    serve(SENDS)
    response = fetch(query([("Content-Type", "text/plain"), *((name, value) for value in values)]))
    assert response.all(name) == values
    assert not nginx.log_lines("twice in one response")


def test_what_a_filter_changes_is_what_is_sent(serve, fetch):
    """gzip makes a strong validator weak, and no strong one may be left beside it."""
    serve(SENDS, "gzip on; gzip_types text/plain; gzip_min_length 1;")
    fields = [("Content-Type", "text/plain"), ("ETag", '"a"'), ("ETag", '"b"')]
    request = query(fields).replace("\r\n\r\n", "\r\nAccept-Encoding: gzip\r\n\r\n")
    response = fetch(request)
    assert response.get("Content-Encoding") == "gzip"
    assert response.all("ETag") == ['W/"a"']


def test_an_empty_content_encoding_does_not_hide_the_one_before_it(serve, fetch):
    serve(SENDS, "gzip on; gzip_types text/plain; gzip_min_length 1;")
    fields = [("Content-Type", "text/plain"), ("Content-Encoding", "br"), ("Content-Encoding", "")]
    request = query(fields).replace("\r\n\r\n", "\r\nAccept-Encoding: gzip\r\n\r\n")
    response = fetch(request)
    assert response.all("Content-Encoding") == ["br", ""]
    assert response.body == b"0123456789" * 10


@pytest.mark.parametrize("name", ["Link", "Cache-Control", "WWW-Authenticate", "X-Many"])
def test_very_many_fields_of_one_name(serve, fetch, name):
    serve(
        f"""
        def application(environ, start_response):
            headers = [({name!r}, str(number)) for number in range(15000)]
            start_response("200 OK", headers)
            return [b"x"]
        """
    )
    response = fetch()
    assert response.all(name) == [str(number) for number in range(15000)]
