"""Envoy's administration interface over a unix socket: just enough HTTP/1.1 (RFC 9112), without the 20 ms that http.client costs to load."""

import os
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from bleen.errors import Unavailable
from bleen.providers.routers.unanswering import Proxy

PATIENCE = 1.5
"""Seconds that one answer may take. It is milliseconds, so whoever is longer hangs or has been stopped."""


class Absent(Unavailable):
    """Nobody listens on the socket."""


class Admin:
    """One connection, for the calls of one look at Envoy. Everything that goes wrong raises Unavailable."""

    def __init__(self, path: Path, proxy: Proxy) -> None:
        """``path`` is the socket of ``proxy``."""
        self._path, self._proxy = path, proxy
        self._pending = b""
        self._deadline = 0.0
        try:
            self._socket = socket.socket(socket.AF_UNIX)
        except OSError as error:  # out of descriptors
            raise self._unavailable(error) from None
        try:
            self._connect()
        except OSError as error:
            self._socket.close()
            raise self._unavailable(error) from None

    def __enter__(self) -> "Admin":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._socket.close()

    def get(self, target: str, unready: int = 200) -> bytes:
        """The body of the answer to a GET: of one with status 200, or ``unready``."""
        self._send(target)
        return self._told(target, unready)

    def ask(self, target: str) -> Callable[[], bytes]:
        """The same of a GET that is answered while the caller does something else: what waits for it, and is called before anything else is asked."""
        self._send(target)
        answer: list[bytes] = []

        def told() -> bytes:
            if not answer:
                answer.append(self._told(target))
            return answer[0]

        return told

    def get_all(self, *targets: str) -> list[bytes]:
        """The same of several, asked at once, each on a connection of its own: Envoy's administration knows no pipelining."""
        with ExitStack() as beside:
            each = [self, *(beside.enter_context(Admin(self._path, self._proxy)) for _ in targets[1:])]
            for admin, target in zip(each, targets, strict=True):
                admin._send(target)
            return [admin._told(target) for admin, target in zip(each, targets, strict=True)]

    def _send(self, target: str) -> None:
        self._deadline = time.monotonic() + PATIENCE
        try:
            self._socket.settimeout(PATIENCE)
            self._socket.sendall(f"GET {target} HTTP/1.1\r\nHost: envoy\r\n\r\n".encode())
        except OSError as error:
            raise self._unavailable(error) from None

    def _told(self, target: str, unready: int = 200) -> bytes:
        try:
            return self._answer(target, (200, unready))
        except (OSError, ValueError) as error:
            raise self._unavailable(error) from None

    def _connect(self) -> None:
        """Through the descriptor of its directory: a socket's name may have 107 bytes (unix(7)), and a state directory more than that."""
        folder = os.open(self._path.parent, os.O_PATH | os.O_DIRECTORY)
        try:
            self._socket.settimeout(PATIENCE)
            self._socket.connect(f"/proc/self/fd/{folder}/{self._path.name}")
        finally:
            os.close(folder)

    def _answer(self, target: str, statuses: tuple[int, ...]) -> bytes:
        status, *fields = self._until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (f.partition(":") for f in fields)}
        if headers.get("transfer-encoding") == "chunked":
            body = b""
            while size := int(self._until(b"\r\n"), 16):
                body += self._exactly(size)
                self._until(b"\r\n")
            self._until(b"\r\n")
        else:
            body = self._exactly(int(headers["content-length"]))
        if int(status.split()[1]) not in statuses:
            raise ValueError(f"{target.partition('?')[0]} was answered {status.partition(' ')[2]}: {body[:200].decode(errors='replace').strip()}")
        return body

    def _until(self, mark: bytes) -> bytes:
        while mark not in self._pending:
            self._more()
        found, _, self._pending = self._pending.partition(mark)
        return found

    def _exactly(self, size: int) -> bytes:
        while len(self._pending) < size:
            self._more()
        found, self._pending = self._pending[:size], self._pending[size:]
        return found

    def _more(self) -> None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._socket.settimeout(left)
        data = self._socket.recv(1 << 16)
        if not data:
            raise ConnectionResetError("it closed the connection")
        self._pending += data

    def _unavailable(self, error: Exception) -> Unavailable:
        if isinstance(error, FileNotFoundError | ConnectionRefusedError):
            process = self._proxy.running()
            said = f"Envoy (pid {process.pid}) runs, but" if process else "Envoy is not running:"
            return Absent(f"{said} nobody listens on {self._path}; {self._proxy.way(process)}")
        if isinstance(error, TimeoutError):
            return Unavailable(f"Envoy hangs: no answer on {self._path} within {PATIENCE} s; {self._proxy.way(self._proxy.running())}")
        return Unavailable(f"Envoy gives no sensible answer on {self._path}: {error}")
