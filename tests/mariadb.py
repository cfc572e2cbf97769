"""A real MariaDB for the tests, in a directory of its own, on a unix socket and a port of the loopback."""

import itertools
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pymysql
from pymysql.connections import Connection
from pymysql.cursors import Cursor

from bleen.database.mysql.server import MySQL

_numbers = itertools.count(1)


class MariaDB(NamedTuple):
    """A running MariaDB; every test makes itself a database in it."""

    socket: Path
    port: int

    def url(self, database: str, user: str = "root", password: str = "") -> str:
        return f"mysql://{user}{f':{password}' if password else ''}@127.0.0.1:{self.port}/{database}"

    @contextmanager
    def database(self) -> Iterator["MariaBase"]:
        """A new database; it is dropped at the end, once nobody uses it."""
        name = f"test_{os.getpid()}_{next(_numbers)}"
        self._admin(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
        try:
            yield MariaBase(self, name)
        finally:
            self._admin(f"DROP DATABASE {name}")

    def _admin(self, statement: str) -> None:
        with connect(self.socket) as admin, admin.cursor() as cursor:
            cursor.execute("SET lock_wait_timeout = 20")
            cursor.execute(statement)


class Client:
    """A connection to a database, each of whose statements is a transaction unless it begins one."""

    def __init__(self, connection: "Connection[Cursor]") -> None:
        self.connection = connection

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def run(self, *statements: str) -> int:
        """How many rows the last one changed."""
        with self.connection.cursor() as cursor:
            changed = 0
            for statement in statements:
                changed = cursor.execute(statement)
            return changed

    def rows(self, query: str, *values: object) -> list[tuple[object, ...]]:
        with self.connection.cursor() as cursor:
            cursor.execute(query, values or None)
            return list(cursor.fetchall())

    def only(self, query: str) -> object:
        """The one row, or what is in it if it is one thing."""
        (found,) = self.rows(query)
        return found[0] if len(found) == 1 else found


class MariaBase(NamedTuple):
    """An empty database on a MariaDB."""

    server: MariaDB
    name: str
    user: str = "root"
    """As whom bleen opens it."""

    @property
    def url(self) -> str:
        return self.server.url(self.name, self.user)

    def connect(self, environment: str = "", **options: str) -> Client:
        """A client as an application is one: ``environment`` is what it says of itself."""
        said = {"init_command": f"SET @bleen_environment = '{environment}'"} if environment else {}
        given = {"user": "root", "charset": "utf8mb4", **said, **options}
        return Client(pymysql.connect(host="127.0.0.1", port=self.server.port, database=self.name, autocommit=True, ssl_disabled=True, **given))  # type: ignore[call-overload]

    def open(self, application: str = "bleen migrate") -> MySQL:
        """As bleen opens it."""
        return MySQL(self.url, application)


@contextmanager
def mariadb(*settings: str) -> Iterator[MariaDB]:
    """Starts MariaDB as who we are; it is ended with the block. ``settings`` are options of the server: ``--performance-schema``. With the socket of a server
    in ``BLEEN_TEST_MYSQL``, a MySQL say, it is that one, as it is.
    """
    if running := os.environ.get("BLEEN_TEST_MYSQL"):
        with connect(Path(running)) as admin, admin.cursor() as cursor:
            cursor.execute("SELECT @@port")
            (port,) = cursor.fetchone() or ()
        yield MariaDB(Path(running), port)
        return
    place = Path(tempfile.mkdtemp(prefix="mariadb-"))
    try:
        data, user = place / "data", f"--user={place.owner()}"
        own = f"--tmpdir={place}"  # a server that starts takes away the temporary tables that it finds there, be they another one's
        install = ["mariadb-install-db", "--no-defaults", user, own, f"--datadir={data}", "--skip-test-db", "--auth-root-authentication-method=normal"]
        made = subprocess.run(install, check=False, capture_output=True, text=True)
        assert made.returncode == 0, f"mariadb-install-db failed: {made.stdout} {made.stderr}"
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        small = ["--innodb-buffer-pool-size=32M", "--innodb-flush-log-at-trx-commit=0", "--skip-name-resolve"]
        options = ["--bind-address=127.0.0.1", f"--port={port}", f"--pid-file={place / 'pid'}", *small, *(settings or ["--skip-log-bin"])]
        start = ["/usr/sbin/mariadbd", "--no-defaults", user, own, f"--datadir={data}", f"--socket={place / 'socket'}", *options]
        with (place / "log").open("w") as log:
            server = subprocess.Popen(start, stdout=log, stderr=log, start_new_session=True)
        try:
            _until_ready(server, place)
            yield MariaDB(place / "socket", port)
        finally:
            server.kill()  # it has nothing to keep
            server.wait(20)
    finally:
        shutil.rmtree(place)


def _until_ready(server: "subprocess.Popen[bytes]", place: Path) -> None:
    while server.poll() is None:
        try:
            connect(place / "socket").close()
        except pymysql.OperationalError:
            time.sleep(0.02)
        else:
            return
    raise AssertionError(f"MariaDB did not start: {(place / 'log').read_text()}")


def connect(server: Path) -> "Connection[Cursor]":
    """A connection as root, in no database."""
    return pymysql.connect(unix_socket=str(server), user="root", autocommit=True, charset="utf8mb4", ssl_disabled=True)


def numbers(last: int) -> str:
    """A table, behind FROM, whose column ``seq`` counts from 1: MySQL has no ``seq_1_to_3``."""
    return f"JSON_TABLE(concat('[0', repeat(',0', {last - 1}), ']'), '$[*]' COLUMNS (seq FOR ORDINALITY)) AS numbers"
