"""The clients count everything that is not a whole answer from the application; else no figure of theirs would mean anything."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bleen.testing.load import Load, Report
from bleen.testing.site import Application

OK = b"HTTP/1.1 200 OK\r\nX-Served-By: blue\r\nContent-Length: 5\r\n\r\nwhole"


@contextmanager
def server(answer: bytes, reset: bool = False, hang: bool = False) -> Iterator[str]:
    """Answers every request with these bytes and ends the connection."""
    ended = threading.Event()

    def serve(client: socket.socket) -> None:
        with client:
            try:
                client.recv(65536)
                if hang:
                    ended.wait()
                if reset:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                client.sendall(answer)
            except ConnectionError:
                return  # the clients have stopped

    def accept(listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(client,)).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, args=(listener,)).start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        ended.set()
        listener.shutdown(socket.SHUT_RDWR)


def loaded(address: str, mix: tuple[str, ...] = ("get-new",), timeout: float = 5.0) -> Report:
    with Load(address, clients=len(mix), mix=mix, timeout=timeout) as load:
        load.wait(5)
    return load.report()


def test_an_application_that_is_well_fails_nothing() -> None:
    with Application("blue") as application:
        since = Load.now()
        report = loaded(str(application.target), ("get", "get-new", "post", "post-new"))
    assert not report.failures
    assert set(report.who(after=since)) == {"blue"}
    assert report.last_start("blue") == max(answer.start for answer in report)
    assert len(report) == report.kinds().total() >= 5


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (OK.replace(b"X-Served-By: blue\r\n", b""), "not from the application"),
        (b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", "503 that is not from the application"),
        (OK.replace(b"200 OK", b"500 Oops"), "500 from blue"),
        (OK[:-1], "truncated body"),
        (OK[:30], "truncated head"),
        (OK.replace(b"Content-Length: 5", b"Transfer-Encoding: chunked").replace(b"whole", b"5\r\nwhole\r\n"), "truncated body"),
        (b"", "no answer"),
        (b"nonsense\r\n\r\n", "an answer without a length"),
    ],
)
def test_what_is_not_a_whole_answer_of_the_application_has_failed(answer: bytes, problem: str) -> None:
    with server(answer) as address:
        report = loaded(address)
    assert len(report.failures) == len(report) >= 5
    assert {problem in failure.problem for failure in report.failures} == {True}, str(report)
    assert not report.who()


def test_a_reset_a_timeout_and_a_refused_connection_have_failed() -> None:
    with server(b"", reset=True) as address:
        assert "ConnectionResetError" in str(loaded(address))
    with server(OK, hang=True) as address:
        report = loaded(address, timeout=0.1)
        assert {failure.problem for failure in report.failures} == {"timeout"}
    assert "ConnectionRefusedError" in str(loaded(address))


def test_an_echo_that_differs_has_failed() -> None:
    with server(OK) as address:
        assert "echoed 5 bytes that differ" in str(loaded(address, ("post-new",)))


def test_a_connection_that_is_closed_under_a_kept_alive_client_has_failed() -> None:
    with server(OK) as address:
        report = loaded(address, ("get",))
    assert report.failures
    assert report.who()["blue"] > 0
