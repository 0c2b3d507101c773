"""HTTP/2 stream by stream, for what an ordinary client does not do: reset or interleave streams."""

from __future__ import annotations

import socket
import ssl

import h2.config
import h2.connection
import h2.events
import h2.settings


class Stream:
    """What has arrived on one stream."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.hints: list[tuple[str, str]] = []
        self.body = b""
        self.trailers: list[tuple[str, str]] = []
        self.ended = False
        self.reset = False

    @property
    def status(self) -> int:
        return int(self.headers[":status"])


class Http2:
    """A connection; each request is a stream of its own, and none waits for another.

    plain: without TLS, by prior knowledge (h2c).
    window: bytes of each stream that the server may send before the client has read any.
    """

    def __init__(
        self, port: int, timeout: float = 60.0, *, plain: bool = False, window: int | None = None
    ) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout)
        self.scheme = "http" if plain else "https"
        if not plain:
            self.sock = _tls(self.sock)
        config = h2.config.H2Configuration(header_encoding="utf-8")
        self.state = h2.connection.H2Connection(config)
        if window is not None:
            own = {h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window}
            self.state.local_settings = h2.settings.Settings(client=True, initial_values=own)
        self.state.initiate_connection()
        self.streams: dict[int, Stream] = {}
        self._flush()

    def __enter__(self) -> Http2:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        self.sock.close()

    def request(
        self,
        path: str,
        *,
        method: str = "GET",
        end: bool = True,
        fields: dict[str, str] | None = None,
    ) -> int:
        """Begins a request and returns its stream's number; `end`: it has no body."""
        stream = self.state.get_next_available_stream_id()
        headers = [(":method", method), (":scheme", self.scheme), (":authority", "localhost")]
        headers += [(":path", path), *(fields or {}).items()]
        self.state.send_headers(stream, headers, end_stream=end)
        self.streams[stream] = Stream()
        self._flush()
        return stream

    def send(self, stream: int, data: bytes, *, end: bool = False) -> None:
        """Sends a piece of a request's body; it must fit into the window."""
        self.state.send_data(stream, data, end_stream=end)
        self._flush()

    def reset(self, stream: int) -> None:
        """Resets a stream (RST_STREAM with CANCEL), as a browser does on Stop."""
        self.state.reset_stream(stream, error_code=8)
        self._flush()

    def until(self, condition) -> None:
        """Takes what arrives until `condition()` is true."""
        while not condition():
            data = self.sock.recv(65536)
            assert data, "the server closed the connection"
            for event in self.state.receive_data(data):
                self._take(event)
            self._flush()

    def response(self, stream: int) -> Stream:
        """The whole response on a stream, or what came before the server reset it."""
        answer = self.streams[stream]
        self.until(lambda: answer.ended or answer.reset)
        return answer

    def _take(self, event: object) -> None:
        if isinstance(event, h2.events.InformationalResponseReceived):
            self.streams[event.stream_id].hints += event.headers
        elif isinstance(event, h2.events.ResponseReceived):
            self.streams[event.stream_id].headers = dict(event.headers)
        elif isinstance(event, h2.events.DataReceived):
            self.streams[event.stream_id].body += event.data
            self.state.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.TrailersReceived):
            self.streams[event.stream_id].trailers = list(event.headers)
        elif isinstance(event, h2.events.StreamEnded):
            self.streams[event.stream_id].ended = True
        elif isinstance(event, h2.events.StreamReset):
            self.streams[event.stream_id].reset = True

    def _flush(self) -> None:
        data = self.state.data_to_send()
        if data:
            self.sock.sendall(data)


def _tls(plain: socket.socket) -> ssl.SSLSocket:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    sock = context.wrap_socket(plain, server_hostname="localhost")
    assert sock.selected_alpn_protocol() == "h2"
    return sock
