"""Whole releases that change the schema, with users on both versions, a real proxy and a real PostgreSQL."""

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest

import databases
import people
from bleen.testing.site import until
from shop import ROUTERS, Shop


class Registry(Shop):
    """A shop of people: version 1.0 knows first and last name, 1.1 the full name."""

    def __init__(self, root: Path, router: str, url: str, application: ModuleType = people, **env: str) -> None:
        self.application = str(Path(str(application.__file__)))
        super().__init__(
            root,
            router,
            process={
                "command": [sys.executable, "app.py", "--port", "{port}", "--version", "{version}"],
                "env": {"DATABASE_URL": "${DATABASE_URL}", **env},
            },
            database={"url": "${DATABASE_URL}", "migrations": "releases/{version}/migrations"},
            drain="10s",
        )
        self.environ["DATABASE_URL"] = url

    def put(self, version: str, shape: str, migrations: Mapping[str, Mapping[str, str]] = {}) -> str:
        """Puts a version there, with its migrations."""
        directory = self.releases / version
        directory.mkdir()
        (directory / "app.py").write_text(
            f"import runpy, sys\nsys.argv[1:] += ['--shape', '{shape}']\nrunpy.run_path({self.application!r}, run_name='__main__')\n"
        )
        for name, files in migrations.items():
            (directory / "migrations" / name).mkdir(parents=True)
            for file, text in files.items():
                (directory / "migrations" / name / file).write_text(text)
        return version


@contextmanager
def behind(router: str, place: Path, oldest: databases.Postgres) -> Iterator[Registry]:
    """Version 1.0 is up, with a thousand people; 1.1, which brings the migration, is there to be deployed."""
    with oldest.database() as name:
        with oldest.connect(name) as db:
            db.execute(people.TABLE)
            db.execute("INSERT INTO people (first_name, last_name) SELECT 'A' || n, 'B' || n FROM generate_series(1, 1000) n")
        with Registry(place, router, oldest.url(name)) as shop:
            shop.put("1.0", "old")
            shop.put("1.1", "new", {"0007_full_name": people.FULL_NAME})
            shop.bleen("up")
            shop.bleen("deploy", "1.0")
            yield shop


@pytest.fixture
def registry(tmp_path: Path, oldest: databases.Postgres) -> Iterator[Registry]:
    with behind("haproxy", tmp_path, oldest) as shop:
        yield shop


@pytest.fixture(params=ROUTERS)
def either(request: pytest.FixtureRequest, tmp_path: Path, oldest: databases.Postgres) -> Iterator[Registry]:
    """Behind each router, for what moves users while the schema changes."""
    with behind(request.param, tmp_path, oldest) as shop:
        yield shop


def test_a_release_changes_the_schema_goes_back_and_forth_and_contracts_and_nobody_notices(either: Registry, oldest: databases.Postgres) -> None:
    """Both versions under load, forwards, back, forwards, contract: 0 failed statements, 0 failed requests, 0 rows lost or diverged."""
    with people.Users(either.listen) as users:
        until("1.0 is used", users.seen("1.0"))
        either.bleen("deploy", "1.1")
        until("1.1 is used", users.seen("1.1"))
        either.bleen("rollback")
        until("1.0 is used again", users.seen("1.0"))
        either.bleen("wait", code=4)
        either.bleen("deploy", "1.1")
        until("1.1 is used again", users.seen("1.1"))
        shut = either.bleen("migrate", "contract", "--yes", "--json", code=1).json
        assert any("the rollback window of release 3 (1.1) is open" in why for why in shut["waits"])
        either.bleen("retire")
        either.bleen("wait", "--until", "completed")
        (pending,) = either.status()["pending"]
        assert pending["migration"] == "0007_full_name"
        assert either.bleen("migrate", "contract", "--yes", "--json").json["contracted"] == ["0007_full_name"]
        until("1.1 is used after the contract", users.seen("1.1"))
    assert users.failed == []
    assert users.asked > 200
    with oldest.connect(either.environ["DATABASE_URL"].rpartition("/")[2]) as db:
        kept = {id: tuple(name.split(" ")) for id, name in db.execute("SELECT id, full_name FROM people")}  # type: ignore[attr-defined]
    assert {id: kept[id] for id in users.known} == users.known
    assert all(kept[n] == (f"A{n}", f"B{n}") for n in range(1, 1001))
    assert either.status()["pending"] == []


def test_after_the_contract_a_version_that_needs_the_old_shape_is_refused(registry: Registry) -> None:
    """After it, deploy, promote and rollback refuse a version that does not."""
    registry.bleen("deploy", "1.1")
    registry.bleen("retire")
    registry.bleen("wait", "--until", "completed")
    registry.bleen("migrate", "contract", "--yes")
    said = registry.bleen("deploy", "1.0", code=2)
    assert "version 1.0 does not ship 0007_full_name, which is contracted" in said.err
    assert said.err.strip().endswith("the way on is a version that does")
    registry.bleen("rollback", code=2)
    assert registry.status()["active"]["version"] == "1.1"


def test_a_migration_that_the_rules_forbid_is_refused_before_anything_is_touched(registry: Registry) -> None:
    registry.put("1.2", "old", {"0007_rename": {"expand.sql": "ALTER TABLE people RENAME COLUMN first_name TO given_name;\n"}})
    said = registry.bleen("deploy", "1.2", code=2)
    assert "0007_rename/expand.sql:1:" in said.err
    assert [each["version"] for each in registry.status()["environments"].values()] == ["1.0"]


def test_a_pair_that_could_never_be_kept_in_step_is_refused_before_anything_is_touched(registry: Registry) -> None:
    """ "`on_conflict: old | new | error`, required by the plan where it can happen" """
    settings = people.FULL_NAME["migration.toml"].replace('on_conflict = "new"\n', "")
    registry.put("1.2", "old", {"0008_other": {**people.FULL_NAME, "migration.toml": settings}})
    for verb in ("plan", "deploy"):
        said = registry.bleen(verb, "1.2", code=2).err
        assert "0008_other: people (first_name+last_name <-> full_name) cannot be kept in step: " in said
        assert 'say on_conflict = "old", "new" or "error"' in said
    assert json.loads(registry.bleen("migrate", "status", "--json").out)["migrations"] == []


def test_a_statement_that_fails_aborts_the_release_and_the_report_says_which(registry: Registry) -> None:
    registry.put("1.2", "old", {"0007_note": {"expand.sql": "ALTER TABLE nobody ADD COLUMN note text;\n"}})
    said = registry.bleen("deploy", "1.2", code=3)
    assert 'relation "nobody" does not exist' in said.text


def test_a_rollback_tells_what_the_new_version_wrote(registry: Registry) -> None:
    """The report says how many rows green wrote and that each is readable by blue."""
    registry.bleen("deploy", "1.1")
    with people.Users(registry.listen) as users:
        until("1.1 is used", users.seen("1.1"))
    assert users.failed == []
    registry.bleen("rollback")
    registry.bleen("wait", code=4)
    events = registry.journal.events(registry.release.id)
    (written,) = events[-1].facts["written"].values()
    assert written["written"] >= len(users.known)
    assert written["unreadable"] == 0
    told = f"1.1 wrote {written['written']} rows of 0007_full_name, people (first_name+last_name <-> full_name), and 1.0 reads them all"
    assert told in registry.bleen("history", str(registry.release.id.number)).out
    assert told in registry.bleen("wait", code=4).out


def test_the_plan_shows_what_becomes_of_the_schema_and_touches_nothing(registry: Registry) -> None:
    said = registry.bleen("plan", "1.1").out
    assert "expand     0007_full_name" in said
    assert "contract   0007_full_name, later, by `bleen migrate contract`" in said
    assert json.loads(registry.bleen("migrate", "status", "--json").out)["migrations"] == []


def test_the_plan_warns_of_a_constraint_that_holds_the_old_version_too(registry: Registry) -> None:
    adult = {"expand.sql": "ALTER TABLE people ADD CONSTRAINT visited CHECK (visits >= 0) NOT VALID;\n"}
    low = {"backfill.sql": "UPDATE people SET last_name = lower(last_name) WHERE last_name <> lower(last_name);\n"}
    registry.put("1.2", "old", {"0007_adult": adult, "0008_low": low})
    planned = registry.bleen("plan", "1.2").out
    assert "note: 0007_adult/expand.sql:1: " in planned
    assert "note: 0008_low/backfill.sql:1: writes over last_name of people" in planned


def test_the_plan_warns_of_a_cast_that_may_fail_a_write_of_the_version_that_serves(registry: Registry) -> None:
    files = {
        "expand.sql": "ALTER TABLE people ADD COLUMN number integer;\n",
        "migration.toml": '[[sync]]\ntable = "people"\nold = ["first_name"]\nnew = ["number"]\non_conflict = "new"\n'
        'forward = { number = "first_name::integer" }\nbackward = { first_name = "number::text" }\n',
    }
    registry.put("1.2", "old", {"0007_number": files})
    said = "0007_number: people (first_name <-> number): number is made by a cast of first_name to int4: a write of the old version fails"
    assert f"note: {said}" in registry.bleen("plan", "1.2").out
    assert f"  beware    {said}" in registry.bleen("migrate", "plan", "1.2").out


def test_the_url_of_the_database_is_nowhere_but_in_the_secrets(registry: Registry) -> None:
    """Values live in a file of mode 0600 for each release; the journal, the plan, logs and arguments hold references."""
    registry.bleen("deploy", "1.1")
    needle = registry.environ["DATABASE_URL"].encode()
    holding = [p for p in registry.state.rglob("*") if p.is_file() and needle in p.read_bytes()]
    assert holding
    assert all(p.parent.name == "secrets" and p.stat().st_mode & 0o777 == 0o600 for p in holding if "environments" not in p.parts)


def test_a_prepared_select_star_is_warned_of_and_found_while_the_old_version_serves(registry: Registry) -> None:
    """A prepared `SELECT *` breaks with "cached plan must not change result type" when a column is added; say so before it happens."""
    registry.put("1.0.1", "star")
    registry.smoke({"name": "Somebody", "url": "/people/1", "headers": {"X-Version": "${VERSION}"}, "expect_status": 200})
    registry.bleen("deploy", "1.0.1", "--end-window")
    planned = registry.bleen("plan", "1.1").out
    assert "0007_full_name adds a column to people: a `SELECT *` from it that 1.0.1 has prepared" in planned
    said = registry.bleen("deploy", "1.1", "--end-window", code=3)
    assert "1.0.1, which serves, does not pass its smoke tests since the schema was expanded" in said.text
    assert "X-Version: 1.0.1" in said.text
    assert "`bleen migrate revert 0007_full_name` undoes that" in said.text
    registry.bleen("migrate", "revert", "0007_full_name", "--yes")


def test_what_a_restored_database_lacks_of_the_version_that_serves_is_said_where_people_look(registry: Registry, oldest: databases.Postgres) -> None:
    """Journal lost or database restored: the ledger decides."""
    name = registry.environ["DATABASE_URL"].rpartition("/")[2]
    registry.bleen("deploy", "1.1")
    lacks = "1.1 is here, and ships 0007_full_name, which this database has not: was it restored? `bleen migrate expand 1.1` brings it"
    assert not any(lacks in registry.bleen(*verb).out for verb in (["migrate", "status"], ["status"], ["doctor"], ["plan", "1.1"]))
    with oldest.connect(name) as db:
        db.execute("DROP TABLE people CASCADE")
        db.execute("DELETE FROM bleen_step")
        db.execute("DELETE FROM bleen_migration")
        db.execute(people.TABLE)
    for verb in (["migrate", "status"], ["status"], ["doctor"], ["plan", "1.1"]):
        assert registry.bleen(*verb).out.count(lacks) == 1, verb
    registry.bleen("migrate", "expand", "1.1")
    assert not any(lacks in registry.bleen(*verb).out for verb in (["status"], ["migrate", "status"]))


def test_a_database_that_was_restored_from_before_the_expand_is_expanded_by_the_next_deploy(registry: Registry, oldest: databases.Postgres) -> None:
    """Journal lost or database restored: the ledger decides."""
    name = registry.environ["DATABASE_URL"].rpartition("/")[2]
    with oldest.connect(name) as db:
        db.execute("CREATE TABLE before AS TABLE people")
    registry.bleen("deploy", "1.1")
    with oldest.connect(name) as db:
        db.execute("DROP TABLE people, bleen_migration, bleen_step, bleen_environment CASCADE")
        db.execute(people.TABLE)
        db.execute("INSERT INTO people (first_name, last_name) SELECT first_name, last_name FROM before")
    for verb in (["migrate", "status"], ["migrate", "contract", "--yes"], ["plan", "1.0"]):
        said = registry.bleen(*verb, code=2).err  # it may as well have been dropped alone, with 1.0's columns gone
        assert said.count("the ledger of this database is gone") == 1
        assert "1.1 was released on with 0007_full_name" in said
    assert "the ledger of this database is gone" in registry.bleen("doctor", code=1).out
    assert "all that 1.1 ships is expanded anew" in registry.bleen("plan", "1.1").out
    with oldest.connect(name) as db:
        db.execute("ALTER TABLE people ADD COLUMN full_name text")
        for verb in (["plan", "1.1"], ["migrate", "expand", "1.1"]):
            said = registry.bleen(*verb, code=2).err
            assert "there already" in said
            assert said.count("the ledger of this database is gone") == 1
        db.execute("ALTER TABLE people DROP COLUMN full_name")
    registry.bleen("deploy", "1.1", "--end-window")
    with oldest.connect(name) as db:
        assert db.execute("SELECT count(*) FROM people WHERE full_name = first_name || ' ' || last_name").fetchall() == [(1000,)]
