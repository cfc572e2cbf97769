"""Clients that count. They try nothing twice, and whatever is not a whole answer from the application has failed: a 503, a reset, a truncation, a timeout.

::

    with Load("127.0.0.1:8080", clients=4) as load:
        load.wait(100)                                  # until 100 more answers are there
        router.route(wanted, epoch); ...
        switched = load.now()
        load.wait(100)
    report = load.report()
    assert not report.failures
    assert report.who(after=switched) == {"green-5"}    # requests that *started* after the switch

The clients run in a process of their own (``python -m bleen.testing.load``), so that they do not take turns with the test's own Python; it ends with whoever
started it. Times are of CLOCK_MONOTONIC, which all processes of a host share.
"""

import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

MIX = ("get", "get-new", "post", "post-new")
"""What clients do, in turn: GET or POST with an echo that is verified, on a connection that is kept or a new one for each request."""


class Answer(NamedTuple):
    """One request that was answered, or failed."""

    start: float
    end: float
    who: str
    """The environment that answered, from X-Served-By; empty if it failed."""
    kind: str
    problem: str
    """Why it failed; empty if it did not."""


class Report:
    """What became of the requests; a copy that does not grow."""

    def __init__(self, answers: "_Answers") -> None:
        self._answers = answers
        self.failures = [answer for answer in answers if answer.problem]

    def __len__(self) -> int:
        return len(self._answers)

    def __iter__(self) -> Iterator[Answer]:
        return iter(self._answers)

    def who(self, after: float = 0.0, before: float = float("inf")) -> Counter[str]:
        """How many requests that started after one moment and ended before another were answered by whom."""
        return Counter(a.who for a in self._answers if after < a.start and a.end < before and not a.problem)

    def last_start(self, who: str) -> float | None:
        """When the last request that was answered by ``who`` started."""
        return max((a.start for a in self._answers if a.who == who), default=None)

    def kinds(self) -> Counter[str]:
        """How many requests of each kind there were."""
        return Counter(a.kind for a in self._answers)

    def seconds(self, quantile: float) -> float:
        """The time that a request took, at a quantile from 0 to 1; 0 without requests."""
        times = sorted(a.end - a.start for a in self._answers if not a.problem)
        return times[min(len(times) - 1, int(quantile * len(times)))] if times else 0.0

    def __str__(self) -> str:
        said = f"{len(self)} requests, {len(self.failures)} failed; answered by " + (", ".join(f"{w}: {n}" for w, n in sorted(self.who().items())) or "nobody")
        return "\n".join([said, *(f"  {a.kind} at {a.start:.4f} for {a.end - a.start:.4f} s: {a.problem}" for a in self.failures[:10])])


class Load:
    """Clients at work from ``with`` until its end.

    ``pause``: seconds that each client rests between two requests; 0 saturates. ``timeout``: seconds after which a request has failed.
    ``echo`` is the path of POSTs, ``path`` that of GETs; ``served_by`` the header that says who answers, without which an answer is not the application's.
    """

    def __init__(
        self,
        address: str,
        clients: int = 4,
        mix: Sequence[str] = MIX,
        pause: float = 0.0,
        timeout: float = 10.0,
        path: str = "/",
        echo: str = "/echo",
        served_by: str = "X-Served-By",
    ) -> None:
        if unknown := set(mix) - set(MIX):
            raise ValueError(f"clients cannot do {', '.join(sorted(unknown))}; they can do {', '.join(MIX)}")
        kinds = [mix[i % len(mix)] for i in range(clients)]
        self._wanted = {"address": address, "kinds": kinds, "pause": pause, "timeout": timeout, "path": path, "echo": echo, "served_by": served_by}
        self._timeout = timeout
        self._answers = _Answers()
        self._grown = threading.Condition()
        self._process: subprocess.Popen[str] | None = None
        self._reader = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> "Load":
        self._process = subprocess.Popen([sys.executable, "-m", __name__, json.dumps(self._wanted)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        process = self._process
        assert process is not None
        assert process.stdin is not None
        process.stdin.close()  # the sign to finish the requests in flight and to end
        self._reader.join(self._timeout + 5)
        try:
            code = process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        if code:
            raise RuntimeError(f"the clients ended with {code}; their standard error says why")

    @staticmethod
    def now() -> float:
        """The clock of the records."""
        return time.monotonic()

    def wait(self, more: int, timeout: float = 30.0) -> None:
        """Until so many more requests have *started* and ended, failed ones included. Raises TimeoutError."""
        since, deadline = self.now(), time.monotonic() + timeout
        with self._grown:
            seen, counted = len(self._answers), 0
            while counted < more:
                if not self._grown.wait(deadline - time.monotonic()) and time.monotonic() >= deadline:
                    raise TimeoutError(f"{counted} of {more} requests ended in {timeout} s")
                counted += sum(start > since for start in self._answers.starts[seen:])
                seen = len(self._answers)

    def report(self) -> Report:
        """What is known until now; all of it after the end of ``with``."""
        with self._grown:
            return Report(self._answers.copy())

    def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                start, end, kind, who, problem = line.rstrip("\n").split(" ", 4)
                with self._grown:
                    self._answers.add(Answer(float(start), float(end), "" if who == "-" else who, kind, problem))
                    self._grown.notify_all()


class _Answers:
    """Many answers in little room: 20 bytes each."""

    def __init__(self) -> None:
        self.starts, self._ends, self._words = array("d"), array("d"), array("I")
        self._known: dict[tuple[str, str, str], int] = {}
        self._names: list[tuple[str, str, str]] = []

    def add(self, answer: Answer) -> None:
        words = (answer.who, answer.kind, answer.problem)
        if words not in self._known:
            self._known[words] = len(self._names)
            self._names.append(words)
        self.starts.append(answer.start)
        self._ends.append(answer.end)
        self._words.append(self._known[words])

    def copy(self) -> "_Answers":
        other = _Answers()
        other.starts, other._ends, other._words = self.starts[:], self._ends[:], self._words[:]
        other._known, other._names = dict(self._known), list(self._names)
        return other

    def __len__(self) -> int:
        return len(self.starts)

    def __iter__(self) -> Iterator[Answer]:
        return (Answer(s, e, *self._names[w]) for s, e, w in zip(self.starts, self._ends, self._words, strict=True))


class Problem(Exception):
    """Why a request failed."""


class Client:
    """One connection at a time, HTTP/1.1 by hand: cheaper than http.client, and nothing happens behind our back.

    ``trust``: the file of a certificate for ``localhost``; with one, the client speaks TLS.
    """

    def __init__(self, address: str, timeout: float = 10.0, trust: str = "") -> None:
        host, _, port = address.rpartition(":")
        self._trust = trust
        self._address, self._host, self._timeout = (host.strip("[]"), int(port)), address, timeout
        self._socket: socket.socket | None = None
        self._buffer = b""

    def ask(self, method: str, path: str, body: bytes = b"", close: bool = False, headers: str = "") -> tuple[int, dict[str, str], bytes]:
        """Status, headers (names in lower case) and the whole body. Raises Problem, and never tries twice."""
        self.begin(method, path, body, close, headers)
        try:
            return self.finish()
        finally:
            if close:
                self.close()

    def begin(self, method: str, path: str, body: bytes = b"", close: bool = False, headers: str = "") -> None:
        """Sends a request; ``finish`` takes the answer. ``headers`` are whole lines, each with its CR LF. Raises Problem."""
        with self._problems():
            if self._socket is None:
                self._socket = self._tls(socket.create_connection(self._address, self._timeout))
            head = f"{method} {path} HTTP/1.1\r\nHost: {self._host}\r\n{headers}"
            head += f"Content-Length: {len(body)}\r\n" if method == "POST" else ""
            head += "Connection: close\r\n\r\n" if close else "\r\n"
            self._socket.sendall(head.encode() + body)

    def finish(self) -> tuple[int, dict[str, str], bytes]:
        """The answer to what was begun, as ``ask`` gives it. Raises Problem."""
        with self._problems():
            status, fields, answered = self._answer(time.monotonic() + self._timeout)
        if "close" in fields.get("connection", "").lower():
            self.close()
        return status, fields, answered

    @contextmanager
    def _problems(self) -> Iterator[None]:
        """Every way of failing, told as a Problem; the connection is of no use afterwards."""
        try:
            yield
        except TimeoutError:
            self.close()
            raise Problem("timeout") from None
        except (OSError, ValueError, IndexError) as error:
            self.close()
            raise Problem(f"{type(error).__name__}: {error}") from None
        except Problem:
            self.close()
            raise

    def _tls(self, sock: socket.socket) -> socket.socket:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not self._trust:
            return sock
        import ssl  # 10 ms that plain clients do not pay

        return ssl.create_default_context(cafile=self._trust).wrap_socket(sock, server_hostname="localhost")

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket, self._buffer = None, b""

    def _answer(self, deadline: float) -> tuple[int, dict[str, str], bytes]:
        while b"\r\n\r\n" not in self._buffer:
            self._more(deadline, "no answer" if not self._buffer else "truncated head")
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        first, *rest = head.decode("latin-1").split("\r\n")
        fields = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in rest)}
        if "chunked" in fields.get("transfer-encoding", ""):
            body = b"".join(self._chunks(deadline))
        elif "content-length" in fields:
            body = self._take(int(fields["content-length"]), deadline)
        else:
            raise Problem("an answer without a length")
        return int(first.split(" ")[1]), fields, body

    def _chunks(self, deadline: float) -> Iterator[bytes]:
        while True:
            while b"\r\n" not in self._buffer:
                self._more(deadline, "truncated body")
            line, _, self._buffer = self._buffer.partition(b"\r\n")
            size = int(line.split(b";")[0], 16)
            chunk = self._take(size + 2, deadline)
            if not size:
                return
            yield chunk[:-2]

    def _take(self, size: int, deadline: float) -> bytes:
        while len(self._buffer) < size:
            self._more(deadline, "truncated body")
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken

    def _more(self, deadline: float, otherwise: str) -> None:
        assert self._socket is not None
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._socket.settimeout(left)
        data = self._socket.recv(262144)
        if not data:
            raise Problem(otherwise)
        self._buffer += data


class _Hammer:
    """The program's side: one thread a client, one line an answer."""

    def __init__(self, address: str, kinds: Sequence[str], pause: float, timeout: float, path: str, echo: str, served_by: str) -> None:
        self._address, self._kinds, self._pause, self._timeout = address, kinds, pause, timeout
        self._path, self._echo, self._served_by = path, echo, served_by.lower()
        self._stop = threading.Event()

    def run(self) -> None:
        """Until standard input ends, which it also does when whoever started us dies."""
        threads = [threading.Thread(target=self._client, args=(kind, number)) for number, kind in enumerate(self._kinds)]
        for thread in threads:
            thread.start()
        while os.read(0, 1):
            pass
        self._stop.set()
        for thread in threads:
            thread.join()

    def _client(self, kind: str, number: int) -> None:
        client, count = Client(self._address, self._timeout), 0
        while not self._stop.is_set():
            count += 1
            body = hashlib.sha256(b"%d %d" % (number, count)).digest() * (1 + count % 64) if kind.startswith("post") else b""
            start, who, problem = time.monotonic(), "", ""
            try:
                who = self._once(client, kind, body)
            except Problem as error:
                problem = str(error).replace("\n", " ")
            os.write(1, f"{start:.6f} {time.monotonic():.6f} {kind} {who or '-'} {problem}\n".encode())
            if problem or self._pause:
                self._stop.wait(max(self._pause, 0.01 if problem else 0.0))  # a refused connection would spin
        client.close()

    def _once(self, client: Client, kind: str, body: bytes) -> str:
        method, path = ("POST", self._echo) if body else ("GET", self._path)
        status, fields, answered = client.ask(method, path, body, close=kind.endswith("-new"))
        who = fields.get(self._served_by, "").replace(" ", "_")
        if not who:
            raise Problem(f"{status} that is not from the application: {answered[:80]!r}")
        if status != 200:
            raise Problem(f"{status} from {who}")
        if body and answered != body:
            raise Problem(f"{who} echoed {len(answered)} bytes that differ from the {len(body)} sent")
        return who


if __name__ == "__main__":
    _Hammer(**json.loads(sys.argv[1])).run()
