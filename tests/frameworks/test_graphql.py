"""A GraphQL server of strawberry: queries, mutations, and subscriptions over a WebSocket."""

from __future__ import annotations

import json

import pytest
from rawhttp import wait_for


@pytest.fixture
def clock(served_asgi):
    return lambda **options: served_asgi("graphql_clock", "clock.py:app", "CLOCK", **options)


def ask(client, query: str, **variables) -> dict:
    return client.post("/", json={"query": query, "variables": variables}).json()


@pytest.mark.parametrize("http2", [False, True])
def test_queries_and_mutations(clock, http2):
    client = clock(http2=http2).client(http2=http2)
    assert ask(client, "{ ticks }") == {"data": {"ticks": 0}}
    wind = "mutation ($by: Int!) { wind(by: $by) }"
    assert ask(client, wind, by=3) == {"data": {"wind": 3}}
    tick = {"number": 5, "text": "tick 5"}
    assert ask(client, "{ tick(number: 5) { number text } }") == {"data": {"tick": tick}}
    assert "errors" in ask(client, "{ nothing }")


COUNT = "subscription ($to: Int!) { count(to: $to) { number text } }"


def subscribe(socket, number: str, to: int) -> None:
    payload = {"query": COUNT, "variables": {"to": to}}
    socket.send(json.dumps({"id": number, "type": "subscribe", "payload": payload}))


def receive(socket) -> dict:
    return json.loads(socket.recv(timeout=60))


@pytest.fixture
def begin(clock, websocket):
    """Starts nginx and opens a connection of graphql-transport-ws."""
    clock()

    def connect():
        socket = websocket("/", subprotocols=["graphql-transport-ws"])
        socket.send(json.dumps({"type": "connection_init"}))
        assert receive(socket) == {"type": "connection_ack"}
        return socket

    return connect


def test_a_subscription(begin, log_of):
    with begin() as socket:
        assert socket.subprotocol == "graphql-transport-ws"
        subscribe(socket, "1", 3)
        for number in range(3):
            tick = {"number": number, "text": f"tick {number}"}
            payload = {"data": {"count": tick}}
            assert receive(socket) == {"id": "1", "type": "next", "payload": payload}
        assert receive(socket) == {"id": "1", "type": "complete"}
    assert "subscription ended" in log_of()


def test_several_on_one_connection(begin):
    with begin() as socket:
        for name in ("a", "b", "c"):
            subscribe(socket, name, 10)
        seen: dict[str, list[int]] = {"a": [], "b": [], "c": []}
        ended = 0
        while ended < 3:
            message = receive(socket)
            if message["type"] == "complete":
                ended += 1
            else:
                seen[message["id"]].append(message["payload"]["data"]["count"]["number"])
        assert seen == {name: list(range(10)) for name in seen}


def test_a_client_that_leaves_ends_its_subscription(begin, log_of):
    with begin() as socket:
        subscribe(socket, "1", 1_000_000)
        assert receive(socket)["type"] == "next"
    wait_for(lambda: "subscription ended" in log_of(), what="the end of the generator")
