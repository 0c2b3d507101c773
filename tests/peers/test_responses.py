"""What an application gives, row by row of the comparison with other WSGI servers.

Each test is one row, in the table's order, and shows the best answer that any server has there.
"""

from __future__ import annotations

import pytest
from harness import NGINX_VERSION


def refused(nginx, probe, name: str) -> None:
    """Checks for a clean 500, a reason in the log, and a worker that survives."""
    response = probe(name)
    assert response.status == 500
    assert response.complete
    assert response.get("X-Evil") is None
    assert b"accepted" not in response.body
    nginx.wait_log("[error]")
    assert probe("hello").body == b"hello"


def test_second_start_response_without_exc_info_raises(probe):
    response = probe("second_start_response")
    assert (response.status, response.reason) == (200, "First")
    assert response.body != b"accepted"
    assert response.body.endswith((b"Error", b"Exception"))


def test_exc_info_before_headers_sent_replaces_the_response(probe):
    response = probe("exc_info_before_the_head")
    assert (response.status, response.reason) == (503, "Replaced")
    assert response.body == b"replaced"
    assert response.get("X-Second") == "2"
    assert response.get("X-First") is None


def test_exc_info_after_headers_sent_reraises_the_original(nginx, probe):
    response = probe("exc_info_after_the_head")
    assert (response.status, response.body, response.complete) == (200, b"begun", False)
    assert nginx.wait_recorded("exc_info") == ["True"]


@pytest.mark.threads("inline what write() is given goes out when the call returns")
def test_write_callable(nginx, serve):
    serve()
    connection = nginx.connect()
    connection.get("/write")
    assert connection.head().status == 200
    # It has arrived while the application waits: nothing is held back.
    assert connection.chunk() == b"one "
    nginx.open_gate("write")
    assert b"".join(connection.chunks()) == b"two three"


def test_empty_block_before_start_response(probe):
    response = probe("empty_block_first")
    assert (response.status, response.body) == (200, b"after nothing")


def test_headers_held_back_until_first_non_empty_block(nginx, serve):
    serve()
    connection = nginx.connect()
    connection.get("/late_head")
    nginx.wait_recorded("late_head")
    nginx.open_gate("late_head go")
    response = connection.response()
    assert (response.status, response.body) == (503, b"changed")


def test_start_response_never_called(nginx, probe):
    refused(nginx, probe, "no_start_response")


def test_str_in_body(nginx, probe):
    refused(nginx, probe, "str_in_the_body")


def test_app_returns_none(nginx, probe):
    refused(nginx, probe, "none")


def test_exception_before_output(nginx, probe):
    refused(nginx, probe, "exception")
    nginx.wait_log("LookupError: before any output")


def test_exception_in_mid_stream_leaves_chunked_unterminated(nginx, probe):
    response = probe("exception_in_mid_stream")
    assert (response.framing, response.body) == ("chunked", b"begun")
    assert not response.complete
    nginx.wait_log("LookupError: in mid-stream")


def test_close_called(nginx, probe):
    assert probe("closed").body == b"whole"
    assert nginx.wait_recorded("closed") == ["-"]
    assert not probe("closed_after_an_exception").complete
    assert nginx.wait_recorded("closed after an exception") == ["-"]


@pytest.mark.parametrize("how", ["close", "reset"])
def test_generator_exit_soon_after_client_disconnect(nginx, serve, how):
    serve()
    connection = nginx.connect()
    connection.get("/endless")
    assert connection.head().status == 200
    assert connection.chunk()
    getattr(connection, how)()
    assert nginx.wait_recorded("endless") == ["GeneratorExit"]


@pytest.mark.threads(
    "the application waits, in a call, for what the event loop is to notice meanwhile"
)
@pytest.mark.parametrize("how", ["close", "reset"])
def test_app_learns_of_disconnect_before_it_writes(nginx, serve, how):
    serve()
    connection = nginx.connect()
    connection.get("/client_gone")
    nginx.wait_recorded("client_gone")
    getattr(connection, how)()
    # By a callback while the application runs, and by polling.
    assert sorted(nginx.wait_recorded("client_gone", 3)) == ["called", "entered", "seen"]


def test_yields_flushed_at_once(nginx, serve):
    serve()
    connection = nginx.connect()
    connection.get("/yields")
    assert connection.head().status == 200
    for number in range(3):
        assert connection.chunk() == b"block %d" % number
        nginx.open_gate(f"yields{number}")
    assert connection.chunk() == b""


def test_headers_must_be_a_list(nginx, probe):
    refused(nginx, probe, "tuple_of_headers")


@pytest.mark.parametrize("character", ["cr_lf", "lf", "cr"])
def test_cr_lf_in_header_value_rejected(nginx, probe, character):
    refused(nginx, probe, f"{character}_in_a_value")


@pytest.mark.parametrize("character", ["cr_lf", "lf", "cr"])
def test_cr_lf_in_status_rejected(nginx, probe, character):
    refused(nginx, probe, f"{character}_in_the_status")


def test_invalid_status_code_99_rejected(nginx, probe):
    refused(nginx, probe, "status_99")


def test_reason_phrase_kept(probe):
    response = probe("reason")
    assert (response.status, response.reason) == (299, "A Phrase Of Its Own")


@pytest.mark.parametrize("kind", ["bytes", "int"])
def test_bytes_or_int_header_value_rejected(nginx, probe, kind):
    refused(nginx, probe, f"value_of_{kind}")


def test_non_latin_1_header_value_rejected(nginx, probe):
    refused(nginx, probe, "value_beyond_latin_1")


def test_hop_by_hop_headers_of_the_application(nginx, probe):
    response = probe("hop_by_hop")
    assert response.all("Keep-Alive") == []
    # One transfer coding, nginx's own, and a matching body.
    assert response.all("Transfer-Encoding") == ["chunked"]
    assert (response.body, response.complete) == (b"onetwo", True)
    assert nginx.raw(b"GET /hop_by_hop HTTP/1.0\r\n\r\n").endswith(b"\r\n\r\nonetwo")


def test_multiple_set_cookie_kept(probe):
    assert probe("set_cookie").all("Set-Cookie") == ["a=1", "b=2; Path=/"]


def assert_nothing_is_left(connection) -> None:
    """Checks that nothing of a response is left: it would precede the next one."""
    connection.get("/hello", close=True)
    assert connection.response().body == b"hello"
    assert connection.rest() == b""


def test_body_longer_than_content_length_is_cut(nginx, serve):
    serve()
    connection = nginx.connect()
    for _ in range(2):
        connection.get("/too_long")
        response = connection.response()
        assert (response.get("Content-Length"), response.body) == ("5", b"01234")
    assert_nothing_is_left(connection)


@pytest.mark.parametrize(("name", "status"), [("no_content", 204), ("not_modified", 304)])
def test_body_of_204_and_304_suppressed(nginx, serve, name, status):
    serve()
    connection = nginx.connect()
    connection.get(f"/{name}")
    assert connection.response().status == status
    assert_nothing_is_left(connection)


@pytest.mark.parametrize("name", ["hello", "unknown_length", "write"])
def test_body_of_head_suppressed(nginx, serve, name):
    serve()
    nginx.open_gate("write")
    connection = nginx.connect()
    connection.send(f"HEAD /{name} HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert connection.response(head_only=True).status == 200
    assert_nothing_is_left(connection)


def test_content_length_added_for_one_element_list(probe):
    response = probe("hello")
    assert (response.get("Content-Length"), response.framing) == ("5", "length")


def test_unknown_length_is_chunked(nginx, serve):
    serve()
    connection = nginx.connect()
    for _ in range(2):
        connection.get("/unknown_length")
        response = connection.response()
        assert (response.framing, response.complete) == ("chunked", True)
        assert response.body == b"one two"


def test_file_wrapper(nginx, probe):
    # From its current offset, with the remaining length, and with ranges.
    response = probe("file_wrapper")
    assert (response.body, response.get("Content-Length")) == (b"456789", "6")
    ranged = nginx.client().get("/file_wrapper", headers={"Range": "bytes=1-2"})
    assert (ranged.status_code, ranged.content) == (206, b"56")
    assert probe("file_wrapper_of_memory").body == b"456789"
    assert nginx.wait_recorded("file_wrapper") == ["closed"]


def test_early_hints(nginx, serve):
    """103 at once if this nginx can send it; otherwise the key is not in environ."""
    serve()
    connection = nginx.connect()
    connection.get("/early_hints")
    if NGINX_VERSION >= (1, 29, 0):
        hints = connection.head()
        assert (hints.status, hints.get("Link")) == (103, "</style.css>; rel=preload")
        nginx.open_gate("early_hints")
        assert connection.response().body == b"hints"
    else:
        assert connection.response().body == b"no hints"


@pytest.mark.parametrize("name", ["keyboard_interrupt", "system_exit"])
def test_keyboard_interrupt_or_system_exit_raised_by_app(nginx, probe, name):
    probe("hello")
    workers = nginx.workers()
    refused(nginx, probe, name)
    assert nginx.workers() == workers
