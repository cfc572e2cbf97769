"""What a real router finds behind a fake platform: ``python -m bleen.testing.copies WORLD PORT...`` listens on every port, and answers a request as the copy
that the platform's world has there at that moment. Where none runs, the connection is closed without a word. Ends with its standard input.

Standard library only, as ``application``, whose answers these are.
"""

import json
import os
import socket
import sys
import threading
from pathlib import Path

from bleen.testing.application import Connection, Request, Service


class Copy(Service):
    """Whatever runs at one port now; looked up for every request."""

    def __init__(self, world: Path, port: int) -> None:
        super().__init__("", "", 0.0)
        self._world, self._port = world, port

    def runs(self) -> bool:
        """Whether a copy is here; name, version and health are its own from then on."""
        try:
            row = json.loads(self._world.read_bytes())
        except FileNotFoundError:
            return False
        for name, found in row["environments"].items():
            if self._port in found["ports"][: found["replicas"]]:
                place = found["ports"].index(self._port)
                sick = row["sick"].get(name) or row["sick"].get(found["version"])
                self.name, self.version = name, found["version"]
                self.health = "fail" if sick and place >= sick["ready"] else "ok"
                return bool(found["copies"][place])
        return False


class _Visit(Connection):
    """A connection to a port at which a copy may run, or not any more."""

    def __init__(self, copy: Copy, sock: socket.socket) -> None:
        super().__init__(copy, sock)
        self._copy = copy

    def _next(self) -> Request | None:
        request = super()._next()
        return request if request and self._copy.runs() else None


def main() -> None:
    world, ports = Path(sys.argv[1]), [int(port) for port in sys.argv[2:]]
    for port in ports:
        listener = socket.create_server(("127.0.0.1", port), backlog=256)
        threading.Thread(target=_accept, args=(listener, Copy(world, port)), daemon=True).start()
    print("all listen", flush=True)
    while os.read(0, 1):
        pass


def _accept(listener: socket.socket, copy: Copy) -> None:
    while True:
        client, _ = listener.accept()
        threading.Thread(target=_Visit(copy, client).serve, daemon=True).start()


if __name__ == "__main__":
    main()
