"""A client of HTTP/2 (RFC 9113) over TLS, on one connection, for what the proxies do with several requests at once."""

import socket
import ssl
from collections import defaultdict
from contextlib import suppress
from types import TracebackType

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RemoteSettingsChanged, ResponseReceived, StreamEnded, StreamReset, WindowUpdated
from h2.exceptions import StreamClosedError


class Cut(Exception):
    """A stream was reset before its answer was whole."""


class Http2:
    """``begin`` several requests, then take their ``answer``. Raises Cut, and OSError for a connection that is lost or silent for 10 s."""

    def __init__(self, listen: str, trust: str) -> None:
        host, _, port = listen.rpartition(":")
        context = ssl.create_default_context(cafile=trust)
        context.check_hostname = False
        context.set_alpn_protocols(["h2"])
        self._socket = context.wrap_socket(socket.create_connection((host, int(port)), 10), server_hostname="localhost")
        assert self._socket.selected_alpn_protocol() == "h2", "the listener does not speak HTTP/2"
        self._http = H2Connection(H2Configuration(header_encoding="utf-8"))
        self._http.initiate_connection()
        self._fields: dict[int, dict[str, str]] = {}
        self._bodies: defaultdict[int, bytes] = defaultdict(bytes)
        self._ended, self._reset = set[int](), set[int]()
        self._flush()

    def __enter__(self) -> "Http2":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._socket.close()

    def begin(self, method: str, path: str, body: bytes = b"") -> int:
        """Sends a request, or as much of it as the proxy takes until it has answered. The number of its stream."""
        stream: int = self._http.get_next_available_stream_id()
        length = [("content-length", str(len(body)))] if body else []
        self._http.send_headers(stream, [(":method", method), (":path", path), (":scheme", "https"), (":authority", "localhost"), *length], not body)
        while body and stream not in self._ended | self._reset:
            room = min(self._http.local_flow_control_window(stream), self._http.max_outbound_frame_size, len(body))
            if not room:
                self._flush()
                self._read()
                continue
            self._http.send_data(stream, body[:room], end_stream=room == len(body))
            body = body[room:]
        self._flush()
        return stream

    def answer(self, stream: int) -> tuple[int, dict[str, str], bytes]:
        """Status, fields and body, once they are there."""
        while stream not in self._ended:
            if stream in self._reset:
                raise Cut(f"stream {stream} was reset")
            self._read()
        fields = self._fields[stream]
        return int(fields[":status"]), fields, self._bodies[stream]

    def cut_short(self, stream: int) -> None:
        """Ends a request before all of its body was sent, as curl does once it has the answer."""
        with suppress(StreamClosedError):
            self._http.end_stream(stream)
        self._flush()

    def ask(self, method: str, path: str, body: bytes = b"") -> tuple[int, dict[str, str], bytes]:
        return self.answer(self.begin(method, path, body))

    def _read(self) -> None:
        data = self._socket.recv(1 << 16)
        if not data:
            raise ConnectionResetError("the proxy closed the connection")
        for event in self._http.receive_data(data):
            match event:
                case ResponseReceived():
                    self._fields[event.stream_id] = {str(name): str(value) for name, value in event.headers}
                case DataReceived():
                    self._bodies[event.stream_id] += event.data
                    self._http.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                case StreamEnded():
                    self._ended.add(event.stream_id)
                case StreamReset():
                    self._reset.add(event.stream_id)
                case RemoteSettingsChanged() | WindowUpdated():
                    pass
        self._flush()

    def _flush(self) -> None:
        self._socket.sendall(self._http.data_to_send())
