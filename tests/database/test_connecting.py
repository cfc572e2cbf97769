"""Which servers are worked with, and what is said of those that are not: never a part of the password."""

import os
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest
from poolers import pooler

import databases
from bleen.database import connect
from bleen.database.migration import Locks, parse
from bleen.database.mysql import server as mysql_server
from bleen.database.schema import Schema
from bleen.errors import PortError, Refused, Unavailable, UserError
from bleen.testing.site import until
from databases import Base
from dialects import urls

CANARY = "can4ry"
NOTE = parse("0001_note", {"expand.sql": "ALTER TABLE people ADD COLUMN note text;"}, "")


def disguised(data: bytes) -> bytes:
    """Poolers make up the pid that clients are told (BackendKeyData, "Message Formats")."""
    at = data.find(b"K\x00\x00\x00\x0c")
    return data if at < 0 else data[: at + 5] + struct.pack("!I", 7) + data[at + 9 :]


def test_a_pooler_is_told_from_the_server_itself(base: Base) -> None:
    """Migrations need a direct connection, and say so when they meet a pooler."""
    with pooler(base.server.port, disguised) as port, pytest.raises(Refused, match=r"leads to a connection pooler.*give the server's own address"):
        connect(f"postgresql://postgres@127.0.0.1:{port}/{base.name}")


def test_a_standby_is_refused_with_the_way_out(base: Base) -> None:
    with databases.replica(base.server) as standby:

        def follows() -> bool:
            try:
                standby.connect(base.name).close()
            except psycopg.OperationalError:
                return False
            return True

        until("the standby has the database", follows)
        with pytest.raises(Refused, match="a standby, which only reads: give the primary's address"):
            connect(standby.url(base.name))


def test_a_database_that_only_reads_is_refused(base: Base) -> None:
    with pytest.raises(Refused, match="default_transaction_read_only"):
        connect(base.server.url(base.name, default_transaction_read_only="on"))


def test_a_url_that_is_empty_is_told_as_that() -> None:
    with pytest.raises(UserError, match="the database's url is empty"):
        connect("")


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://postgres:{CANARY}@127.0.0.1:1/gone",
        f"postgresql://postgres:p@{CANARY}@127.0.0.1:1/gone",
        f"postgresql://postgres:p/{CANARY}@127.0.0.1:1/gone",
        f"postgresql://postgres:{CANARY}/p@127.0.0.1:1/gone",
        f"postgresql://postgres:p?{CANARY}@127.0.0.1:1/gone",
        f"postgresql://postgres:p#{CANARY}@127.0.0.1:1/gone",
        f"postgresql://postgres:{CANARY}%zz@127.0.0.1:1/gone",
        f"postgresql://postgres:{CANARY} x@127.0.0.1:1/gone",
        f"postgresql://127.0.0.1:1/gone?password={CANARY}",
        f"postgresql://127.0.0.1:1/gone?pasword={CANARY}",
        f"postgresql://127.0.0.1:1/gone?{CANARY}",
        f"host=127.0.0.1 port=1 password={CANARY}",
        f"{CANARY}",
    ],
)
def test_no_part_of_a_url_s_password_is_told(url: str) -> None:
    """A test plants a canary and searches everything that is written."""
    with pytest.raises((PortError, UserError)) as error:
        connect(url)
    assert CANARY not in str(error.value)
    assert str(error.value)


def test_a_server_that_is_not_there_may_come_back(base: Base) -> None:
    with pytest.raises(Unavailable, match="Connection refused"):
        connect("postgresql://postgres@127.0.0.1:1/gone")


@pytest.fixture
def role(base: Base) -> Iterator[str]:
    """A role that owns nothing, and has a password."""
    name = f"guest_{base.name}"
    with base.connect() as db:
        db.execute("CREATE TABLE people (id int)")
        db.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{CANARY}'")
        yield name
        db.execute(f"DROP OWNED BY {name}")
        db.execute(f"DROP ROLE {name}")


def test_a_wrong_password_is_not_tried_again_and_not_told(base: Base, role: str) -> None:
    with base.connect() as db:
        (file,) = db.execute("SHOW hba_file").fetchone() or ("",)
        hba = Path(str(file))
        was = hba.read_text()
        hba.write_text(f"host all {role} 127.0.0.1/32 scram-sha-256\n{was}")
        db.execute("SELECT pg_reload_conf()")
        until("passwords are asked for", lambda: db.execute("SELECT FROM pg_hba_file_rules WHERE user_name = ARRAY[%s]", [role]).fetchall())
    with pytest.raises(Refused, match=f'does not let us in: .*password authentication failed for user "{role}"') as error:
        connect(base.server.url(base.name, f"{role}:{CANARY}x"))
    assert CANARY not in str(error.value)
    hba.write_text(was)


@pytest.mark.parametrize(("user", "name"), [("nobody_at_all", ""), ("postgres", "nothing_at_all")])
def test_a_role_or_a_database_that_does_not_exist_is_not_tried_again(base: Base, user: str, name: str) -> None:
    with pytest.raises(Refused, match=r"does not let us in: .*does not exist"):
        connect(base.server.url(name or base.name, user))


def test_a_role_that_may_do_nothing_is_told_what_it_needs(base: Base, role: str) -> None:
    """The migrating role needs ownership and nothing more."""
    schema = Schema(connect(base.server.url(base.name, role)))
    with pytest.raises(Refused, match=r"permission denied for schema public; .*GRANT CREATE ON SCHEMA"):
        schema.expand([NOTE], "shop", 2, {})
    with base.connect() as db:
        db.execute(f"GRANT CREATE ON SCHEMA public TO {role}")
    with pytest.raises(Refused, match="must be owner of table people"):
        schema.expand([NOTE], "shop", 2, {})
    with base.connect() as db:
        db.execute(f"ALTER TABLE people OWNER TO {role}")
    assert schema.expand([NOTE], "shop", 2, {}) == ["0001_note"]
    schema.server.close()


@pytest.mark.parametrize("said", ["", "tcp_user_timeout=7000"])
def test_a_connection_whose_other_end_is_gone_is_lost_in_half_a_minute_and_not_in_two_hours(base: Base, said: str) -> None:
    """Whatever a firewall has swallowed; unless the url says otherwise."""
    server = connect(f"{base.server.url(base.name)}{'?' if said else ''}{said}")
    with socket.socket(fileno=os.dup(server._connection.pgconn.socket)) as ours:  # type: ignore[attr-defined]
        assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 15
        assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == (7000 if said else 30_000)
    server.close()


@pytest.mark.parametrize("dialect", ["postgres", "mysql"])
def test_who_waits_for_a_lock_to_look_is_told_who_holds_it(dialect: str, request: pytest.FixtureRequest) -> None:
    """ "waits that name the blocking session" """
    stack = ExitStack()
    (url,) = urls(dialect, stack, request)
    held, server, told = connect(url), connect(url), list[str]()
    held.rows("CREATE TABLE people (id int)")
    lock, done = threading.Event(), threading.Event()

    def hold() -> None:
        for each in ("BEGIN", "LOCK TABLE people IN ACCESS EXCLUSIVE MODE") if held.dialect == "postgres" else ("LOCK TABLES people WRITE",):
            held.rows(each)
        lock.set()
        done.wait(30)
        held.rows("COMMIT" if held.dialect == "postgres" else "UNLOCK TABLES")

    def hear(text: str) -> None:
        told.append(text)
        done.set()

    thread = threading.Thread(target=hold)
    thread.start()
    assert lock.wait(30)
    with server.lookout(hear):
        assert server.rows("SELECT count(*) FROM people") == [(0,)]
        strange = [each for each in server.sessions() if not each.application.startswith("bleen migrate")]
        assert len(strange) == (dialect == "mysql"), "whoever looks out is none that keeps a gate shut"
    thread.join()
    assert told[0].startswith("waits for a lock"), told
    assert ("in the way: " in told[0]) == (dialect != "mysql"), "MariaDB tells who is in a transaction, and not who locks tables without one"
    held.close()
    server.close()
    stack.close()


def test_an_index_that_waits_for_an_old_transaction_to_be_built_says_for_whose(base: Base) -> None:
    """It waits without a limit of its own: whoever began that transaction is not to be looked for."""
    server, told, heard = base.open(), list[str](), threading.Event()
    server.rows("CREATE TABLE people (id int)")
    (index,) = server.split("CREATE INDEX CONCURRENTLY by_id ON people (id)")

    def hear(text: str) -> None:
        told.append(text)
        heard.set()

    def hold() -> None:
        with base.connect(application_name="report") as reader, reader.transaction():
            reader.execute("LOCK TABLE people IN ROW EXCLUSIVE MODE")
            held.set()
            heard.wait(30)

    held, thread = threading.Event(), threading.Thread(target=hold)
    thread.start()
    assert held.wait(30)
    with server.lookout(hear):
        server.concurrently(index, Locks(), lambda _: None, again=False)
    thread.join()
    assert "in the way: backend" in told[0]
    assert "report" in told[0]
    server.close()


def test_a_mysql_that_takes_a_connection_and_says_nothing_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is stopped, or a balancer whose backend is gone."""
    monkeypatch.setattr(mysql_server, "GREETS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(Unavailable, match="does not answer"):
        connect(f"mysql://root@127.0.0.1:{silent.getsockname()[1]}/shop")


def test_what_a_role_limits_for_applications_ends_none_of_our_sessions(end_base: Base) -> None:
    """A session that waits between two batches, a transaction that has as long as it takes, and a look that waits for a lock, or counts."""
    names = "'idle_session_timeout', 'transaction_timeout', 'statement_timeout', 'lock_timeout'"
    limits = f"SELECT name FROM pg_settings WHERE name IN ({names}) AND setting <> '0'"
    with end_base.connect() as admin:
        for (name,) in admin.execute(limits.replace("<> '0'", "= '0'")).fetchall():
            admin.execute(f"ALTER DATABASE {end_base.name} SET {name} = '1min'")
    with end_base.connect() as client:
        assert len(client.execute(limits).fetchall()) == (4 if end_base.server.version >= 17 else 3)
    server = end_base.open()
    assert server.rows(limits) == []
    (statement,) = server.split("CREATE INDEX CONCURRENTLY by_id ON people (id)")
    server.rows("CREATE TABLE people (id int)")
    server.concurrently(statement, Locks(), lambda _: None, False)
    assert server.rows(limits) == [], "nor behind what has limits of its own"
    server.close()


def test_a_transaction_of_ours_whose_client_stands_still_is_ended(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that was stopped keeps nobody waiting for its locks."""
    monkeypatch.setattr("bleen.database.postgres.server._IDLE", 100)
    server = connect(base.url)
    with base.connect() as db:
        db.execute("CREATE TABLE people (id int)")

        def stands_still() -> None:
            with server.transaction():
                server.rows("LOCK TABLE people")
                db.execute("SELECT FROM people")  # waits until the lock is let go
                server.rows("SELECT 1")

        with pytest.raises(Unavailable, match="idle-in-transaction"):
            stands_still()
