"""A real MariaDB for the tests, in a directory of its own, on a unix socket alone."""

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pymysql
from pymysql.connections import Connection
from pymysql.cursors import Cursor


@contextmanager
def mariadb() -> Iterator[Path]:
    """Starts MariaDB as who we are; its socket. It is ended with the block."""
    place = Path(tempfile.mkdtemp(prefix="mariadb-"))
    try:
        data, user = place / "data", f"--user={place.owner()}"
        install = ["mariadb-install-db", "--no-defaults", user, f"--datadir={data}", "--skip-test-db", "--auth-root-authentication-method=normal"]
        subprocess.run(install, check=True, capture_output=True)
        options = ["--skip-networking", f"--pid-file={place / 'pid'}", "--innodb-buffer-pool-size=32M", "--innodb-flush-log-at-trx-commit=0", "--skip-log-bin"]
        start = ["/usr/sbin/mariadbd", "--no-defaults", user, f"--datadir={data}", f"--socket={place / 'socket'}", *options]
        with (place / "log").open("w") as log:
            server = subprocess.Popen(start, stdout=log, stderr=log, start_new_session=True)
        try:
            _until_ready(server, place)
            yield place / "socket"
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
    return pymysql.connect(unix_socket=str(server), user="root", autocommit=True, charset="utf8mb4")
