"""What a provider is tried with: applications that run, addresses that are free, and a router or a platform over a directory of its own."""

import base64
import fcntl
import json
import os
import signal
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from itertools import cycle
from pathlib import Path
from typing import TypeVar

from bleen.errors import Unavailable
from bleen.host import launch
from bleen.host.files import Fence, Reserve
from bleen.host.processes import Process
from bleen.model import Environment, NotYet, Routing, Target
from bleen.plan import Listener, Probe
from bleen.ports import Router
from bleen.testing.application import frame
from bleen.testing.load import Client, Problem

T = TypeVar("T")

QUICK = Probe("/health", interval=0.1, patience=1.0, timeout=10.0, fall=2)


_PORTS, _BLOCK = range(11000, 20000), 250
"""Below the ephemeral range, so that no outgoing connection takes one."""


def free_address() -> str:
    """An address of loopback that nobody listens on, and that no other process which asks here is given while this one lives."""
    for port in _ports():
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return f"127.0.0.1:{port}"
    raise AssertionError("the ports never end")


@cache
def _ports() -> Iterator[int]:
    """The ports of a block that this process alone has, round and round: the lock on it goes with the process."""
    directory = Path(tempfile.gettempdir()) / f"bleen-test-ports-{os.getuid()}"
    directory.mkdir(mode=0o700, exist_ok=True)
    for first in _PORTS[::_BLOCK]:
        handle = os.open(directory / str(first), os.O_RDWR | os.O_CREAT, 0o600)
        with suppress(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return cycle(range(first, first + _BLOCK))
        os.close(handle)
    raise AssertionError(f"every block of ports in {directory} is taken")


def until(what: str, look: Callable[[], T], seconds: float = 60.0) -> T:
    """Looks until it finds something that is true, and returns it. Raises TimeoutError, with ``what`` was waited for."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not in {seconds} s; the last look found {found!r}")
        time.sleep(0.01)
    return found


def done(call: Callable[[], NotYet | None], seconds: float = 20.0) -> None:
    """Makes a call of a port again and again, as an engine does, until it answers neither NotYet nor Unavailable. Raises TimeoutError with the last reason."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            answer = call()
        except Unavailable as error:
            answer = NotYet(str(error))
        if answer is None:
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"still not done after {seconds} s: {answer.why}")
        time.sleep(min(answer.again, 0.1))


class Application:
    """A test application that runs as a process of ours until ``stop`` or the end of ``with``."""

    def __init__(self, name: str, *options: str, port: int = 0) -> None:
        self.name = name
        self._output = os.memfd_create(name)
        argv = [sys.executable, "-m", "bleen.testing.application", "--name", name, "--port", str(port), *options]
        self._process = subprocess.Popen(argv, stdout=self._output, stderr=subprocess.STDOUT)
        self.target = Target("127.0.0.1", int(until(f"{name} listens", self._first_line).rpartition(":")[2]))

    def __enter__(self) -> "Application":
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        os.close(self._output)

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, path: str) -> bytes:
        """The body of a GET, past every proxy."""
        return Client(str(self.target)).ask("GET", path, close=True)[2]

    def facts(self) -> dict[str, int]:
        """See ``application.Service.facts``."""
        facts: dict[str, int] = json.loads(self.ask("/facts"))
        return facts

    def kill(self) -> None:
        """SIGKILL; gone on return."""
        self._process.kill()
        self._process.wait()

    def _first_line(self) -> str:
        if self._process.poll() is not None:
            raise RuntimeError(f"{self.name} ended with {self._process.returncode}: {os.pread(self._output, 4000, 0).decode()}")
        line, end, _ = os.pread(self._output, 4000, 0).decode().partition("\n")
        return line if end else ""


class Recital(socketserver.ThreadingTCPServer):
    """An application whose answer to /health is these pieces, each a write of its own; it notes how each look ended.

    Then it closes, or with ``closes=False`` leaves that to the peer, whatever was asked for. Anything else it answers with its name, "recital".
    Used with ``with``; listens from the beginning, and answers until the end of it.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, *pieces: bytes, closes: bool = True) -> None:
        super().__init__(("127.0.0.1", 0), _Reciting)
        self.pieces, self.closes = pieces, closes
        self.ends: list[str] = []
        """For each look an error, or "" if everything was written and the peer then closed in order."""
        self.target = Target("127.0.0.1", self.server_address[1])
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,))

    def __enter__(self) -> "Recital":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()


_LOOK = b"GET /health"
_ANSWER = b"HTTP/1.1 200 OK\r\nX-Served-By: recital\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class _Reciting(socketserver.BaseRequestHandler):
    server: Recital

    def handle(self) -> None:
        head, end = b"", ""
        try:
            while b"\r\n\r\n" not in head:
                more = self.request.recv(65536)
                if not more:
                    return
                head += more
            for piece in self.server.pieces if head.startswith(_LOOK) else (_ANSWER,):
                self.request.sendall(piece)
                time.sleep(0.005)  # time for who does not want the rest to go away
            if self.server.closes:
                self.request.shutdown(socket.SHUT_WR)
            while self.request.recv(65536):
                pass
        except OSError as error:
            end = repr(error)
        if head.startswith(_LOOK):
            self.server.ends.append(end)


class WebSocket:
    """A client of one WebSocket (RFC 6455), open from the beginning."""

    def __init__(self, address: str, timeout: float = 10.0) -> None:
        host, _, port = address.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), timeout)
        self._socket.sendall(
            f"GET /ws HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}\r\n\r\n".encode()
        )
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += self._take(1)
        if not head.startswith(b"HTTP/1.1 101"):
            raise Problem(f"no WebSocket but {head[:60]!r}")
        self.served_by = next(line.partition(b":")[2].strip().decode() for line in head.split(b"\r\n") if line.lower().startswith(b"x-served-by:"))

    def echo(self, text: bytes) -> bytes:
        """Sends a short text; returns what comes back. Raises Problem if the connection has ended."""
        self._socket.sendall(frame(0x1, text, os.urandom(4)))
        _, size = self._take(2)
        return self._take(size)

    def close(self) -> None:
        self._socket.close()

    def _take(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self._socket.recv(size - len(data))
            if not more:
                raise Problem("the WebSocket was cut")
            data += more
        return data


class Site:
    """A router on trial: a directory, two addresses, and what the suite does with them again and again.

    ``build`` makes a router of this site; it is called for every instance that the suite wants, as every process of a service makes one of its own.
    Targets are asked by ``probe``, but for those of ``probes``.
    """

    def __init__(
        self,
        root: Path,
        build: Callable[["Site"], Router],
        probe: Probe = QUICK,
        keep_alive: float | None = None,
        tls: Mapping[str, str] | None = None,
        trusted: Sequence[str] = (),
    ) -> None:
        self.place = root / "router"
        self.place.mkdir(parents=True)
        self.fence = Fence(root / "fence")
        self.reserve = Reserve(root / "reserve")
        self.listen, self.preview = free_address(), free_address()
        self.listener, self.probe = Listener(self.listen, self.preview, tls, keep_alive, trusted), probe
        self.probes = dict[Environment, Probe]()
        self._build = build
        self.router = build(self)

    def asked(self, environment: Environment) -> Probe:
        """How the targets of an environment are."""
        return self.probes.get(environment, self.probe)

    def again(self) -> Router:
        """Another instance over the same directory."""
        return self._build(self)

    def up(self, routing: Routing | None = None, epoch: int = 1) -> None:
        """Listens, and waits until it does; with nothing for anybody if not said otherwise."""
        done(lambda: self.router.up(routing or Routing(), epoch))

    def prepare(self, wanted: Routing, epoch: int = 1) -> None:
        """Prepares, and waits until it is."""
        done(lambda: self.router.prepare(wanted, epoch))

    def route(self, wanted: Routing, epoch: int = 1) -> None:
        """Routes, and waits until it is served."""

        def route() -> None:
            self.router.route(wanted, epoch)

        done(route)
        since = time.monotonic()
        done(lambda: self.router.served(wanted, time.monotonic() - since))

    def settle(self, wanted: Routing, epoch: int = 1) -> None:
        """Settles."""

        def settle() -> None:
            self.router.settle(wanted, epoch)

        done(settle)

    def drained(self, wanted: Routing) -> None:
        """Waits until every environment without a share is drained."""
        since = time.monotonic()
        for environment in wanted.targets:
            if not wanted.serves(environment):
                done(lambda idle=environment: self.router.drained(idle, time.monotonic() - since))  # type: ignore[misc]

    def get(self, path: str = "/", headers: str = "", preview: bool = False) -> tuple[int, str, bytes]:
        """One request on a connection of its own: status, who answered (empty if not an application), body."""
        trust = self.listener.tls["certificate"] if self.listener.tls and not preview else ""
        status, fields, body = Client(self.preview if preview else self.listen, trust=trust).ask("GET", path, close=True, headers=headers)
        return status, fields.get("x-served-by", ""), body

    def processes(self) -> list[Process]:
        """What this directory's launch records name and is alive."""
        found = (launch.recorded(record) for record in self.place.glob("*.json"))
        return [process for process in found if process is not None and process.alive]

    def signal(self, number: int) -> None:
        """Sends a signal to the proxy; after SIGKILL it is gone on return, after SIGSTOP each thread of it stands still."""
        given = self.processes()
        for process in given:
            process.signal(number)
        if number == signal.SIGKILL:
            until("the proxy is gone", lambda: not any(process.alive for process in given))
        elif number == signal.SIGSTOP:
            until("the proxy stands still", lambda: all(_still(process) for process in given))


def _still(process: Process) -> bool:
    """Whether every thread was stopped: one may still answer a moment after the signal."""
    return all(stat.read_text().rpartition(")")[2].split()[0] == "T" for stat in Path(f"/proc/{process.pid}/task").glob("*/stat"))
