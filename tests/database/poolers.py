"""What stands between a client and a database server, and makes up what the server says."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def pooler(server: int, disguised: Callable[[bytes], bytes]) -> Iterator[int]:
    """A port that leads to a server's port; what the server says is ``disguised``."""
    listener = socket.create_server(("127.0.0.1", 0))
    threads: list[threading.Thread] = []

    def copy(source: socket.socket, to: socket.socket, told: Callable[[bytes], bytes]) -> None:
        with source, to:
            while data := source.recv(65536):
                to.sendall(told(data))
            to.shutdown(socket.SHUT_WR)

    def serve() -> None:
        while True:
            client, _ = listener.accept()
            if stopping.is_set():
                client.close()
                return
            upstream = socket.create_connection(("127.0.0.1", server))
            threads.append(threading.Thread(target=copy, args=(client.dup(), upstream.dup(), bytes)))
            threads.append(threading.Thread(target=copy, args=(upstream, client, disguised)))
            for thread in threads[-2:]:
                thread.start()

    stopping = threading.Event()
    serving = threading.Thread(target=serve)
    serving.start()
    try:
        yield listener.getsockname()[1]
    finally:
        stopping.set()
        socket.create_connection(listener.getsockname()).close()
        for thread in (serving, *threads):
            thread.join()
        listener.close()
