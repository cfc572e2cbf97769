"""What the ledger says outlives who had a tool at work that dropped it, in the database itself: whoever comes to that finds it."""

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from bleen.cli import main
from bleen.database import connect, refuge
from bleen.database.ledger import Entry, Known, Ledger
from bleen.database.migration import parse
from bleen.database.rules.own import LEDGER
from bleen.database.schema import Schema
from bleen.errors import Refused
from bleen.testing.interrupt import fork
from databases import Base
from dialects import DIALECTS, urls
from mariadb import MariaBase

LONG = parse("0001_long", {"expand.sql": "-- a user's 100 %s \\ of it, and more: 'ß'\n" * 20_000}, "")
"""What a dialect would have to escape, and more than fits into 64 KiB."""
EXISTS = Known("shop", "blue-2", "1.1", frozenset({LONG.name}))


@pytest.fixture
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """Of an empty database of the dialect that the test is about."""
    with ExitStack() as stack:
        (made,) = urls(request.param, stack, request)
        yield made


def known(url: str) -> Entry:
    """What the ledger of a database says of the migration, once it is entered; an application has a table there, as an empty one has lost nothing."""
    server = connect(url)
    server.rows("CREATE TABLE users (id integer PRIMARY KEY)")
    ledger = Ledger(server)
    ledger.make()
    entry = ledger.begin(LONG, "shop", 2)
    ledger.exists("shop", [EXISTS])
    server.close()
    return entry


def dies(url: str, dropped: Sequence[str] = LEDGER) -> None:
    """Somebody is killed while a tool is at work that has dropped tables of the ledger."""

    def work() -> None:
        server = connect(url)
        with server.alone(), Ledger(server).kept(lambda _: None):
            for table in dropped:
                server.rows(f"DROP TABLE {table}")
            os.kill(os.getpid(), signal.SIGKILL)

    os.waitpid(fork(work), 0)


@pytest.mark.parametrize("url", DIALECTS, indirect=True)
def test_whoever_comes_to_the_database_puts_back_what_was_dropped_of_its_ledger(url: str) -> None:
    """ "The truth about the schema is a ledger table in the database itself" """
    entry, told = known(url), list[str]()
    dies(url)
    server = connect(url)
    schema = Schema(server, told.append)
    assert schema.ledger.entries() == [entry]
    assert schema.ledger.environments() == [EXISTS]
    assert [each.partition(": ")[0] for each in told] == ["what a command has dropped of bleen_migration, bleen_step, bleen_environment is there again"]
    assert not refuge.used(server)
    server.close()


@pytest.mark.parametrize("url", DIALECTS, indirect=True)
def test_what_lies_there_is_no_change_of_the_schema_by_the_tool(url: str) -> None:
    """Whether a command that has failed has changed anything is told by that."""
    known(url)
    server = connect(url)
    shape = server.shape()
    with server.alone(), Ledger(server).kept(lambda _: None):
        assert refuge.used(server)
    assert (server.shape(), refuge.used(server)) == (shape, False)
    server.close()


def test_it_is_put_back_where_it_was_by_who_has_another_search_path(base: Base) -> None:
    entry = known(base.url)
    with base.connect() as db:
        db.execute("CREATE SCHEMA app")
    dies(base.url)
    server = connect(base.server.url(base.name, search_path="app"))
    Schema(server)
    server.close()
    assert Schema(base.open()).ledger.entries() == [entry]


def test_what_another_bleen_has_left_there_and_nobody_can_read_is_told_and_passed_over(base: Base) -> None:
    known(base.url)
    server, told = connect(base.url), list[str]()
    refuge.keep(server, "[1, 2]")
    server.rows(f"DROP TABLE {LEDGER[1]}")
    Ledger(server).recover(told.append)
    assert ["cannot be read" in each for each in told] == [True]
    assert not refuge.used(server)
    server.close()


@contextmanager
def another_role(base: Base) -> Iterator[str]:
    """One that may use the ledger, and make tables."""
    role = f"other_{base.name}"
    with base.connect() as db:
        db.execute(f"CREATE ROLE {role} LOGIN; GRANT ALL ON SCHEMA public TO {role}; GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}")
        try:
            yield role
        finally:
            db.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_another_role_reads_it_goes_on_and_backs_up_what_only_its_owner_may_take_away(base: Base) -> None:
    """A service of another role was refused each release, and each backup failed, until somebody did something by hand."""
    entry = known(base.url)
    with another_role(base) as role:
        dies(base.url)
        server = connect(base.server.url(base.name, role))
        Schema(server).tidy()
        assert Ledger(server).entries() == [entry]
        assert not refuge.used(server), "it is spent: what it says will soon be out of date"
        with server.alone(), Ledger(server).kept(lambda _: None):
            assert refuge.used(server)
        assert not refuge.used(server)
        read = server.rows("SELECT length(lo_get(oid)) > 0 FROM pg_largeobject_metadata ORDER BY oid")
        assert read == [(True,), (False,)], "that of the other role, and that it is spent; a backup reads both"
        server.close()
        owner = connect(base.url)
        Schema(owner).tidy()
        assert owner.rows("SELECT 1 FROM pg_largeobject_metadata m WHERE lomowner = (SELECT oid FROM pg_roles WHERE rolname = current_user)") == []
        owner.close()


def test_who_owns_the_ledger_and_who_may_use_it_are_as_they_were(base: Base) -> None:
    with another_role(base) as role:
        owned = base.server.url(base.name, role)
        known(owned)
        with base.connect() as db:
            rights = "SELECT relname, relowner::regrole::text, relacl::text FROM pg_class WHERE relname LIKE 'bleen_%' AND relkind = 'r' ORDER BY 1"
            db.execute("GRANT SELECT ON bleen_migration TO PUBLIC; GRANT SELECT, INSERT ON bleen_step TO postgres")
            before = db.execute(rights).fetchall()
            dies(owned)
            Schema(base.open()).tidy()  # as a superuser, who would own it else
            after = db.execute(rights).fetchall()
        assert [each[:2] for each in after] == [each[:2] for each in before]
        held = [{(name, each) for name, _, acl in rows for each in str(acl or "").strip("{}").split(",") if each} for rows in (before, after)]
        assert held[0] <= held[1]


def test_a_role_that_may_make_no_large_object_is_told_and_goes_on_without(
    base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command was refused for a function that its author has never heard of."""
    entry, told = known(base.url), list[str]()
    monkeypatch.setenv("BLEEN_STATE", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    with another_role(base) as role, base.connect() as db:
        db.execute("REVOKE EXECUTE ON FUNCTION lo_from_bytea(oid, bytea), lo_unlink(oid) FROM PUBLIC")
        url = base.server.url(base.name, role)
        service = "service: shop\nplatform: {process: {command: [sh]}}\nrouter: {haproxy: {listen: 127.0.0.1:20010, preview: 127.0.0.1:20011}}\n"
        Path("bleen.yaml").write_text(f"{service}database: {{url: '{url}'}}\n")
        folder = Path("releases/1/migrations/0002_tool")
        folder.mkdir(parents=True)
        (folder / "migration.toml").write_text("[command]\nexpand = ['true']\nrevert = ['true']\nunjudged = 'a test'\n")
        (folder.parent / LONG.name).mkdir()
        (folder.parent / LONG.name / "expand.sql").write_text(LONG.sql("expand"))
        left, server = connect(base.url), connect(url)
        refuge.keep(left, "of a command of another role that was killed")
        ledger = Ledger(server)
        ledger.recover(told.append)
        with server.alone(), pytest.raises(Refused, match="GRANT EXECUTE ON FUNCTION"), ledger.kept(told.append):
            raise AssertionError("what another role kept is out of date, and would be written back")
        refuge.clear(left)
        left.close()
        assert main(["plan", "1"]) == 0
        assert f"note: {ledger.unsheltered()}\n" in capsys.readouterr().out
        with server.alone(), ledger.kept(told.append):
            db.execute("DROP TABLE bleen_step")
        assert [each.partition(" is there again")[0] for each in told] == [ledger.unsheltered(), "what a command has dropped of bleen_step"]
        assert ledger.entries() == [entry]
        ledger.begin(parse("0002_tool", {"migration.toml": (folder / "migration.toml").read_text()}, ""), "shop", 3)
        main(["doctor"])
        assert f"warn  {ledger.unsheltered()}\n" in capsys.readouterr().out
        db.execute(ledger.unsheltered().partition("this database: ")[2])
        assert ledger.unsheltered() == ""
        with server.alone(), ledger.kept(told.append):
            assert refuge.used(server)
        server.close()


@pytest.mark.parametrize("end_base", [18], indirect=True)
def test_who_may_grant_a_role_and_not_become_it_writes_the_ledger_back_too(end_base: Base) -> None:
    """As who has created it, since PostgreSQL 16: the master user of a managed server."""
    with another_role(end_base) as role, end_base.connect() as db:
        entry = known(end_base.server.url(end_base.name, role))
        db.execute(f"CREATE ROLE admin_{role} LOGIN; GRANT {role} TO admin_{role} WITH ADMIN TRUE, INHERIT FALSE, SET FALSE")
        db.execute(f"GRANT ALL ON SCHEMA public TO admin_{role}")
        try:
            dies(end_base.server.url(end_base.name, role))
            server = connect(end_base.server.url(end_base.name, f"admin_{role}"))
            assert Schema(server).ledger.entries() == [entry]
            server.close()
            server = connect(end_base.server.url(end_base.name, role))
            assert Schema(server).ledger.entries() == [entry], "it may use what the other one owns now"
            server.close()
        finally:
            db.execute(f"DROP OWNED BY admin_{role}; DROP ROLE admin_{role}")


def test_a_role_of_mysql_that_may_drop_nothing_leaves_it_empty(maria_base: MariaBase) -> None:
    """To drop a column, MySQL asks no more than ALTER of it."""
    entry = known(maria_base.url)
    with maria_base.connect() as admin:
        admin.run("CREATE USER dropless", f"GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER ON {maria_base.name}.* TO dropless")
        try:
            for _ in range(2):
                server = connect(maria_base.server.url(maria_base.name, "dropless"))
                with server.alone(), Ledger(server).kept(lambda _: None):
                    assert refuge.used(server)
                assert not refuge.used(server)
                assert Ledger(server).entries() == [entry]
                server.close()
        finally:
            admin.run("DROP USER dropless")
