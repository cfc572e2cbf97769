"""A service in a directory of its own, released by bleen's command line, as a person would."""

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from bleen.testing.load import Load
from bleen.testing.site import free_address

HERE = Path(__file__).parent
APPLICATIONS = {
    "demo": (["python3", "app.py", "--port", "{port}"], HERE.parents[1] / "demo/releases/1.0"),
    "gunicorn": (["gunicorn", "--worker-class", "gthread", "--threads", "8", "--keep-alive", "2", "--bind", "127.0.0.1:{port}", "application:wsgi"], HERE),
    "uvicorn": (["uvicorn", "--timeout-keep-alive", "2", "--no-access-log", "--host", "127.0.0.1", "--port", "{port}", "application:asgi"], HERE),
}
ROUTERS = ("envoy", "haproxy")


class Cost(NamedTuple):
    """What a command took, with everything that it started and waited for."""

    began: float
    seconds: float
    cpu: float
    code: int


class Service:
    """``application`` behind ``router``. ``settings`` go into its bleen.yaml."""

    def __init__(self, place: Path, router: str, application: str = "demo", **settings: Any) -> None:
        place.mkdir(parents=True)
        self.place, self.router, self.listen = place, router, free_address()
        command, directory = APPLICATIONS[application]
        ports = random.randrange(20000, 29800)  # so that two benchmarks at once do not reach for the same
        process = {
            "command": command,
            "directory": str(directory),
            "env": {"VERSION": "{version}", "ENVIRONMENT": "{environment}"},
            "replicas": settings.pop("replicas", 2),
            "keep_alive": "2s",
            "ports": f"{ports}-{ports + 199}",
        }
        file = {
            "service": "bench",
            "platform": {"process": process},
            "router": {router: {"listen": self.listen, "preview": free_address()}},
            "checks": {"health": {"path": "/health"}},
            **settings,
        }
        (place / "bleen.yaml").write_text(json.dumps(file))  # JSON is YAML
        self.state = place / "state" / "services" / "bench"
        self.env = {**os.environ, "BLEEN_STATE": str(place / "state"), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

    def bleen(self, *words: str, ends: int = 0) -> Cost:
        """Runs a command. Raises RuntimeError, with all that it said, if it does not end with this exit code."""
        with open(self.place / "output", "w+b") as output:
            spent = cost(["bleen", *words], cwd=self.place, env=self.env, stdout=output, stderr=output)
            output.seek(0)
            if spent.code != ends:
                raise RuntimeError(f"`bleen {' '.join(words)}` ended with {spent.code}, not with {ends}:\n{output.read().decode()}")
        return spent

    def record(self, name: str) -> int:
        """The pid in a launch record under the service's directory."""
        pid: int = json.loads((self.state / name).read_text())["pid"]
        return pid

    @property
    def engine(self) -> int:
        return self.record("engine.json")

    @property
    def proxy(self) -> int:
        return self.record(f"router/{self.router}.json")

    def down(self) -> None:
        self.bleen("down", "--yes")


@contextmanager
def up(service: Service) -> Iterator[Service]:
    """The service, up until the end of ``with``."""
    try:
        service.bleen("up")
        yield service
    finally:
        service.down()


def users(service: Service, clients: int = 4, pause: float = 0.0) -> Load:
    return Load(service.listen, clients=clients, pause=pause, echo="/orders")


def cost(argv: list[str], **how: Any) -> Cost:
    """Runs a command and waits for it."""
    began = time.monotonic()
    process = subprocess.Popen(argv, **how)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return Cost(began, time.monotonic() - began, used.ru_utime + used.ru_stime, process.returncode)
