"""HTTP/3 for tests: one connection over QUIC, driven step by step in an event loop of its own."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable, Coroutine
from typing import Any

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import QuicEvent, StreamReset


class Stream:
    """What has arrived on one stream."""

    def __init__(self) -> None:
        self.headers: list[tuple[str, str]] = []
        # Each interim response (1xx) that came before.
        self.interim: list[list[tuple[str, str]]] = []
        self.trailers: list[tuple[str, str]] = []
        self.body = b""
        self.ended = False
        self.reset = False
        self.changed = asyncio.Event()

    @property
    def status(self) -> int:
        return int(dict(self.headers)[":status"])

    def all(self, name: str) -> list[str]:
        return [value for known, value in self.headers if known == name]


class Http3(QuicConnectionProtocol):
    """Each request is a stream of its own, and none waits for another."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.http = H3Connection(self._quic)
        self.streams: dict[int, Stream] = {}

    def request(
        self,
        path: str,
        *,
        method: str = "GET",
        headers: list[tuple[str, str]] | None = None,
        end: bool = True,
    ) -> int:
        stream = self._quic.get_next_available_stream_id()
        self.streams[stream] = Stream()
        fields = [(":method", method), (":scheme", "https"), (":authority", "localhost")]
        fields += [(":path", path), *(headers or [])]
        encoded = [(name.encode(), value.encode()) for name, value in fields]
        self.http.send_headers(stream, encoded, end_stream=end)
        self.transmit()
        return stream

    def send(self, stream: int, data: bytes, *, end: bool = False) -> None:
        self.http.send_data(stream, data, end_stream=end)
        self.transmit()

    def reset(self, stream: int) -> None:
        """H3_REQUEST_CANCELLED, both ways."""
        self._quic.stop_stream(stream, 0x10C)
        self._quic.reset_stream(stream, 0x10C)
        self.transmit()

    async def until(self, stream: int, condition: Callable[[Stream], bool]) -> Stream:
        arrived = self.streams[stream]
        while not condition(arrived):
            arrived.changed.clear()
            await asyncio.wait_for(arrived.changed.wait(), 60)
        return arrived

    async def response(self, stream: int) -> Stream:
        return await self.until(stream, lambda arrived: arrived.ended or arrived.reset)

    async def get(self, path: str, **options: Any) -> Stream:
        return await self.response(self.request(path, **options))

    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, StreamReset) and event.stream_id in self.streams:
            self.streams[event.stream_id].reset = True
            self.streams[event.stream_id].changed.set()
        for known in self.http.handle_event(event):
            stream = self.streams.get(getattr(known, "stream_id", -1))
            if stream is None:
                continue
            if isinstance(known, HeadersReceived):
                fields = [(name.decode(), value.decode()) for name, value in known.headers]
                if dict(fields).get(":status", "").startswith("1"):
                    stream.interim.append(fields)
                elif stream.headers:
                    stream.trailers = fields
                else:
                    stream.headers = fields
                stream.ended = known.stream_ended
            elif isinstance(known, DataReceived):
                stream.body += known.data
                stream.ended = known.stream_ended
            stream.changed.set()


def run(port: int, talk: Callable[[Http3], Coroutine[Any, Any, None]]) -> None:
    """Connects to that port of 127.0.0.1, and hands the connection to `talk`."""

    async def connected() -> None:
        configuration = QuicConfiguration(
            is_client=True, alpn_protocols=H3_ALPN, verify_mode=ssl.CERT_NONE
        )
        connecting = connect("127.0.0.1", port, configuration=configuration, create_protocol=Http3)
        async with contextlib.AsyncExitStack() as stack:
            await talk(await stack.enter_async_context(connecting))

    asyncio.run(connected())
