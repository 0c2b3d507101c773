"""close() of a response's iterable: it is called exactly once, however the response ends."""

from __future__ import annotations

import pytest

OK = '"200 OK", [("Content-Type", "text/plain")]'


PATHS_TO_CLOSE = {
    "normal": "return Blocks([b'a', b'b'])",
    "empty": "return Blocks([])",
    "empty blocks": "return Blocks([b'', b''])",
    "raises at once": "return Blocks(raising(0))",
    "raises in mid-body": "return Blocks(raising(2))",
    "str block": "return Blocks(['x'])",
    "str block later": "return Blocks([b'a', 'x'])",
    "too short": "length = 9; return Blocks([b'a'])",
    "too long": "length = 1; return Blocks([b'abc', b'def'])",
    "no start_response": "start = False; return Blocks([b'a'])",
    "after write": "write = True; return Blocks([b'a'])",
}


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("case", PATHS_TO_CLOSE)
def test_close_is_called_exactly_once(nginx, serve, case, method):
    settings, _, result = PATHS_TO_CLOSE[case].rpartition("return ")
    serve(
        f"""
        from testkit import Blocks

        def raising(after):
            for _ in range(after):
                yield b"block"
            raise ValueError("in mid-iteration")

        def application(environ, start_response):
            length, start, write = None, True, False
            {settings or "pass"}
            headers = [("Content-Type", "text/plain")]
            if length is not None:
                headers.append(("Content-Length", str(length)))
            if start:
                writer = start_response("200 OK", headers)
                if write:
                    writer(b"written")
            return {result}
        """
    )
    for count in range(1, 4):
        with nginx.connect() as connection:
            connection.send(f"{method} / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            connection.rest()
        assert len(nginx.wait_recorded("closed", count)) == count
    nginx.quit()
    assert len(nginx.recorded("closed")) == 3


def test_close_is_that_of_the_iterable_not_of_its_iterator(nginx, serve, fetch):
    serve(
        f"""
        from testkit import record

        class Iterable:
            def __iter__(self):
                record("iter")
                return iter([b"a", b"b"])

            def close(self):
                record("closed")

        def application(environ, start_response):
            start_response({OK})
            return Iterable()
        """
    )
    assert fetch().body == b"ab"
    assert nginx.wait_recorded("closed") == ["-"]
    assert nginx.recorded("iter") == ["-"]


def test_close_of_a_list_subclass(nginx, serve, fetch):
    serve(
        f"""
        from testkit import record

        class Closing(list):
            def close(self):
                record("closed")

        def application(environ, start_response):
            start_response({OK})
            return Closing([b"a"])
        """
    )
    assert fetch().body == b"a"
    assert nginx.wait_recorded("closed") == ["-"]


def test_close_that_raises(nginx, serve):
    serve(
        f"""
        class Iterable:
            def __iter__(self):
                return iter([b"a"])

            def close(self):
                raise RuntimeError("close failed")

        def application(environ, start_response):
            start_response({OK})
            return Iterable()
        """
    )
    with nginx.connect() as connection:
        for _ in range(3):
            connection.get(close=False)
            response = connection.response()
            assert response.body == b"a"
            if not response.complete:
                break
    assert "[error]" in nginx.wait_log("close failed")


def test_close_when_the_client_goes_away(nginx, serve):
    serve(
        f"""
        import time
        from testkit import Blocks, record

        def endless():
            try:
                while True:
                    yield b"x" * 1000
                    time.sleep(0.01)
            except GeneratorExit:
                record("exited")
                raise

        def application(environ, start_response):
            start_response({OK})
            return Blocks(endless())
        """
    )
    with nginx.connect() as connection:
        connection.get()
        assert connection.head().status == 200
        assert connection.chunk()
    assert nginx.wait_recorded("closed") == ["-"]
    assert nginx.wait_recorded("exited") == ["-"]
    assert not nginx.log_lines("[error]")


def test_close_when_the_client_goes_away_before_the_head(nginx, serve):
    serve(
        f"""
        from testkit import Blocks, gate, record

        def application(environ, start_response):
            record("called")
            gate("go")
            start_response({OK})
            return Blocks([b"x"] * 10)
        """
    )
    with nginx.connect() as connection:
        connection.get()
        nginx.wait_recorded("called")
    nginx.open_gate("go")
    assert nginx.wait_recorded("closed") == ["-"]
    assert not nginx.log_lines("[error]")
