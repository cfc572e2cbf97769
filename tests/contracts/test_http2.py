"""The listener speaks HTTP/2 where it speaks TLS, with both routers."""

import hashlib
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from bleen.model import Routing, Target
from bleen.ports import Router
from bleen.providers.routers.envoy import Envoy
from bleen.providers.routers.haproxy import HAProxy
from bleen.testing.proxies import self_signed
from bleen.testing.routers import BLUE, GREEN, Fleet
from bleen.testing.site import Site
from http2 import Cut, Http2

ROUTERS: Mapping[str, Callable[[Site], Router]] = {
    "envoy": lambda s: Envoy(s.place, s.fence, s.reserve, s.listener, s.asked),
    "haproxy": lambda s: HAProxy(s.place, s.fence, s.reserve, s.listener, s.asked),
}


@pytest.fixture(params=ROUTERS)
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path / "site", ROUTERS[request.param], tls=self_signed(tmp_path / "tls"))
    site.up()
    yield site
    site.signal(9)


def connected(site: Site) -> Http2:
    assert site.listener.tls
    return Http2(site.listen, site.listener.tls["certificate"])


def lead(site: Site, wanted: Routing) -> None:
    site.prepare(wanted)
    site.route(wanted)


class Early:
    """An application that answers every POST at once, and goes on to read what belongs to it before it answers anything else on that connection."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.target = Target(*self._listener.getsockname()[:2])
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=self._talk, args=self._listener.accept()[:1], daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as read, suppress(OSError):
            while line := read.readline():
                fields = {}
                while (field := read.readline().strip().lower()) != b"":
                    name, _, value = field.partition(b":")
                    fields[name] = value.strip()
                refused = line.startswith(b"POST")
                connection.sendall(b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n" if refused else b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                if fields.get(b"connection") == b"close":
                    connection.shutdown(socket.SHUT_WR)
                left = int(fields.get(b"content-length", 0))
                while left and (data := read.read1(left)):
                    left -= len(data)


def test_no_request_fails_while_traffic_moves_to_and_fro(site: Site) -> None:
    """no request fails while clients hammer the switch"""
    fleet, over = Fleet(), threading.Event()

    def client(number: int) -> int:
        told, body = 0, bytes([number]) * 200_000
        with connected(site) as http:
            while not over.is_set():
                streams = [http.begin("GET", "/"), http.begin("POST", "/echo", body), http.begin("GET", "/headers"), http.begin("POST", "/echo", body[:99])]
                answers = [http.answer(stream) for stream in streams]
                assert [status for status, _, _ in answers] == [200] * 4
                assert [answers[n][1]["x-checksum"] for n in (1, 3)] == [hashlib.sha256(b).hexdigest() for b in (body, body[:99])]
                told += len(answers)
        return told

    lead(site, fleet.routing({BLUE: 100}))
    try:
        with ThreadPoolExecutor(4) as pool:
            clients = [pool.submit(client, number) for number in range(4)]
            for lap in range(20):
                site.route(fleet.routing({(GREEN, BLUE)[lap % 2]: 100}))
            over.set()
            assert sum(each.result() for each in clients) > 0
        with connected(site) as http:
            assert http.ask("GET", "/")[1]["x-served-by"] == "blue"
    finally:
        over.set()
        fleet.close()


def test_an_upload_that_was_answered_early_is_nobody_else_s_trouble(site: Site) -> None:
    """HAProxy 2.6 lends the connection that still waits for the rest of such an upload to the next request."""
    early = Early()
    try:
        lead(site, Routing({BLUE: 100}, None, {BLUE: (early.target,)}))
        for _ in range(4):
            with connected(site) as http:
                upload = http.begin("POST", "/upload", bytes(1_000_000))
                with suppress(Cut, OSError):
                    assert http.answer(upload)[0] == 401
                http.cut_short(upload)
            with connected(site) as http:
                assert http.ask("GET", "/")[2] == b"ok"
    finally:
        early.close()
