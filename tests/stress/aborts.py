"""Clients that leave at random moments, beside others that are served completely."""

from __future__ import annotations

import ast
import random
import threading
import time

CLIENTS = 8


def one(nginx, source: random.Random, kinds: list[str], read: set[str], uploads: set[str]) -> None:
    """A request that is aborted before, in or after its head, in its response, or in an upload.

    kinds: the paths that are asked for, and `head` for a part of one. Those in `uploads` get a
    part of a body; of some in `read` the client takes some bytes before it leaves.
    """
    connection = nginx.connect()
    kind = source.choice(kinds)
    if kind in uploads:
        size = source.choice([100, 5000, 200_000])
        if source.random() < 0.5:
            connection.send(f"POST /{kind} HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n")
        else:
            coding = "Transfer-Encoding: chunked\r\n\r\n"
            connection.send(f"POST /{kind} HTTP/1.1\r\nHost: x\r\n{coding}{size:x}\r\n")
        connection.send(b"u" * source.randrange(size))
    elif kind == "head":
        head = b"GET /body?10 HTTP/1.1\r\nHost: x\r\n\r\n"
        connection.send(head[: source.randrange(len(head) + 1)])
    else:
        connection.get(f"/{kind}?{source.choice([1, 1000, 300_000])}")
    time.sleep(source.random() * 0.03)
    if kind in read and source.random() < 0.5:
        connection.sock.recv(source.choice([1, 100, 100_000]))
    if source.random() < 0.5:
        connection.reset()
    else:
        connection.close()


def many(client, count: int, once) -> None:
    """`count` calls of `once(source)` by some clients, while `client` is served completely."""
    failures: list[BaseException] = []

    def clients(seed: int) -> None:
        source = random.Random(seed)
        try:
            for _ in range(count // CLIENTS):
                once(source)
        except BaseException as error:
            failures.append(error)

    running = [threading.Thread(target=clients, args=(seed,)) for seed in range(CLIENTS)]
    for thread in running:
        thread.start()
    while any(thread.is_alive() for thread in running):
        assert client.get("/body?10").text == "s" * 200
        time.sleep(0.02)
    for thread in running:
        thread.join()
    assert not failures


def counts(client) -> dict[str, int]:
    """What the application counts."""
    return ast.literal_eval(client.get("/counts").text)
