"""One look at a target: what passes for well, and in which words it does not."""

import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from bleen.host import launch, processes
from bleen.model import Target
from bleen.plan import Probe
from bleen.providers.platforms.process_health import Owners, look, look_at_all
from bleen.testing.site import Recital, until

PROBE = Probe("/health?a=b", patience=0.5)


@contextmanager
def answering(*pieces: bytes, every: float = 0.0, then: str = "close") -> Iterator[tuple[Target, list[bytes]]]:
    """A server that answers each request with these pieces, and closes, resets or waits then; and the requests that it got."""
    got: list[bytes] = []
    over = threading.Event()

    def serve() -> None:
        while True:
            try:
                client, _ = server.accept()
            except OSError:  # closed by the test
                return
            with client:
                got.append(client.recv(65536))
                with suppress(BrokenPipeError, ConnectionResetError):  # the look was over before the answer
                    for piece in pieces:
                        client.sendall(piece)
                        over.wait(every)
                if then == "reset":
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                if then == "wait":
                    over.wait(20)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield Target(*server.getsockname()), got
        finally:
            over.set()
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", ""),
        (b"HTTP/1.0 204 No Content\r\n\r\n", ""),
        (b"HTTP/1.1 399\r\n\r\n", ""),
        (b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", ""),
        (b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 503 No\r\n\r\n", "answered 503"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "answered 400"),
        (b"HTTP/1.1 500 Oh\r\n\r\n", "answered 500"),
        (b"HTTP/1.1 2000 OK\r\n\r\n", "answered something that is not HTTP: b'HTTP/1.1 2000 OK\\r\\n\\r\\n'"),
        (b"SSH-2.0-OpenSSH_9.2p1\r\n", "answered something that is not HTTP: b'SSH-2.0-OpenSSH_9.2p1\\r\\n'"),
        (b"HTTP/1.1 2", "answered something that is not HTTP: b'HTTP/1.1 2'"),
        (b"", "answered nothing and closed the connection"),
    ],
)
def test_an_answer_of_200_to_399_is_well_and_everything_else_is_said(answer: bytes, why: str) -> None:
    with answering(answer) as (target, got):
        assert look(target, PROBE) == why
    assert got == [f"GET /health?a=b HTTP/1.1\r\nHost: {target}\r\nUser-Agent: bleen\r\nAccept: */*\r\nConnection: close\r\n\r\n".encode()]


def test_an_answer_in_small_pieces_is_put_together() -> None:
    with answering(*(bytes([byte]) for byte in b"HTTP/1.1 200 OK\r\n\r\n"), every=0.001) as (target, _):
        assert look(target, PROBE) == ""


def test_a_look_takes_the_whole_answer_and_resets_no_connection() -> None:
    """A health check takes the whole answer, and the application sees no reset."""
    for pieces in (
        (b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n", b"one", b"two"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"3\r\none\r\n", b"0\r\n\r\n"),
        (b"HTTP/1.0 200 OK\r\n\r\n", b"one", b"two"),
        (b"HTTP/1.1 204 No Content\r\n", b"\r\n"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1048576\r\n\r\n", *[bytes(262144)] * 4),
    ):
        with Recital(*pieces) as healthy:
            assert look(healthy.target, PROBE) == ""
            until("the application is done", lambda: healthy.ends)
            assert healthy.ends == [""], pieces[0]


def test_nobody_there_and_a_reset_are_said() -> None:
    with answering(then="reset") as (target, _):
        assert look(target, PROBE) == "broke the connection (Connection reset by peer)"
    assert look(target, PROBE) == "nothing listens on the port"


def test_a_listener_at_another_address_is_told_from_none() -> None:
    with socket.create_server(("127.0.0.2", 0)) as elsewhere:
        assert look(Target("127.0.0.1", elsewhere.getsockname()[1]), PROBE) == "the port is listened on, but not at 127.0.0.1"


def test_no_answer_and_one_that_comes_too_slowly_are_given_up_when_patience_ends() -> None:
    with answering(then="wait") as (silent, _), answering(*[b"H", b"T"] * 2000, every=0.1) as (slow, _):
        assert look_at_all({1: silent, 2: slow}, PROBE) == {1: "gave no answer within 0.5 s", 2: "gave no answer within 0.5 s"}


def test_all_are_looked_at_at_once() -> None:
    barrier = threading.Barrier(3, timeout=10)

    def serve(server: socket.socket) -> None:
        client, _ = server.accept()
        with client:
            client.recv(65536)
            barrier.wait()  # nobody is answered before all have been asked
            client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")

    servers = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    threads = [threading.Thread(target=serve, args=(server,)) for server in servers]
    for thread in threads:
        thread.start()
    found = look_at_all({n: Target(*server.getsockname()) for n, server in enumerate(servers)}, Probe("/", patience=10.0))
    for thread, server in zip(threads, servers, strict=True):
        thread.join()
        server.close()
    assert found == {0: "", 1: "", 2: ""}


def test_a_look_that_could_not_be_made_says_nothing_of_the_target() -> None:
    """Fail closed: a check that could not run is not a pass, and no verdict on the environment either."""
    script = (
        "import resource; from bleen.model import Target; from bleen.plan import Probe; from bleen.errors import Unavailable\n"
        "from bleen.providers.platforms.process_health import look_at_all\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))\n"
        "try: print(look_at_all({1: Target('127.0.0.1', 1)}, Probe()))\n"
        "except Unavailable as error: print(error)"
    )
    said = subprocess.check_output([sys.executable, "-c", script], text=True)
    assert said == "127.0.0.1:1 could not be asked how it is: Too many open files\n"


def test_a_bug_of_ours_in_a_look_is_no_news_of_the_target() -> None:
    """A bug of ours is neither health nor death."""
    with answering(b"HTTP/1.1 200 OK\r\n\r\n") as (well, _), pytest.raises(TypeError):
        look_at_all({1: well, 2: Target("127.0.0.1", "no port")}, PROBE)  # type: ignore[arg-type]


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[tuple[Path, processes.Process, int]]:
    """A launched program that listens with SO_REUSEPORT: its record, process and port."""
    script = (
        "import socket, time; s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1); s.bind(('127.0.0.1', 0)); s.listen()\n"
        "print(s.getsockname()[1], flush=True); time.sleep(1000)"
    )
    record = tmp_path / "1.json"
    process = launch.launch(launch.Program([sys.executable, "-c", script], "/", dict(os.environ), str(tmp_path / "1.log")), record)
    deadline = time.monotonic() + 20
    while not (said := (tmp_path / "1.log").read_text()).endswith("\n"):
        assert time.monotonic() < deadline, "the program never listened"
        time.sleep(0.01)
    yield record, process, int(said)
    while not launch.end(record, 9):
        time.sleep(0.01)


def test_a_port_shared_with_a_stranger_is_not_the_instances_own(listener: tuple[Path, processes.Process, int]) -> None:
    """A target is healthy only if the listening socket belongs to its own process tree: an old process on the port must not pass for the new one."""
    record, process, port = listener
    assert Owners().objection(record, process, port) == ""
    with socket.socket() as intruder:
        intruder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        intruder.bind(("127.0.0.1", port))
        intruder.listen()
        assert Owners().objection(record, process, port).startswith(f"another process, pid {os.getpid()} (")
    assert Owners().objection(record, process, port) == ""


def test_a_proof_ends_with_the_process_that_it_was_made_of(listener: tuple[Path, processes.Process, int]) -> None:
    record, process, port = listener
    owners = Owners()
    assert owners.objection(record, process, port) == ""
    process.signal(9)
    while process.alive:
        time.sleep(0.001)
    with socket.create_server(("127.0.0.1", port)):
        assert "another process" in owners.objection(record, process, port)


def test_a_port_that_nobody_listens_on_yet_is_not_asked_for_an_old_process_may_be_faster(listener: tuple[Path, processes.Process, int]) -> None:
    """A target is healthy only if the listening socket belongs to its own process tree: who answers must have been its own before it was asked."""
    record, process, _ = listener
    with socket.create_server(("127.0.0.1", 0)) as gone:
        free = gone.getsockname()[1]
    assert Owners().objection(record, process, free) == "nothing listens on the port"


def test_a_socket_at_another_address_of_the_host_is_nobodys_concern(listener: tuple[Path, processes.Process, int]) -> None:
    record, process, port = listener
    with socket.create_server(("127.0.0.2", port)):
        assert Owners().objection(record, process, port) == ""
