"""How much waits: back-pressure both ways, pings, large messages and many connections."""

from __future__ import annotations

import itertools
import time

import pytest
import websockets.sync.client
from process_memory import anonymous, descriptors
from rawhttp import wait_for
from rawwebsocket import BINARY, CLOSE, PING, PONG, TEXT, close, connect, frame, serve

# Sends blocks of that many bytes until it is told to stop, and counts them.
SENDS = """
    import asyncio
    from testkit import record

    async def application(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        size = int(scope["query_string"] or b"0")
        if not size:
            while (message := await receive())["type"] == "websocket.receive":
                await send({**message, "type": "websocket.send"})
            return
        try:
            while True:
                await send({"type": "websocket.send", "bytes": bytes(size)})
                record("sent")
        except OSError:
            record("ended")
"""

# Receives nothing before its gate is open; then counts what it receives.
WAITS = """
    import asyncio
    from testkit import gate, record

    async def application(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        if scope["query_string"] == b"held":
            await asyncio.to_thread(gate, "receive")
        total = 0
        while (message := await receive())["type"] == "websocket.receive":
            total += len(message["bytes"])
            if message["bytes"] == b"end":
                await send({"type": "websocket.send", "text": str(total)})
"""


def settled(value) -> int:
    """`value()` when it does not change for half a second any more."""
    last, since = value(), time.monotonic()
    while time.monotonic() - since < 0.5:
        time.sleep(0.05)
        if (now := value()) != last:
            last, since = now, time.monotonic()
    return last


def test_a_client_that_does_not_read_holds_back_its_own_sender_alone(nginx):
    serve(nginx, SENDS, "asgi_websocket_queue 64k;")
    slow = connect(nginx, "/?10000", receive=4096)
    sent = settled(lambda: len(nginx.recorded("sent")))
    # What the kernel holds, and the queue.
    assert 6 <= sent <= (64 << 10) // 10_000 + 6_000_000 // 10_000
    other = connect(nginx)
    for number in range(100):
        other.send(frame(TEXT, str(number)))
        assert other.message().payload == str(number).encode()
    assert settled(lambda: len(nginx.recorded("sent"))) == sent
    # As soon as it reads, it gets everything in order, and the sender goes on.
    for _ in range(sent + 20):
        received = slow.message()
        assert (received.opcode, len(received.payload)) == (BINARY, 10_000)
    assert len(nginx.wait_recorded("sent", sent + 20)) >= sent + 20
    slow.connection.close()
    nginx.wait_recorded("ended")


# Sends messages of that many bytes, each with its number, and their count when the client sends
# one.
NUMBERED = """
    from testkit import record

    async def application(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        size, count = map(int, scope["query_string"].split(b","))
        for number in range(count):
            await send({"type": "websocket.send", "bytes": b"%08d" % number + bytes(size)})
            if number % max(1, 10_000 // size) == 0:
                record("sent")
        await receive()
        await send({"type": "websocket.send", "text": str(count)})
"""


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("size", [100, 5_000, 1_000_000])
def test_a_slow_client_gets_every_byte_though_it_sends_pings(nginx, size, tls):
    options = {"listen": "ssl", "server": nginx.tls()} if tls else {}
    serve(nginx, NUMBERED, "asgi_websocket_queue 64k;", **options)
    # More than the kernel takes.
    count = 8_000_000 // size + 10
    # The kernel drops what a smaller buffer has no room for, and sends it again ever later.
    slow = connect(nginx, f"/?{size},{count}", receive=65536, tls=tls)
    # Each time the worker cannot write on, and a ping asks for a pong in between.
    numbers = []
    for number in range(5):
        settled(lambda: len(nginx.recorded("sent")))
        slow.send(frame(PING, f"{number}"))
        for _ in range(count // 6):
            while (received := slow.frame()).opcode == PONG:
                pass
            numbers.append(received.payload)
    slow.send(frame(TEXT, "end"))
    while (received := slow.frame()).opcode != TEXT:
        if received.opcode == BINARY:
            numbers.append(received.payload)
    assert received.payload == str(count).encode()
    assert numbers == [b"%08d" % number + bytes(size) for number in range(count)]


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_frames_are_not_limited_in_their_rate(nginx, tls):
    options = {"listen": "ssl", "server": nginx.tls()} if tls else {}
    serve(nginx, NUMBERED, "limit_rate 10k;", **options)
    slow = connect(nginx, "/?5000,1600", receive=4096, tls=tls, timeout=20)
    settled(lambda: len(nginx.recorded("sent")))
    for number in range(1600):
        assert slow.message().payload == b"%08d" % number + bytes(5000)


@pytest.mark.unsanitized("it keeps what has been freed")
def test_the_queue_bounds_what_waits_for_a_client(nginx):
    serve(nginx, SENDS, "asgi_websocket_queue 16k;")
    (worker,) = nginx.workers()
    socket = connect(nginx, "/?1000", receive=4096)
    settled(lambda: len(nginx.recorded("sent")))
    before = anonymous(worker)
    others = [connect(nginx, "/?1000", receive=4096) for _ in range(50)]
    settled(lambda: len(nginx.recorded("sent")))
    # 16 KB each, and what a connection costs.
    assert anonymous(worker) - before < 50 * 200 * 1024
    for each in [socket, *others]:
        each.connection.close()
    nginx.wait_recorded("ended", 51)


@pytest.mark.unsanitized("it keeps what has been freed")
def test_an_application_that_does_not_receive_holds_back_its_client(nginx):
    serve(nginx, WAITS, "asgi_websocket_queue 64k;")
    (worker,) = nginx.workers()
    socket = connect(nginx, "/?held")
    before = anonymous(worker)
    message = frame(BINARY, bytes(10_000))
    socket.connection.sock.settimeout(1)
    sent = 0
    with pytest.raises(TimeoutError):
        while sent < 64 << 20:
            sent += socket.connection.sock.send(message[sent % len(message) :])
    # The kernel has the rest.
    assert anonymous(worker) - before < 2 << 20
    other = connect(nginx)
    other.send(frame(BINARY, b"end"))
    assert other.message().payload == b"3"
    nginx.open_gate("receive")
    socket.connection.sock.settimeout(60)
    socket.send(message[sent % len(message) :] + frame(BINARY, b"end"))
    assert int(socket.message().payload) == (sent // len(message) + 1) * 10_000 + 3


def test_a_message_that_is_larger_than_the_queue(nginx):
    serve(nginx, location="asgi_websocket_queue 4k; asgi_websocket_max_message_size 4m;")
    with websockets.sync.client.connect(
        nginx.url("/", scheme="ws"), max_size=None, compression=None, proxy=None
    ) as socket:
        for size in (4095, 4096, 65536, 1 << 20, 4 << 20):
            message = "x" * (size - 3) + "end"
            socket.send(message)
            assert socket.recv(timeout=60) == message


# Receives 1000 messages, once they are all here, and records how many turns another task has had.
TURNS = """
    import asyncio
    from testkit import gate, record

    async def application(scope, receive, send):
        turns = 0

        async def other():
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        await receive()
        await send({"type": "websocket.accept"})
        await asyncio.to_thread(gate, "receive")
        task = asyncio.create_task(other())
        for number in range(1000):
            assert int((await receive())["text"]) == number
        record("turns", turns)
        task.cancel()
"""


def test_a_client_that_sends_much_leaves_the_loop_to_others(nginx):
    serve(nginx, TURNS, "asgi_websocket_queue 1m;")
    socket = connect(nginx)
    socket.send(b"".join(frame(TEXT, str(number)) for number in range(1000)) + frame(PING))
    # It comes when all messages before it are there.
    assert socket.frame().opcode == PONG
    nginx.open_gate("receive")
    (turns,) = nginx.wait_recorded("turns")
    assert int(turns) >= 1000 // 50


def test_a_client_that_takes_much_leaves_the_loop_to_others(nginx):
    receive = 'assert int((await receive())["text"]) == number'
    send = 'await send({"type": "websocket.send", "text": str(number)})'
    assert receive in TURNS
    serve(nginx, TURNS.replace(receive, send), "asgi_websocket_queue 1m;")
    socket = connect(nginx)
    nginx.open_gate("receive")
    assert [int(socket.message().payload) for _ in range(1000)] == list(range(1000))
    (turns,) = nginx.wait_recorded("turns")
    assert int(turns) >= 1000 // 50


def test_a_message_in_many_frames_leaves_the_loop_to_others(nginx):
    serve(nginx, TURNS.replace("range(1000)", "[0]"), "asgi_websocket_queue 1m;")
    socket = connect(nginx)
    parts = frame(TEXT, "0", first=0) + frame(0, "", first=0) * 10
    socket.send(parts + frame(0, "0", first=0) * 998 + frame(0, "") + frame(PING))
    assert socket.frame().opcode == PONG
    nginx.open_gate("receive")
    (turns,) = nginx.wait_recorded("turns")
    assert int(turns) >= 1000 // 50


def test_an_application_that_does_not_mind_the_end_leaves_the_loop_to_others(nginx):
    serve(
        nginx,
        """
        from testkit import respond

        async def application(scope, receive, send):
            if scope["type"] == "http" and scope["method"] == "GET":
                return await respond(send, b"served")
            if scope["type"] == "websocket":
                await receive()
                await send({"type": "websocket.accept"})
            while True:
                await receive()
        """,
        http="python_drain_timeout 1s;",
    )
    socket = connect(nginx)
    socket.connection.close()
    with nginx.connect() as connection:
        connection.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\na")
    client = nginx.client(timeout=30)
    for _ in range(3):
        assert client.get("/").text == "served"


def test_many_small_messages_in_one_packet(nginx):
    serve(nginx, location="asgi_websocket_queue 4k;")
    socket = connect(nginx)
    messages = [str(number).encode() for number in range(5000)]
    socket.send(b"".join(frame(TEXT, message) for message in messages))
    assert [socket.message().payload for _ in messages] == messages


@pytest.mark.unsanitized("it keeps what has been freed")
def test_a_client_that_sends_pings_and_does_not_read_gets_the_last_pong(nginx):
    serve(nginx)
    (worker,) = nginx.workers()
    socket = connect(nginx, receive=4096)
    before = anonymous(worker)
    # Pongs for all of them would not fit into the kernel's buffers.
    for number in range(100_000):
        socket.send(frame(PING, f"{number:0100}"))
    last = f"{99_999:0100}".encode()
    seen = []
    for _ in itertools.count():
        answer = socket.frame()
        assert answer.opcode == PONG
        seen.append(int(answer.payload))
        if answer.payload == last:
            break
    assert seen == sorted(seen)
    assert anonymous(worker) - before < 8 << 20


def test_a_client_that_answers_no_ping_is_gone(nginx):
    location = "asgi_websocket_ping_interval 300ms; asgi_websocket_ping_timeout 300ms;"
    serve(nginx, location=location)
    silent, alive, talking = connect(nginx), connect(nginx), connect(nginx)
    ping = silent.frame()
    assert (ping.opcode, ping.payload) == (PING, b"")
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline:
        # One answers, the other sends messages: both are there.
        received = alive.frame()
        assert received.opcode == PING
        alive.send(frame(PONG, received.payload))
        talking.send(frame(TEXT, "here"))
        assert talking.message().payload == b"here"
    assert silent.ends()
    assert nginx.wait_recorded("disconnect") == ["1006 "]
    assert "[info]" in nginx.wait_log("client has answered no ping for 300 ms")
    alive.send(frame(TEXT, "still here"))
    assert alive.message().payload == b"still here"


def test_a_client_that_takes_a_large_message_slowly_is_there(nginx):
    """A ping would come behind the message."""
    location = "asgi_websocket_ping_interval 200ms; asgi_websocket_ping_timeout 200ms;"
    serve(nginx, NUMBERED, location)
    socket = connect(nginx, f"/?{12 << 20},1", receive=4096)
    time.sleep(3)
    assert len(socket.message().payload) == (12 << 20) + 8
    # From now on it must answer.
    assert socket.frame().opcode == PING
    assert socket.ends()
    nginx.wait_log("client has answered no ping for 200 ms")


def test_a_client_that_takes_nothing_is_gone(nginx):
    serve(nginx, SENDS, "send_timeout 1s;")
    socket = connect(nginx, "/?100000", receive=4096)
    nginx.wait_recorded("ended")
    assert "[info]" in nginx.wait_log("client timed out (send_timeout)")
    socket.connection.close()


def test_many_connections_at_once(nginx):
    serve(nginx)
    sockets = [connect(nginx) for _ in range(400)]
    for number, socket in enumerate(sockets):
        socket.send(frame(TEXT, str(number)))
    for number, socket in enumerate(sockets):
        assert socket.message().payload == str(number).encode()
    for socket in sockets:
        socket.send(close())
    for socket in sockets:
        assert socket.frame().opcode == CLOSE
        assert socket.ends()
    assert len(nginx.wait_recorded("disconnect", 400)) == 400


def test_descriptors_are_given_back(nginx):
    serve(nginx)
    (worker,) = nginx.workers()
    connect(nginx).connection.close()
    nginx.wait_recorded("disconnect")

    before = settled(lambda: descriptors(worker))
    for number in range(60):
        socket = connect(nginx)
        match number % 3:
            case 0:
                socket.connection.reset()
            case 1:
                socket.send(frame(3))
                assert socket.frame().close_code == 1002
                socket.connection.close()
            case 2:
                socket.send(close())
                assert socket.frame().close_code == 1000
                assert socket.ends()
    nginx.wait_recorded("disconnect", 61)
    wait_for(lambda: descriptors(worker) <= before, 30, "the descriptors of before")
