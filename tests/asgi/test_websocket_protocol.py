"""What a client's frames must be (RFC 6455), and how a client that breaks the rules is told."""

from __future__ import annotations

import itertools
import struct

import pytest
from rawwebsocket import (
    BINARY,
    CLOSE,
    FIN,
    PING,
    PONG,
    RSV1,
    RSV2,
    RSV3,
    TEXT,
    close,
    connect,
    frame,
    serve,
)

CONTINUATION = 0
SNOWMAN = "\N{SNOWMAN}".encode()


def refused(nginx, socket, code: int, reason: str = "", count: int = 1) -> None:
    """The server closes with this code, the application is told the same, and the log as well.

    count: how many connections have ended then.
    """
    answer = socket.message()
    assert answer.opcode == CLOSE
    assert answer.close_code == code, answer
    assert reason in answer.payload[2:].decode()
    assert socket.ends()
    assert nginx.wait_recorded("disconnect", count)[count - 1].startswith(f"{code} ")
    assert "[info]" in nginx.wait_log("client broke the WebSocket protocol")


@pytest.fixture
def echo(nginx):
    serve(nginx, location="asgi_websocket_max_message_size 1k; asgi_websocket_deflate off;")
    return connect(nginx)


@pytest.fixture
def deflating(nginx):
    serve(nginx, location="asgi_websocket_max_message_size 1k;")
    return connect(nginx, fields="Sec-WebSocket-Extensions: permessage-deflate\r\n")


def test_fragments_with_control_frames_between_them(echo):
    echo.send(
        frame(TEXT, "Hel", first=0)
        + frame(PING, "there?")
        + frame(CONTINUATION, "", first=0)
        + frame(PONG, "unasked")
        + frame(CONTINUATION, "lo")
        + frame(BINARY, b"")
    )
    frames = [echo.frame() for _ in range(3)]
    assert sorted((each.first, each.payload) for each in frames) == [
        (FIN | TEXT, b"Hello"),
        (FIN | BINARY, b""),
        (FIN | PONG, b"there?"),
    ]


def test_frames_in_single_bytes(echo):
    for size in (5, 200):
        for byte in frame(TEXT, b"x" * size):
            echo.send(bytes([byte]))
        assert echo.message().payload == b"x" * size


def test_a_ping_is_answered_with_its_payload(echo):
    for payload in (b"", b"x" * 125):
        echo.send(frame(PING, payload))
        answer = echo.frame()
        assert (answer.first, answer.payload) == (FIN | PONG, payload)


def test_reserved_opcodes(nginx, echo):
    for count, opcode in enumerate([3, 4, 5, 6, 7, 11, 12, 13, 14, 15], 1):
        socket = connect(nginx)
        socket.send(frame(opcode, "x"))
        refused(nginx, socket, 1002, f"opcode {opcode:#x} is reserved", count)
    echo.send(frame(TEXT, "still here"))
    assert echo.message().payload == b"still here"


def test_reserved_bits(nginx, echo):
    opcodes = [TEXT, BINARY, PING, PONG, CLOSE]
    bits = {RSV1: 1, RSV2: 2, RSV3: 3}
    for count, (opcode, bit) in enumerate(itertools.product(opcodes, bits), 1):
        socket = connect(nginx)
        socket.send(frame(opcode, "", first=FIN | bit))
        refused(nginx, socket, 1002, f"reserved bit RSV{bits[bit]} is set", count)
    echo.send(frame(TEXT, "still here"))
    assert echo.message().payload == b"still here"


@pytest.mark.parametrize(
    ("opcode", "first"),
    [(TEXT, FIN | RSV2), (TEXT, FIN | RSV3), (PING, FIN | RSV1), (CONTINUATION, FIN | RSV1)],
)
def test_reserved_bits_with_deflate(nginx, deflating, opcode, first):
    if opcode == CONTINUATION:
        deflating.send(frame(TEXT, b"\x00", first=RSV1))
    deflating.send(frame(opcode, b"", first=first))
    refused(nginx, deflating, 1002, "reserved bit RSV")


@pytest.mark.parametrize("opcode", [TEXT, PING])
def test_a_frame_without_a_mask(nginx, echo, opcode):
    echo.send(frame(opcode, "x", mask=None))
    refused(nginx, echo, 1002, "frame is not masked")


@pytest.mark.parametrize("opcode", [PING, PONG, CLOSE])
def test_fragmented_control_frames(nginx, echo, opcode):
    echo.send(frame(opcode, "", first=0))
    refused(nginx, echo, 1002, "control frame is fragmented")


@pytest.mark.parametrize("opcode", [PING, PONG, CLOSE])
def test_long_control_frames(nginx, echo, opcode):
    echo.send(frame(opcode, b"\x03\xe8" + b"x" * 124))
    refused(nginx, echo, 1002, "control frame is longer than 125 bytes")


@pytest.mark.parametrize(
    "length",
    [
        struct.pack("!BH", 126, 1),
        struct.pack("!BH", 126, 125),
        struct.pack("!BQ", 127, 1),
        struct.pack("!BQ", 127, 65535),
        struct.pack("!BQ", 127, 1 << 63),
    ],
)
def test_lengths_that_are_not_in_their_shortest_form(nginx, echo, length):
    echo.send(frame(TEXT, "x", length=length))
    refused(nginx, echo, 1002, "payload length")


def test_a_continuation_without_a_message(nginx, echo):
    echo.send(frame(TEXT, "whole"))
    assert echo.message().payload == b"whole"
    echo.send(frame(CONTINUATION, "x"))
    refused(nginx, echo, 1002, "continuation frame without a message")


def test_a_message_inside_another_one(nginx, echo):
    echo.send(frame(TEXT, "x", first=0) + frame(TEXT, "y"))
    refused(nginx, echo, 1002, "new message inside a fragmented one")


@pytest.mark.parametrize(
    "payload", [b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\x80", SNOWMAN[:2]]
)
def test_text_that_is_not_utf8(nginx, echo, payload):
    echo.send(frame(TEXT, b"text " + payload))
    refused(nginx, echo, 1007, "text is not UTF-8")


def test_text_that_is_not_utf8_in_a_fragment_is_refused_before_its_end(nginx, echo):
    echo.send(frame(TEXT, SNOWMAN[:1], first=0) + frame(CONTINUATION, b"x", first=0))
    refused(nginx, echo, 1007, "text is not UTF-8")


def test_characters_may_be_split_over_fragments(echo):
    parts = [SNOWMAN[:1], SNOWMAN[1:2], b"", SNOWMAN[2:]]
    opcodes = [TEXT, CONTINUATION, CONTINUATION, CONTINUATION]
    for index, (opcode, part) in enumerate(zip(opcodes, parts, strict=True)):
        echo.send(frame(opcode, part, first=FIN if index == 3 else 0))
    assert echo.message().payload == SNOWMAN


def test_bytes_need_not_be_utf8(echo):
    echo.send(frame(BINARY, b"\xff\xfe"))
    assert echo.message().payload == b"\xff\xfe"


def test_a_large_message_is_refused_by_its_head(nginx, echo):
    echo.send(frame(BINARY, b"x" * 1024))
    assert echo.message().payload == b"x" * 1024
    echo.send(frame(BINARY, b"x" * 1025)[:10])
    refused(nginx, echo, 1009, "message is larger than 1024 bytes")


def test_a_large_message_in_fragments(nginx, echo):
    echo.send(frame(BINARY, b"x" * 600, first=0) + frame(CONTINUATION, b"x" * 425))
    refused(nginx, echo, 1009, "message is larger than 1024 bytes")


SENDABLE = [1000, 1001, 1002, 1003, *range(1007, 1015), 3000, 3999, 4000, 4999]
NOT_SENDABLE = [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535]


@pytest.mark.usefixtures("echo")
def test_close_codes(nginx):
    for count, code in enumerate(SENDABLE, 1):
        socket = connect(nginx)
        socket.send(close(code, "grün"))
        answer = socket.frame()
        assert (answer.close_code, answer.payload[2:].decode()) == (code, "grün")
        assert socket.ends()
        assert nginx.wait_recorded("disconnect", count)[-1] == f"{code} grün"
    assert not nginx.log_lines("broke the WebSocket protocol")


@pytest.mark.usefixtures("echo")
def test_close_codes_that_must_not_be_sent(nginx):
    for count, code in enumerate(NOT_SENDABLE, 1):
        socket = connect(nginx)
        socket.send(close(code))
        refused(nginx, socket, 1002, f"close code {code} must not be sent", count)


def test_a_close_frame_without_a_code(nginx, echo):
    echo.send(close(None))
    assert echo.frame().close_code is None
    assert echo.ends()
    assert nginx.wait_recorded("disconnect") == ["1005 "]


def test_a_close_frame_with_half_a_code(nginx, echo):
    echo.send(frame(CLOSE, b"\x03"))
    refused(nginx, echo, 1002, "close frame with half a code")


def test_a_close_frame_whose_reason_is_not_utf8(nginx, echo):
    echo.send(close(1000, b"\xff"))
    refused(nginx, echo, 1007, "reason of the close frame is not UTF-8")


def test_frames_behind_a_close_frame_are_ignored(nginx, echo):
    echo.send(close(1000) + frame(TEXT, "late") + frame(3, "wrong"))
    assert echo.frame().close_code == 1000
    assert echo.ends()
    assert nginx.wait_recorded("disconnect") == ["1000 "]
    assert not nginx.log_lines("broke the WebSocket protocol")
