"""Whose sessions a PostgreSQL server has."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg
import pytest

from bleen.database import connect
from bleen.database.gate import named
from bleen.host.launch import MARK, Program, launch
from bleen.testing.site import until
from databases import Base

CLIENT = "import psycopg, sys; held = psycopg.connect(sys.argv[1]); print('there', flush=True); sys.stdin.read()"


@contextmanager
def connected(url: str, **variables: str) -> Iterator[int]:
    """A process that is connected, and started with these variables; its pid."""
    argv = [sys.executable, "-c", CLIENT, f"{url}application_name={named('shop', 'green')}"]
    started = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, **variables})
    try:
        assert started.stdout
        assert started.stdout.readline()
        yield started.pid
    finally:
        started.communicate()


def ways(base: Base) -> Mapping[str, str]:
    """The two ways to a server on this host."""
    with base.connect() as db:
        ((directory,),) = db.execute("SHOW unix_socket_directories").fetchall()
    return {"TCP": f"{base.url}?", "a unix socket": f"postgresql://postgres@/{base.name}?host={directory}&port={base.server.port}&"}


@pytest.mark.parametrize("asked", ["TCP", "a unix socket"])
@pytest.mark.parametrize("by", ["TCP", "a unix socket"])
@pytest.mark.parametrize("ours", [True, False], ids=["one that bleen has started", "somebody else's"])
def test_a_session_is_told_with_the_process_at_its_other_end_where_bleen_has_not_started_that(base: Base, ours: bool, by: str, asked: str) -> None:
    """Behind a pooler, or unseen, the gate stays shut until a person names the reason."""
    with connected(ways(base)[by], **({MARK: "a record"} if ours else {})) as pid, closing(connect(ways(base)[asked].rstrip("?&"))) as server:
        (found,) = server.sessions()
    assert found.application == "bleen:shop:green"
    assert found.stranger.startswith("" if ours else f"pid {pid} (")
    assert bool(found.stranger) is not ours


def test_a_copy_that_has_cleaned_its_environment_is_bleen_s_by_its_place(base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As sudo does, and `env -i`; and who writes its title there, as a pooler may, is not bleen's for that alone."""
    monkeypatch.setenv("BLEEN_STATE", str(tmp_path))
    record = tmp_path / "services/shop/environments/green-1/1.json"
    record.parent.mkdir(parents=True)
    url = base.server.url(base.name, application_name=named("shop", "green"))
    held = "import psycopg, sys, time; held = psycopg.connect(sys.argv[1]); time.sleep(600)"
    program = Program(["env", "-i", sys.executable, "-c", held, url], str(tmp_path), dict(os.environ), str(tmp_path / "log"))
    copy, server = launch(program, record), base.open()
    try:
        until("it is connected", lambda: bool(server.sessions()))
        assert [each.stranger for each in server.sessions()] == [""]
        record.unlink()
        (stranger,) = server.sessions()
        assert stranger.stranger.startswith(f"pid {copy.pid} (")
    finally:
        copy.signal(signal.SIGKILL)


def test_the_session_of_a_client_that_has_gone_is_nobody_else_s(base: Base) -> None:
    """An application that connects for each request has one that ends at every look."""
    url, ended = base.server.url(base.name, application_name=named("shop", "green")), threading.Event()

    def ask() -> None:
        while not ended.is_set():
            psycopg.connect(url).close()

    thread, server = threading.Thread(target=ask), base.open()
    thread.start()
    try:
        seen = [session for _ in range(40) for session in server.sessions()]
    finally:
        ended.set()
        thread.join()
    assert "bleen:shop:green" in {each.application for each in seen}
    assert {each.stranger for each in seen} == {""}
