"""A shop: a service in a temporary directory, released by `bleen` as real processes, and ended with all that it started."""

import fcntl
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self

import pytest

from bleen import wiring
from bleen.host import processes
from bleen.host.processes import Process
from bleen.host.state import Place
from bleen.lifecycle import Release
from bleen.ports import Journal
from bleen.testing.load import Client, Load
from bleen.testing.site import until

ROUTERS = ("envoy", "haproxy")
BEHIND_ENVOY = pytest.mark.parametrize("shop", ["envoy"], indirect=True)
"""For a test whose subject depends on it."""

APPLICATION = """\
import runpy, sys
sys.argv[1:] += {options!r}
runpy.run_module("bleen.testing.application", run_name="__main__")
"""


class Said(NamedTuple):
    """How a `bleen VERB` ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as the one JSON document that it must be."""
        return json.loads(self.out)

    @property
    def text(self) -> str:
        return self.out + self.err


class Verb:
    """A `bleen VERB` that is under way."""

    def __init__(self, process: subprocess.Popen[bytes], out: int, err: int) -> None:
        self._process, self._out, self._err = process, out, err

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    @property
    def said(self) -> Said:
        """What it has said so far."""
        out, err = (Path(f"/proc/self/fd/{fd}").read_text() for fd in (self._out, self._err))
        return Said(self._process.returncode or 0, out, err)

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def ended(self, code: int | None = None, seconds: float = 60.0) -> Said:
        """Waits for its end, and for this exit code if one is named."""
        self._process.wait(seconds)
        said = self.said
        assert code is None or said.code == code, f"exit {said.code}, not {code}:\n{said.text}"
        return said

    def kill(self) -> None:
        """SIGKILL; gone on return."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        if self.running:
            self.kill()
        os.close(self._out)
        os.close(self._err)


class Shop:
    """A service, its bleen.yaml, its releases and its state. `with` ends every process of it.

    ``settings`` replace keys at the top of bleen.yaml, ``process`` those below ``platform.process``; ``state`` is where the state of a host lies.
    """

    def __init__(
        self, root: Path, router: str = "envoy", service: str = "shop", process: Mapping[str, Any] = {}, state: Path | None = None, **settings: Any
    ) -> None:
        self.root, self.router, self.service = root, router, service
        self.file, self.releases = root / "bleen.yaml", root / "releases"
        self.state = state or root / "state"
        self.releases.mkdir(parents=True, exist_ok=True)
        self._verbs: list[Verb] = []
        self._window = _ports()
        self.listen, self.preview = (f"127.0.0.1:{port}" for port in self._window[:2])
        self.environ = {k: v for k, v in os.environ.items() if k not in ("PYTHONDONTWRITEBYTECODE", "BLEEN_STATE")} | {"BLEEN_STATE": str(self.state)}
        self.settings: dict[str, Any] = {
            "service": service,
            "platform": {
                "process": {
                    "command": [sys.executable, "app.py", "--port", "{port}", "--name", "{version}", "--version", "{version}"],
                    "directory": "releases/{version}",
                    "stop": {"signal": "TERM", "timeout": "3s"},
                    "keep_alive": "2s",
                    "ports": f"{self._window[2]}-{self._window[-1]}",
                    **process,
                }
            },
            "router": {router: {"listen": self.listen, "preview": self.preview}},
            "checks": {"health": {"path": "/health", "interval": "100ms", "timeout": "20s"}},
            "bake": "200ms",
            "rollback_window": "15m",
            "drain": "1s",
            **settings,
        }
        self.configure()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for verb in self._verbs:
            verb.close()
        empty = 0
        while empty < 2:  # once more, as in the middle of its exec a process has no environment to be known by
            left = self.processes(f"BLEEN_RECORD={self.place.path}/", f"BLEEN_STATE={self.state}\0")  # verbs start engines that outlive them
            for each in left:
                each.signal(signal.SIGKILL)
            until("what was started has ended", lambda left=left: not any(each.alive for each in left))  # type: ignore[misc]
            empty = 0 if left else empty + 1
            time.sleep(0.03)
        _give_back(self._window)

    # bleen.yaml and versions

    def configure(self, **settings: Any) -> None:
        """Writes bleen.yaml, with these keys replaced from now on. JSON is YAML."""
        self.settings.update(settings)
        self.file.write_text(json.dumps(self.settings, indent=1))

    def ship(self, version: str, *options: str) -> str:
        """Puts a version there; ``options`` are those of ``bleen.testing.application``."""
        directory = self.releases / version
        directory.mkdir(exist_ok=True)
        (directory / "app.py").write_text(APPLICATION.format(options=list(options)))
        return version

    def smoke(self, *tests: Mapping[str, Any]) -> None:
        """Writes smoke tests, and names them in bleen.yaml."""
        (self.root / "smoke-tests.yml").write_text(json.dumps({"tests": tests}))
        self.configure(checks={**self.settings["checks"], "smoke": "smoke-tests.yml"})

    # verbs

    def bleen(self, *words: str, code: int | None = 0, environ: Mapping[str, str] = {}) -> Said:
        """Runs `bleen WORDS` to its end. ``code`` is what it must exit with."""
        return self.start(*words, environ=environ).ended(code)

    def start(self, *words: str, environ: Mapping[str, str] = {}) -> Verb:
        """Starts `bleen WORDS`."""
        out, err = os.memfd_create("out"), os.memfd_create("err")
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "bleen", *words],
            cwd=self.root,
            env={**self.environ, **environ},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
        self._verbs.append(Verb(process, out, err))
        return self._verbs[-1]

    def up(self, *versions: str, **settings: Any) -> "Shop":
        """`bleen up`, then these versions released one after the other."""
        if settings:
            self.configure(**settings)
        self.bleen("up")
        for version in versions:
            self.bleen("deploy", self.ship(version), "--end-window")
        return self

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.bleen("status", "--json").json
        return found

    # what there is to see

    @property
    def place(self) -> Place:
        return Place(self.service, self.state)

    @property
    def journal(self) -> Journal:
        return wiring.journal(self.place)

    @property
    def release(self) -> Release:
        """The newest release, as its row says."""
        found = self.journal.latest(self.service)
        assert found is not None, "there is no release"
        return found

    def reached(self, *phases: str, seconds: float = 60.0) -> Release:
        """Waits until the newest release is in one of these phases."""
        journal = self.journal  # the row itself: a process for every look would take the processor from what is looked at

        def look() -> Release | None:
            found = journal.latest(self.service)
            return found if found and found.phase in phases else None

        found = until(f"{' or '.join(phases)}", look, seconds)
        assert found is not None
        return found

    def halted(self, seconds: float = 60.0) -> Release:
        """Waits until the newest release needs a person."""
        journal = self.journal
        found = until("halted", lambda: (r := journal.latest(self.service)) and r.halted and r, seconds)
        assert isinstance(found, Release)
        return found

    def story(self, number: int | None = None) -> list[str]:
        """The phases that a release went through, as its events tell."""
        release = self.release if number is None else self.journal.read(self.release.id._replace(number=number))
        phases = [str(event.phase) for event in self.journal.events(release.id)]
        return [phase for phase, before in zip(phases, ["", *phases], strict=False) if phase != before]

    def serves(self, preview: bool = False) -> str:
        """Which version answers a request; the status where none does."""
        status, fields, _ = Client(self.preview if preview else self.listen).ask("GET", "/", close=True)
        return fields.get("x-served-by", str(status))

    def begun(self, path: str) -> Client:
        """A request that users have sent; ``finish`` takes its answer."""
        client = Client(self.listen, timeout=60)
        client.begin("GET", path)
        return client

    def load(self, clients: int = 4, pause: float = 0.02) -> Load:
        """Users."""
        return Load(self.listen, clients=clients, pause=pause)

    def tell(self, version: str, health: str, only: int | None = None) -> None:
        """Has every copy of a version, or only one, be well ("ok"), fail its checks ("fail") or not answer them ("hang")."""
        for name, each in self.status()["environments"].items():
            if each["version"] == version:
                assert name
                for target in each["targets"] if only is None else [each["targets"][only]]:
                    Client(target).ask("GET", f"/be?health={health}", close=True)

    # processes

    def processes(self, *marks: str) -> list[Process]:
        """Everything alive that bleen has launched for this service; or whatever carries one of these marks in its environment."""
        wanted = [os.fsencode(mark) for mark in marks or (f"BLEEN_RECORD={self.place.path}/",)]
        found = []
        for pid in (int(name) for name in os.listdir("/proc") if name.isdecimal()):
            try:
                environ = Path(f"/proc/{pid}/environ").read_bytes()
            except OSError:
                continue  # ended meanwhile, or somebody else's
            if any(mark in environ for mark in wanted) and (process := processes.find(pid)):
                found.append(process)
        return found

    def engine(self) -> Process:
        """The resident engine."""
        return self._one("engine.json")

    def proxy(self) -> Process:
        return self._one(f"router/{self.router}.json")

    def copies(self, version: str) -> list[Process]:
        """The processes of a version."""
        return [p for p in self.processes() if f"--version {version}" in processes.command_line(p.pid)]

    def kill(self, *ended: Process) -> None:
        """SIGKILL; gone on return."""
        for each in ended:
            each.signal(signal.SIGKILL)
        until("the killed are gone", lambda: not any(each.alive for each in ended))

    def crash(self, version: str) -> None:
        """Every copy of a version dies, and its files with it: it cannot come back."""
        shutil.rmtree(self.releases / version)
        self.kill(*self.copies(version))

    @contextmanager
    def fenced(self) -> Iterator[None]:
        """No effect takes place meanwhile: to every other process it looks as if one were under way. Looking is possible."""
        with open(self.place.fence, "rb+") as fence:
            fcntl.flock(fence, fcntl.LOCK_EX)
            yield

    def _one(self, record: str) -> Process:
        row = json.loads((self.place.path / record).read_text())
        return Process(row["pid"], row["start"], row["boot"])


_WINDOW = 30
_FIRST = 20000
_COUNT = 330
_held: set[int] = set()
_lock = None


def _ports() -> Sequence[int]:
    """Ports that no other shop has, in whichever run of the tests: two for the listeners, the rest for copies."""
    global _lock
    if _lock is None:
        _lock = open(Path(tempfile.gettempdir()) / "bleen-test-ports.lock", "wb+")  # noqa: SIM115 - held until this process ends
    for number in random.sample(range(_COUNT), _COUNT):
        if number in _held:
            continue
        try:
            fcntl.lockf(_lock, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
        except OSError:
            continue
        window = range(_FIRST + number * _WINDOW, _FIRST + (number + 1) * _WINDOW)
        if all(map(_is_free, window)):
            _held.add(number)
            return window
        fcntl.lockf(_lock, fcntl.LOCK_UN, 1, number)
    raise AssertionError("every port is taken")


def _give_back(window: Sequence[int]) -> None:
    assert _lock is not None
    number = (window[0] - _FIRST) // _WINDOW
    _held.discard(number)
    fcntl.lockf(_lock, fcntl.LOCK_UN, 1, number)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
