"""The migrator of releases keeps the contract with a real PostgreSQL, and what holds of it alone: its program may die, be stopped, and be ended."""

import json
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import psycopg
import pytest

import people
from bleen.database.migration import read_all
from bleen.database.migrator import Migrator
from bleen.host import errand, launch
from bleen.host.processes import Process
from bleen.model import NotYet, Result, Verdict
from bleen.testing.checks import Stand
from bleen.testing.migrators import NAME, NEW, OLD, MigratorContract, begun, done, verdict
from bleen.testing.site import until
from databases import Base


class Database:
    """A database with people, what comes in its way, and the files of a release beside it."""

    def __init__(self, base: Base, root: Path) -> None:
        self.base, self.root, self._held = base, root, ExitStack()
        self.place, self.folder, self.secrets = root / "releases" / "5", root / "migrations", root / "secrets.json"
        with base.connect() as db:
            db.execute(people.TABLE)
            db.execute("INSERT INTO people (first_name, last_name) SELECT 'A' || n, 'B' || n FROM generate_series(1, 50) n")
        (self.folder / NAME).mkdir(parents=True)
        for file, text in people.FULL_NAME.items():
            (self.folder / NAME / file).write_text(text)
        self.at(base.url)

    def at(self, url: str) -> None:
        """Where the release finds the database."""
        self.secrets.write_text(json.dumps({"database": {"url": url}}))

    def migrator(self, contract: str = "manual", patience: float = 60.0, longest: float = 60.0) -> Migrator:
        plan = {"folder": str(self.folder), "migrations": {m.name: m.checksum for m in read_all(self.folder)}, "contract": contract}
        return Migrator(self.place, "shop", 5, plan, str(self.secrets), patience=patience, longest=longest)

    def hold(self) -> None:
        """Somebody has locked the table."""
        db: psycopg.Connection[tuple[object, ...]] = self._held.enter_context(self.base.connect())
        self._held.enter_context(db.transaction())
        db.execute("LOCK TABLE people IN ACCESS SHARE MODE")

    def let_go(self) -> None:
        self._held.close()

    def say(self, *statements: str) -> None:
        """Returns once the server has seen that nobody of us is connected any more: a session that nobody knows keeps the gate shut."""
        with self.base.connect() as db:
            for each in statements:
                db.execute(each)
        with self.base.server.connect() as other:
            until("nobody is connected", lambda: not other.execute("SELECT FROM pg_stat_activity WHERE datname = %s", [self.base.name]).fetchall())

    def programs(self) -> list[Process]:
        return [each for name in ("expand", "contract", "account", "tidy") for each in launch.remains(self.place / f"{name}.json")]


@pytest.fixture
def database(base: Base, tmp_path: Path) -> Iterator[Database]:
    made = Database(base, tmp_path / "release")
    yield made
    made.let_go()
    for each in made.programs():
        each.signal(signal.SIGKILL)
    until("nothing runs any more", lambda: not made.programs())


class TestMigrator(MigratorContract):
    database: Database

    @pytest.fixture(autouse=True)
    def real(self, database: Database) -> None:
        self.database = database
        self.patience = 60.0

    def build(self, stand: Stand, contract: str = "manual") -> Migrator:
        return self.database.migrator(contract, self.patience)

    def hold(self, stand: Stand) -> None:
        self.database.hold()

    def let_go(self, stand: Stand) -> None:
        self.database.let_go()

    def refuse(self, stand: Stand) -> None:
        """What nobody foresees: a view in the way of a contract would keep its gate shut."""
        self.database.say(
            "CREATE FUNCTION refuses() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'as the test wished'; END $$",
            "CREATE EVENT TRIGGER refuses ON ddl_command_start WHEN TAG IN ('ALTER TABLE') EXECUTE FUNCTION refuses()",
        )

    def break_down(self, stand: Stand) -> None:
        self.patience = 0.0
        self.database.at("postgresql://postgres:canary@127.0.0.1:1/gone")

    def mend(self, stand: Stand) -> None:
        self.database.say("DROP EVENT TRIGGER refuses", "DROP FUNCTION refuses")

    def write(self, stand: Stand) -> None:
        self.database.say("INSERT INTO people (full_name) VALUES ('Ada King')")


def expanding(database: Database) -> tuple[Migrator, dict[str, object], Process]:
    """An expand that waits for a lock; the migrator, its memo and its program."""
    database.hold()
    migrator = database.migrator()
    memo = dict(begun(lambda memo: migrator.expand([NEW, OLD], memo)))
    until("it waits for the lock", lambda: "a lock was not given" in why(migrator, memo))
    (program,) = database.programs()
    return migrator, memo, program


def why(migrator: Migrator, memo: dict[str, object]) -> str:
    """What is waited for, remembering what is to be."""
    answer = migrator.expand([NEW, OLD], memo)
    assert isinstance(answer, NotYet), answer
    if answer.memo is not None:
        memo.clear()
        memo.update(answer.memo)
    return answer.why


def state(database: Database) -> list[tuple[object, ...]]:
    with database.base.connect() as db:
        there = db.execute("SELECT to_regclass('bleen_migration')").fetchone() != (None,)
        return db.execute("SELECT name, state FROM bleen_migration").fetchall() if there else []


def test_it_says_who_is_in_the_way(database: Database) -> None:
    """Bounded, jittered retries that name the blocking session."""
    migrator, memo, _ = expanding(database)
    until("who holds the lock is named", lambda: "in the way: backend" in why(migrator, memo))


def test_it_says_since_when_nothing_was_heard_and_how_to_begin_again(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """What hangs where nobody can see it held a release up for good."""
    migrator, memo, program = expanding(database)
    monkeypatch.setattr(errand, "SILENT", 0.0)
    said = f": if nothing of it is at work there any more, `kill -9 {program.pid}` has it begun again"
    until("it is told", lambda: "; no word of it since " in (text := why(migrator, memo)) and text.endswith(said))


def test_a_count_for_which_a_lock_is_not_given_names_who_holds_it_and_is_given_up(database: Database) -> None:
    """The next release waits for it, and nobody else does."""
    done(lambda memo: database.migrator().expand([NEW, OLD], memo))
    migrator, memo, found = database.migrator(longest=15.0), dict[str, object](), list[Verdict]()

    def waits() -> str:
        answer = migrator.account([OLD], memo)
        if isinstance(answer, Verdict):
            found.append(answer)
            return ""
        memo.update(answer.memo or {})
        return answer.why

    with database.base.connect() as db, db.transaction():
        db.execute("LOCK TABLE people IN ACCESS EXCLUSIVE MODE")
        until("who holds it is named", lambda: "a count of what the new version wrote: waits for a lock; in the way: backend " in waits())
        until("it is given up", lambda: not waits())
    assert found == [Verdict(Result.INCONCLUSIVE, "a count of what the new version wrote was given up after 15 s")]
    assert not database.programs()


def test_a_program_that_was_killed_is_begun_again_and_goes_on(database: Database) -> None:
    migrator, memo, program = expanding(database)
    program.signal(signal.SIGKILL)
    until("it is begun again", lambda: why(migrator, memo) and [each for each in database.programs() if each != program])
    database.let_go()
    assert verdict(lambda memo: migrator.expand([NEW, OLD], memo), memo).evidence == ({"expanded": [NAME]},)


def test_a_program_that_dies_whenever_it_is_begun_is_given_up(database: Database) -> None:
    migrator, memo, _ = expanding(database)
    found: list[Verdict] = []

    def ended() -> bool:
        for each in database.programs():
            each.signal(signal.SIGKILL)
        answer = migrator.expand([NEW, OLD], memo)
        if isinstance(answer, Verdict):
            found.append(answer)
        elif answer.memo is not None:
            memo.clear()
            memo.update(answer.memo)
        return bool(found)

    until("it is given up", ended, 20)
    assert found[0].result is Result.INCONCLUSIVE
    assert "begun 4 times" in found[0].why
    assert "expand.log says why" in found[0].why


def test_both_may_be_killed_and_a_new_engine_without_a_memo_ends_it(database: Database) -> None:
    _, _, program = expanding(database)
    program.signal(signal.SIGKILL)
    until("it is gone", lambda: not database.programs())
    database.let_go()
    migrator = database.migrator()
    assert done(lambda memo: migrator.expand([NEW, OLD], memo))["expanded"] == [NAME]
    assert state(database) == [(NAME, "expanded")]


def test_an_environment_that_goes_meanwhile_does_not_disturb_it(database: Database) -> None:
    migrator, memo, program = expanding(database)
    answer = migrator.expand([NEW], memo)
    assert isinstance(answer, NotYet)
    assert database.programs() == [program]


def test_a_program_that_was_stopped_is_named_and_may_go_on(database: Database) -> None:
    migrator, memo, program = expanding(database)
    program.signal(signal.SIGSTOP)
    until("that is told", lambda: f"`kill -CONT {program.pid}` lets it go on" in why(migrator, memo))
    program.signal(signal.SIGCONT)
    database.let_go()
    assert verdict(lambda memo: migrator.expand([NEW, OLD], memo), memo).result is Result.PASS


def test_cancelling_ends_it_at_once_and_what_was_done_stays(database: Database) -> None:
    migrator, _, program = expanding(database)
    migrator.cancel()
    assert not program.alive
    assert state(database) == [(NAME, "expanding")]
    database.let_go()
    assert done(lambda memo: database.migrator().expand([NEW, OLD], memo))["expanded"] == [NAME]


def test_an_expand_waits_for_as_long_as_another_migration_of_the_database_takes(database: Database) -> None:
    """One advisory lock per database: it may be held by a statement of a worker that was killed, which goes on by itself."""
    migrator, server = database.migrator(patience=0.0), database.base.open("bleen migrate other")
    with server.alone():
        memo = dict(begun(lambda memo: migrator.expand([NEW, OLD], memo)))
        until("it has tried again", lambda: why(migrator, memo).endswith("wait for it, or end it; tries again"))
    server.close()
    assert verdict(lambda memo: migrator.expand([NEW, OLD], memo), memo).evidence == ({"expanded": [NAME]},)


def test_a_database_that_does_not_let_us_in_any_more_halts_no_release_at_its_end(database: Database) -> None:
    """A contract that is manual neither halts nor blocks a release: its password was rotated within the window, say."""
    done(lambda memo: database.migrator().expand([NEW, OLD], memo))
    database.at(database.base.server.url(database.base.name, "nobody"))
    migrator = database.migrator()
    for work, result in ((migrator.contract, Result.INCONCLUSIVE), (migrator.account, Result.INCONCLUSIVE), (migrator.expand, Result.FAIL)):
        found = verdict(partial(work, [NEW]), begun(partial(work, [NEW])))
        assert (found.result, 'role "nobody" does not exist' in found.why) == (result, True)


def test_nothing_of_it_is_at_work_once_production_has_ended(database: Database) -> None:
    """`down` ends production: neither an expand, nor a contract, nor a count goes on behind it."""
    migrator, _, expand = expanding(database)
    migrator.down({})
    assert not expand.alive
    database.let_go()
    done(lambda memo: migrator.expand([NEW, OLD], memo))
    for work in (migrator.contract, migrator.account, migrator.tidy):
        begun(partial(work, [NEW]))
        until("it has begun", database.programs)
        migrator.down({})
        assert not database.programs()


def test_a_database_that_comes_back_is_gone_on_with_and_until_then_the_reason_is_told(database: Database) -> None:
    """An expand waits a minute for a database that is away, and says so meanwhile."""
    database.at("postgresql://postgres:canary@127.0.0.1:1/gone")
    migrator = database.migrator()
    memo = dict(begun(lambda memo: migrator.expand([NEW, OLD], memo)))
    until("it says what it waits for", lambda: "the database does not answer" in why(migrator, memo))
    gone = 'connection to server at "127.0.0.1", port 1 failed: Connection refused'
    assert why(migrator, memo) == f"the schema to be expanded: the database does not answer: {gone}; tries again"
    assert "canary" not in "".join(path.read_text() for path in database.place.rglob("*") if path.is_file())


def test_a_connection_that_is_lost_is_made_again(database: Database) -> None:
    migrator, memo, _ = expanding(database)
    with database.base.connect() as db:
        db.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'bleen migrate%' AND datname = current_database()")
    database.let_go()
    assert verdict(lambda memo: migrator.expand([NEW, OLD], memo), memo).evidence == ({"expanded": [NAME]},)


def test_another_service_s_contract_is_not_done_by_ours_and_keeps_later_ones_waiting(database: Database) -> None:
    """Another service that shares the database holds it."""
    plan = {"folder": str(database.folder), "migrations": {m.name: m.checksum for m in read_all(database.folder)}, "contract": "auto"}
    other = Migrator(database.root / "other", "other", 1, plan, str(database.secrets))
    done(lambda memo: other.expand([NEW], memo))
    migrator = database.migrator("auto")
    assert done(lambda memo: migrator.expand([NEW], memo))["expanded"] == []
    found = done(lambda memo: migrator.contract([NEW], memo))
    assert found["contracted"] == []
    assert done(lambda memo: other.contract([NEW], memo))["contracted"] == [NAME]


def test_an_environment_of_another_service_holds_the_gate_until_that_service_says_that_it_has_ended(database: Database) -> None:
    other = Migrator(database.root / "other", "other", 1, {"folder": str(database.root / "none"), "migrations": {}, "contract": "auto"}, str(database.secrets))
    done(lambda memo: other.expand([OLD], memo))
    migrator = database.migrator("auto")
    done(lambda memo: migrator.expand([NEW], memo))
    (pending,) = done(lambda memo: migrator.contract([NEW], memo))["pending"]
    (why,) = pending["waits"]
    assert why.startswith(f"other shares this database, and its blue-4 (1.0) does not ship {NAME}; ")
    done(lambda memo: other.contract([NEW], memo))
    assert done(lambda memo: migrator.contract([NEW], memo))["contracted"] == [NAME]


@pytest.mark.parametrize("end", ["account", "tidy"])
def test_an_environment_that_was_undone_is_taken_out_of_the_books(database: Database, end: str) -> None:
    """What has ended keeps no gate shut, of this service or of another one that shares the database."""
    migrator = database.migrator()
    done(lambda memo: migrator.expand([NEW, OLD], memo))
    known = "SELECT environment FROM bleen_environment ORDER BY environment"
    with database.base.connect() as db:
        assert db.execute(known).fetchall() == [("blue-4",), ("green-5",)]
        done(lambda memo: (migrator.account if end == "account" else migrator.tidy)([OLD], memo))
        assert db.execute(known).fetchall() == [("blue-4",)]


@pytest.mark.parametrize("end", ["account", "tidy"])
def test_an_end_of_a_release_without_migrations_speaks_of_none(database: Database, end: str) -> None:
    """Nothing was expanded: what is waited for is only that the books are told who is left."""
    plan = {"folder": str(database.root / "none"), "migrations": {}, "expands": [], "contract": "manual"}
    migrator = Migrator(database.place, "shop", 5, plan, str(database.secrets))
    done(lambda memo: migrator.expand([NEW, OLD], memo))
    ended = migrator.account if end == "account" else migrator.tidy
    said = ended([OLD], {})
    assert isinstance(said, NotYet)
    assert said.why == "the database to be told which environments are left"
    assert verdict(lambda memo: ended([OLD], memo), said.memo or {}).result is Result.PASS
