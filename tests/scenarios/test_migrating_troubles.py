"""Releases that change the schema when something goes wrong: in real bleen processes, with a real PostgreSQL, and with users on the old version."""

import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from test_migrating import Registry

import databases
import people
from bleen.host.processes import Process
from bleen.testing.site import until
from databases import Base

NAME = "0007_full_name"
SLOW = {**people.FULL_NAME, "migration.toml": people.FULL_NAME["migration.toml"] + "[pace]\nbatch = 1\ntarget = 0.0001\nduty = 0.02\n"}
"""A backfill that takes a minute or so."""
INDEX = {"expand.sql": "CREATE INDEX CONCURRENTLY people_last ON people (last_name);\n", "revert.sql": "DROP INDEX CONCURRENTLY people_last;\n"}


@contextmanager
def populated(server: databases.Postgres) -> Iterator[Base]:
    """A database with a thousand people."""
    with server.database() as name:
        made = Base(server, name)
        with made.connect() as db:
            db.execute(people.TABLE)
            db.execute("INSERT INTO people (first_name, last_name) SELECT 'A' || n, 'B' || n FROM generate_series(1, 1000) n")
        yield made


@pytest.fixture
def base(oldest: databases.Postgres) -> Iterator[Base]:
    with populated(oldest) as made:
        yield made


@pytest.fixture
def registry(tmp_path: Path, base: Base) -> Iterator[Registry]:
    """Version 1.0 serves."""
    with Registry(tmp_path, "haproxy", base.url) as shop:
        standing(shop)
        yield shop


def standing(shop: Registry) -> None:
    shop.settings["platform"]["process"]["command"] = [sys.executable, "app.py", "--port", "{port}", "--version", "{version}"]
    shop.configure()
    shop.put("1.0", "old")
    shop.bleen("up")
    shop.bleen("deploy", "1.0")


def waits(shop: Registry) -> str:
    """What `status` says that the release waits for."""
    return str(shop.status()["release"]["waiting"]["why"])


def programs(shop: Registry, number: int) -> list[Process]:
    """What runs of the expand of a release."""
    return shop.processes(f"BLEEN_RECORD={shop.place.releases}/{number}/expand.json")


def filled(base: Base) -> int:
    """How many rows the backfill has come past."""
    return int(str(rows(base, "SELECT memo::json ->> 'rows' FROM bleen_step WHERE part = 'backfill'")[0][0]))


def rows(base: Base, query: str) -> list[tuple[object, ...]]:
    with base.connect() as db:
        return db.execute(query).fetchall()


@pytest.mark.parametrize("how", ["Ctrl-C", "abort"])
def test_an_abort_in_a_long_backfill_ends_it_at_once_and_a_retry_goes_on(registry: Registry, base: Base, how: str) -> None:
    """Ctrl-C of `deploy` before PROMOTING aborts; a retry finds the expanded schema and goes on."""
    registry.put("1.1", "new", {NAME: SLOW})
    with people.Users(registry.listen) as users:
        deploy = registry.start("deploy", "1.1")
        until("the way of the backfill is told", lambda: f"{NAME}: backfill of " in waits(registry), 30)
        if how == "abort":
            registry.bleen("abort")
        else:
            deploy.signal(signal.SIGINT)
        deploy.ended(3)
        assert registry.story() == ["PLANNED", "EXPANDING", "UNDOING", "ABORTED"]
        assert programs(registry, 2) == []
        was = filled(base)
        assert 0 < was < 1000
        assert f"{NAME} is expanding: it was not ended" in registry.bleen("doctor").out
        assert "not ended, if no release is at it just now: `bleen deploy` of a version" in registry.bleen("migrate", "status").out
        assert rows(base, "SELECT state FROM bleen_migration") == [("expanding",)]
        if how == "Ctrl-C":
            again = registry.start("deploy", "1.1")
            until("a retry has gone on", lambda: filled(base) > was, 30)
            assert programs(registry, 3)
            again.signal(signal.SIGINT)
            again.ended(3)
        else:
            registry.bleen("migrate", "revert", NAME, "--yes")
            assert rows(base, "SELECT 1 FROM bleen_migration") == []
            assert "full_name" not in str(rows(base, "SELECT column_name FROM information_schema.columns WHERE table_name = 'people'"))
        until("1.0 is used", users.seen("1.0"))
    assert users.failed == []


def test_an_abort_in_a_long_index_ends_it_and_leaves_nothing_of_it_and_a_retry_builds_it(registry: Registry, base: Base) -> None:
    """Users saw nothing, and see nothing of it later: an INVALID unique index would go on to refuse their rows."""
    registry.put("1.1", "old", {"0008_index": INDEX})
    with base.connect() as reader:
        reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        reader.execute("SELECT 1")  # a CREATE INDEX CONCURRENTLY waits until nobody sees the table as it was before
        deploy = registry.start("deploy", "1.1")
        until("the index is begun", lambda: "CREATE INDEX" in waits(registry), 30)
        until("it is there, and invalid", lambda: rows(base, "SELECT FROM pg_index WHERE NOT indisvalid"))
        registry.bleen("abort")
        deploy.ended(3)
    assert rows(base, "SELECT to_regclass('people_last')") == [(None,)]
    assert registry.journal.events(registry.release.id)[-1].facts["dropped"] == ["public.people_last"]
    registry.bleen("deploy", "1.1")
    assert rows(base, "SELECT indisvalid FROM pg_index WHERE indexrelid = 'people_last'::regclass") == [(True,)]


def test_the_engine_and_the_program_may_both_die_and_the_release_goes_on(registry: Registry, base: Base) -> None:
    registry.put("1.1", "new", {NAME: {**SLOW, "migration.toml": SLOW["migration.toml"].replace("0.02", "0.2")}})
    registry.start("deploy", "1.1")
    until("the backfill is under way", lambda: f"{NAME}: backfill of " in waits(registry), 30)
    registry.kill(*programs(registry, 2), registry.engine())
    registry.bleen("up")
    assert registry.reached("HOLDING").plan.version == "1.1"
    assert rows(base, "SELECT count(*) FROM people WHERE full_name IS DISTINCT FROM first_name || ' ' || last_name") == [(0,)]


def test_a_database_that_is_away_at_a_deploy_is_said_and_nothing_is_touched(registry: Registry, base: Base) -> None:
    """2 usage, configuration or a refusal [...], nothing touched."""
    registry.put("1.1", "new", {NAME: people.FULL_NAME})
    assert "database: postgres, answers, has seen 0 migrations" in registry.bleen("doctor").out
    looked = registry.bleen("doctor", code=1, environ={"DATABASE_URL": "postgresql://postgres:can4ry@127.0.0.1:1/gone"}).out
    assert "the database cannot be worked with" in looked
    assert "can4ry" not in looked
    said = registry.bleen("deploy", "1.1", code=2, environ={"DATABASE_URL": "postgresql://postgres:can4ry@127.0.0.1:1/gone"})
    assert "the database does not answer" in said.err
    assert "can4ry" not in said.text
    assert registry.release.plan.version == "1.0"


def test_what_bleen_adds_for_the_database_is_no_difference_between_two_versions(registry: Registry) -> None:
    registry.put("1.1", "new", {NAME: people.FULL_NAME})
    assert "note: env" not in registry.bleen("plan", "1.1").out


def test_a_contract_that_was_asked_for_is_done_by_the_release(registry: Registry, base: Base) -> None:
    """`contract: manual` is the default, `auto` is asked for."""
    registry.configure(database={**registry.settings["database"], "contract": "auto"})
    registry.put("1.1", "new", {NAME: people.FULL_NAME})
    with people.Users(registry.listen) as users:
        registry.bleen("deploy", "1.1")
        until("1.1 is used", users.seen("1.1"))
        registry.bleen("retire")
        registry.bleen("wait", "--until", "completed")
        until("1.1 is used after it", users.seen("1.1"))
    assert users.failed == []
    assert registry.status()["pending"] == []
    assert rows(base, "SELECT state FROM bleen_migration") == [("contracted",)]
    assert rows(base, "SELECT 1 FROM pg_trigger WHERE NOT tgisinternal") == []


def test_a_warm_old_environment_holds_the_gate_and_status_says_so(registry: Registry) -> None:
    """Only when every environment that exists, a warm idle one included, ships that migration."""
    registry.configure(database={**registry.settings["database"], "contract": "auto"}, after_window="keep")
    registry.put("1.1", "new", {NAME: people.FULL_NAME})
    registry.bleen("deploy", "1.1")
    registry.bleen("retire")
    registry.bleen("wait", "--until", "completed")
    (pending,) = registry.status()["pending"]
    assert any(f"its version does not ship {NAME}" in why and why.startswith("blue-1 (1.0)") for why in pending["waits"])


def test_while_the_service_is_down_the_schema_is_told_and_contracted_once_nothing_needs_the_old_shape(registry: Registry) -> None:
    """The ledger table in the database is the truth about the schema; the gate is shut while an environment exists that does not ship the migration."""
    registry.put("1.1", "new", {NAME: people.FULL_NAME})
    registry.bleen("deploy", "1.1")
    registry.bleen("down", "--yes")
    assert f"{NAME}: contract pending" in registry.bleen("migrate", "status").out
    assert "its gate is shut" in registry.bleen("migrate", "contract", "--yes", code=1).out, "1.0 comes up again, and the window is open"
    registry.bleen("up")
    registry.bleen("retire")
    registry.bleen("wait", "--until", "completed")
    registry.bleen("down", "--yes")
    assert f"contracted: {NAME}" in registry.bleen("migrate", "contract", "--yes").out
    registry.bleen("up")
    assert registry.status()["active"]["version"] == "1.1"


def test_pending_contracts_survive_releases_and_a_failure_which_is_told_and_run_in_order(registry: Registry, base: Base) -> None:
    """`bleen migrate contract` does it later, releases later too, in order."""
    note = {"expand.sql": "ALTER TABLE people ADD COLUMN note text;\n", "contract.sql": "ALTER TABLE people DROP COLUMN visits;\n"}
    registry.put("1.1", "new", {NAME: people.FULL_NAME})
    registry.put("1.2", "new", {NAME: people.FULL_NAME, "0008_note": note})
    for version in ("1.1", "1.2"):
        registry.bleen("deploy", version, "--end-window")
    registry.bleen("retire")
    registry.bleen("wait", "--until", "completed")
    assert [each["migration"] for each in registry.status()["pending"]] == [NAME, "0008_note"]
    assert f"{NAME} comes first, and is pending" in str(registry.status()["pending"][1]["waits"])
    with base.connect() as db:
        db.execute("CREATE FUNCTION no() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not on a Friday'; END $$")
        db.execute("CREATE EVENT TRIGGER no_drop ON sql_drop EXECUTE FUNCTION no()")
    assert "not on a Friday" in registry.bleen("migrate", "contract", NAME, "--yes", code=2).err
    with base.connect() as db:
        db.execute("DROP EVENT TRIGGER no_drop")
    for verb in (["status"], ["migrate", "status"], ["status"]):
        assert re.search(f"{NAME}.*\\s.*`bleen migrate contract` does it[;\\s]* the last time it failed: .*not on a Friday", registry.bleen(*verb).out), verb
    registry.put("1.3", "new", {NAME: people.FULL_NAME, "0008_note": note})
    assert f"note: the contract of {NAME} failed the last time: " in registry.bleen("plan", "1.3").out
    assert registry.bleen("migrate", "contract", "--yes", "--json").json["contracted"] == [NAME, "0008_note"]
    assert rows(base, "SELECT name, state FROM bleen_migration ORDER BY name") == [(NAME, "contracted"), ("0008_note", "contracted")]


def test_what_fails_on_a_clone_is_aborted_before_the_database_is_touched(registry: Registry, base: Base) -> None:
    """Optionally on a clone first."""
    with populated(base.server) as clone:
        rows(clone, "UPDATE people SET last_name = 'B1' WHERE id = 2 RETURNING 1")  # the copy is older than what serves
        registry.configure(database={**registry.settings["database"], "clone": "${CLONE_URL}"})
        registry.environ["CLONE_URL"] = f"{clone.url}?sslcert=can4ry"
        unique = {"0008_unique": {"expand.sql": "CREATE UNIQUE INDEX CONCURRENTLY people_last ON people (last_name);\n"}}
        registry.put("1.1", "new", {NAME: people.FULL_NAME, **unique})
        assert f"rehearse   {NAME}, 0008_unique, on the clone, there and back" in registry.bleen("plan", "1.1").out
        said = registry.bleen("deploy", "1.1", code=3).text
        assert "on the clone: " in said
        assert "could not create unique index" in said
        assert rows(base, "SELECT to_regclass('people_last'), count(*) FROM bleen_migration") == [(None, 0)]
        assert rows(clone, "SELECT name FROM bleen_migration") == []
        rows(clone, "UPDATE people SET last_name = 'B2' WHERE id = 2 RETURNING 1")
        assert list(registry.bleen("migrate", "rehearse", "1.1", "--json").json["rehearsed"]) == [NAME, "0008_unique"]
        registry.bleen("deploy", "1.1")
        assert rows(base, "SELECT name, state FROM bleen_migration ORDER BY name") == [(NAME, "expanded"), ("0008_unique", "expanded")]
        assert rows(clone, "SELECT name FROM bleen_migration") == []
        told = next(event for event in registry.journal.events(registry.release.id) if "rehearsed" in event.facts)
        assert list(told.facts["rehearsed"]) == [NAME, "0008_unique"]
        assert "can4ry" not in registry.place.journal.read_bytes().decode(errors="replace")


def test_a_service_that_is_gone_for_good_holds_the_gate_until_somebody_says_so(registry: Registry, base: Base) -> None:
    """While another service that shares the database holds it. It says which, and what can be done."""
    registry.put("1.1", "new", {NAME: people.FULL_NAME})
    registry.bleen("deploy", "1.1")
    registry.bleen("retire")
    registry.bleen("wait", "--until", "completed")
    known = "INSERT INTO bleen_environment (service, environment, version, at, migrations) VALUES ('worker', 'blue-2', '7', 0, '[]')"
    with base.connect() as db:
        db.execute(known)
    assert "`bleen migrate forget worker` says so" in registry.bleen("migrate", "contract", "--yes", code=1).out
    assert "it knows shop, worker" in registry.bleen("migrate", "forget", "wroker", "--yes", code=2).err
    assert "is the service of bleen.yaml" in registry.bleen("migrate", "forget", "shop", "--yes", code=2).err
    with psycopg.connect(f"{base.url}?application_name=bleen:worker:blue"):
        assert "worker is not gone: session" in registry.bleen("migrate", "forget", "worker", "--yes", code=2).err
    assert registry.bleen("migrate", "forget", "worker", "--yes", "--json").json["forgotten"] == ["blue-2 (7)"]
    said = registry.bleen("migrate", "contract", "--yes").out
    assert f"note: {NAME} changes the columns of people: a `SELECT *` from it that is prepared on an open connection will fail" in said
    assert f"contracted: {NAME}" in said


def test_from_another_state_nothing_is_taken_away_that_a_version_needs(registry: Registry, base: Base) -> None:
    """ "Journal lost, another one asked, or database restored: the ledger decides." """
    registry.put("1.1", "new", {NAME: people.FULL_NAME})
    registry.bleen("migrate", "expand", "1.1")
    elsewhere = {"BLEEN_STATE": str(registry.root / "elsewhere")}  # a CI runner's, say
    assert "nothing to do" in registry.bleen("migrate", "expand", "1.1", environ=elsewhere).out
    assert rows(base, "SELECT environment, version FROM bleen_environment") == [("blue-1", "1.0")]
    shut = registry.bleen("migrate", "contract", "--yes", code=1, environ=elsewhere).out
    assert f"blue-1 (1.0) exists, and its version does not ship {NAME}; that is what the database remembers" in shut
    assert "`bleen migrate forget shop` says so" in shut
    registry.bleen("deploy", "1.1")
    assert f"{NAME} is needed: green-2 (1.1) ships it; that is" in registry.bleen("migrate", "revert", NAME, "--yes", code=2, environ=elsewhere).err
    assert "shop is not gone: session" in registry.bleen("migrate", "forget", "shop", "--yes", code=2, environ=elsewhere).err
    registry.bleen("down", "--yes")
    assert len(registry.bleen("migrate", "forget", "shop", "--yes", "--json", environ=elsewhere).json["forgotten"]) == 2
    registry.bleen("migrate", "revert", NAME, "--yes", environ=elsewhere)


def test_a_contract_is_never_asked_of_another_service_than_that_of_the_file(registry: Registry, base: Base) -> None:
    """After it [...] only when every environment that exists ships that migration: those of another service say nothing of it."""
    registry.put("1.1", "new", {NAME: people.FULL_NAME})
    registry.bleen("migrate", "expand", "1.1")
    assert "its version does not ship" in registry.bleen("migrate", "contract", "--yes", code=1).out
    for words in (("migrate", "contract", "--yes"), ("migrate", "status"), ("up",), ("plan", "1.1")):
        assert "is of the service 'shop', not of 'store'" in registry.bleen(*words, "--service", "store", code=2).err
    assert "is of the service 'shop', not of 'store'" in registry.bleen("doctor", "--service", "store", code=1).out
    assert rows(base, "SELECT state FROM bleen_migration") == [("expanded",)]


def test_a_release_that_is_taken_down_in_the_smoke_tests_of_the_old_version_takes_them_again(registry: Registry) -> None:
    """`bleen up` starts what was running, and goes on with a release that was under way."""
    registry.smoke({"name": "somebody", "url": "/people/1", "timeout": "20s"})
    registry.bleen("deploy", registry.put("1.0.1", "old"), "--end-window")
    registry.bleen("retire")
    registry.put("1.1", "new", {NAME: people.FULL_NAME})
    for copy in registry.copies("1.0.1"):
        copy.signal(signal.SIGSTOP)
    deploy = registry.start("deploy", "1.1")
    until("1.0.1 is asked", lambda: registry.release.phase == "EXPANDING" and registry.release.memo.get("check"))
    registry.bleen("down", "--yes")
    deploy.ended()
    registry.bleen("up")
    assert registry.reached("HOLDING", "ABORTED").phase == "HOLDING"


def test_what_changes_the_schema_ends_with_production_and_goes_on_with_it(registry: Registry, base: Base) -> None:
    """`down` ends production; `bleen up` goes on with a release that was under way."""
    registry.put("1.1", "new", {NAME: people.FULL_NAME})
    with base.connect() as reader, reader.transaction():
        reader.execute("LOCK TABLE people IN ACCESS SHARE MODE")
        deploy = registry.start("deploy", "1.1")
        for _ in range(5):  # which is as often as an expand may die by itself, and once more
            until("it waits for the lock", lambda: registry.release.phase == "EXPANDING" and "a lock was not given" in registry.release.why)
            registry.bleen("down", "--yes")
            assert registry.processes() == []
            registry.bleen("up")
        deploy.ended()
    assert registry.reached("HOLDING", "ABORTED").phase == "HOLDING"


def test_a_release_whose_new_version_never_starts_leaves_the_schema_expanded_and_pending(registry: Registry, base: Base) -> None:
    registry.put("1.1", "new", {NAME: people.FULL_NAME})
    (registry.releases / "1.1" / "app.py").write_text("raise SystemExit(1)\n")
    registry.bleen("deploy", "1.1", code=3)
    assert rows(base, "SELECT state FROM bleen_migration") == [("expanded",)]
    with people.Users(registry.listen) as users:
        until("1.0 is used", users.seen("1.0"))
    assert users.failed == []
    registry.bleen("migrate", "revert", NAME, "--yes")
    assert rows(base, "SELECT 1 FROM bleen_migration") == []
