"""Expand, contract and revert on a real server, by the ledger."""

import json
import re
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest

import databases
from bleen import config
from bleen.cli import database, main
from bleen.cli.database import allowed
from bleen.database import reverting
from bleen.database.foresight import Foresight
from bleen.database.gate import Around
from bleen.database.ledger import Part, State
from bleen.database.migration import Backfill, Locks, Migration, parse
from bleen.database.postgres import server as postgres
from bleen.database.reading import Pending
from bleen.database.rules.own import LEDGER
from bleen.database.rules.postgres_columns import required
from bleen.database.schema import Schema
from bleen.database.server import NotGiven, Taken
from bleen.database.worker import contract
from bleen.errors import Refused, Unavailable, UserError
from bleen.testing.site import until
from databases import Base

USERS = """
CREATE TABLE users (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, first_name text NOT NULL, last_name text NOT NULL);
INSERT INTO users (first_name, last_name) SELECT 'F' || n, 'L' || n FROM generate_series(1, 2500) n;
"""
FULL_NAME = {
    "expand.sql": "ALTER TABLE users ADD COLUMN full_name text;",
    "backfill.sql": "UPDATE users SET full_name = first_name || ' ' || last_name;",
    "contract.sql": "ALTER TABLE users DROP COLUMN first_name;\nALTER TABLE users DROP COLUMN last_name;",
    "revert.sql": "ALTER TABLE users DROP COLUMN full_name;",
    "migration.toml": """
[[sync]]
table = "users"
old = ["first_name", "last_name"]
new = ["full_name"]
forward = { full_name = "first_name || ' ' || last_name" }
backward = { first_name = "split_part(full_name, ' ', 1)", last_name = "split_part(full_name, ' ', 2)" }
on_conflict = "new"
""",
}
SHIPS = {"blue-1": frozenset[str](), "green-2": frozenset({"0007_full_name"})}
NOBODY = Around("shop", ())
MENDS = ": `bleen migrate backfill 0007_full_name` fills or shows them"


def migration(name: str = "0007_full_name", **files: str) -> Migration:
    return parse(name, {f"{file}.sql": text for file, text in files.items()} or FULL_NAME, name)


ON_BOTH_ENDS = pytest.mark.parametrize("users", databases.ENDS, indirect=True, ids=lambda version: f"PostgreSQL {version}")
"""For what goes by the catalogue, or by what the server does behind a statement: on the oldest version and on the newest."""


@pytest.fixture
def users(request: pytest.FixtureRequest, postgres: Callable[[int], databases.Postgres]) -> Iterator[Base]:
    """On PostgreSQL 15, or as ``ON_BOTH_ENDS`` says."""
    server = postgres(getattr(request, "param", databases.ENDS[0]))
    with server.database() as name:
        base = Base(server, name)
        with base.connect() as db:
            db.execute(USERS)
        yield base


@pytest.fixture
def shop(base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of a service on the users of PostgreSQL 15; what is typed is typed there."""
    monkeypatch.setenv("BLEEN_STATE", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bleen.yaml").write_text(
        "service: shop\nplatform: {process: {command: [sh], ports: 20000-20009}}\nrouter: {haproxy: {listen: 127.0.0.1:20010, preview: 127.0.0.1:20011}}\n"
        f"database: {{url: '{base.url}'}}\n"
    )
    rows(base, USERS)
    return tmp_path


def ship(shop: Path, name: str, files: Mapping[str, str]) -> None:
    """Puts a migration beside those of version 1."""
    folder = shop / "releases" / "1" / "migrations" / name
    folder.mkdir(parents=True)
    for file, text in files.items():
        (folder / file).write_text(text)


def pending(schema: Schema) -> list[Pending]:
    """What is pending once the server has seen that our own connections were closed."""
    until("nobody else is connected", lambda: not schema.server.sessions())
    return schema.pending(NOBODY)


def rows(base: Base, query: str) -> list[tuple[object, ...]]:
    with base.connect() as db:
        cursor = db.execute(query)
        return cursor.fetchall() if cursor.description else []


@ON_BOTH_ENDS
def test_the_article_s_example_goes_there_and_contracts(users: Base) -> None:
    """Expand: ADD COLUMN and a whole-table UPDATE; contract: the DROPs; both versions work in between."""
    schema = Schema(users.open())
    assert schema.expand([migration()], "shop", 2, SHIPS) == ["0007_full_name"]
    assert rows(users, "SELECT count(*) FROM users WHERE full_name = first_name || ' ' || last_name") == [(2500,)]
    with users.connect(**{"bleen.environment": "blue"}) as blue, users.connect(**{"bleen.environment": "green"}) as green:
        blue.execute("INSERT INTO users (first_name, last_name) VALUES ('Ada', 'Lovelace')")
        green.execute("INSERT INTO users (full_name) VALUES ('Alan Turing')")
    assert rows(users, "SELECT first_name, last_name, full_name FROM users WHERE id > 2500 ORDER BY id") == [
        ("Ada", "Lovelace", "Ada Lovelace"),
        ("Alan", "Turing", "Alan Turing"),
    ]
    (found,) = pending(schema)
    assert (found.migration, found.obstacles) == ("0007_full_name", ())
    schema.contract("0007_full_name")
    assert list(schema.server.columns("users")) == ["id", "full_name"]
    assert pending(schema) == []
    assert schema.contracted() == ["0007_full_name"]
    assert rows(users, "SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal") == [(0,)]
    assert rows(users, "SELECT count(*) FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace WHERE nspname = 'public'") == [(0,)]


@pytest.mark.parametrize(
    ("does", "says"),
    [
        ("PERFORM pg_terminate_backend(pg_backend_pid())", "does not answer: terminating connection due to administrator command"),
        ("RAISE disk_full USING MESSAGE = 'could not extend file'", "says: could not extend file"),
    ],
)
def test_a_database_that_goes_away_or_is_full_leaves_what_was_done_and_what_goes_on_with_it_is_named(
    base: Base, shop: Path, capsys: pytest.CaptureFixture[str], does: str, says: str
) -> None:
    """Any failure leaves a state from which expand resumes or reverts, and says so."""
    ship(shop, "0007_full_name", FULL_NAME)
    rows(
        base,
        f"CREATE FUNCTION a_gone() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.id = 2000 THEN {does};"
        " END IF; RETURN NEW; END $$; CREATE TRIGGER a_gone BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION a_gone()",
    )
    assert main(["migrate", "expand", "1"]) == 2
    said = capsys.readouterr().err
    way = "expanded again, it goes on from there, and `bleen migrate revert 0007_full_name` undoes what was done of it"
    assert said == f"bleen: 0007_full_name: the database {says}; {way}\n"
    assert rows(base, "SELECT count(full_name) BETWEEN 1000 AND 1999 FROM users") == [(True,)]
    rows(base, "DROP TRIGGER a_gone ON users")
    assert main(["migrate", "expand", "1"]) == 0
    assert rows(base, "SELECT count(full_name) FROM users") == [(2500,)]


@pytest.mark.parametrize(("env", "told"), [("", True), (", env: {PGOPTIONS: ''}", False)])
def test_a_service_that_is_served_without_a_database_is_told_what_a_pooler_refuses_of_its_environment(base: Base, shop: Path, env: str, told: bool) -> None:
    """Once: users of an application behind pgbouncer were served until then."""
    file = shop / "bleen.yaml"
    file.write_text(file.read_text().replace("[sh]", f"[sh]{env}"))
    (shop / "releases" / "1").mkdir(parents=True)
    loaded = config.load(file)
    plan = config.plan(loaded, "1", None)
    first = database.add(plan, loaded, plan)
    for before, says in ((plan, told), (first, False), (None, False)):
        warnings = database.add(plan, loaded, before).warnings
        assert sum("unsupported startup parameter: options" in each and "`env: {PGOPTIONS: ''}`" in each for each in warnings) == says


NO_ROOM = "RAISE disk_full USING MESSAGE = 'could not extend file'"


def test_no_room_for_the_triggers_of_a_pair_is_told_as_no_room_for_its_rows_is(base: Base, shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is tried again for a minute is no refusal, be it a batch or a trigger that there is no room for, at first or once it is half done."""
    ship(shop, "0007_full_name", FULL_NAME)
    full = "CREATE FUNCTION full_{0}() RETURNS {0} LANGUAGE plpgsql AS $$ BEGIN {1}; END $$"
    rows(base, f"{full.format('trigger', NO_ROOM)}; {full.format('event_trigger', NO_ROOM)}")
    for made in ("CREATE SEQUENCE", "CREATE FUNCTION"):
        rows(base, f"CREATE EVENT TRIGGER e ON ddl_command_start WHEN TAG IN ('{made}') EXECUTE FUNCTION full_event_trigger()")
        assert main(["migrate", "expand", "1"]) == 2
        said = capsys.readouterr().err
        assert said.startswith(f"bleen: 0007_full_name: {made.replace(' F', ' OR REPLACE F')}")
        assert said.endswith(
            "could not extend file; expanded again, it goes on from there, and `bleen migrate revert 0007_full_name` undoes what was done of it\n"
        )
        rows(base, "DROP EVENT TRIGGER e; CREATE TRIGGER full_1 BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION full_trigger()")
        main(["migrate", "expand", "1"])
        rows(base, "DROP TRIGGER full_1 ON users")
        capsys.readouterr()
    assert main(["migrate", "expand", "1"]) == 0


def test_a_contract_that_was_begun_when_the_server_went_away_waits_until_who_serves_has_connected_again(users: Base, request: pytest.FixtureRequest) -> None:
    """`contract: auto`: "the release does it, once its gate is open", which it was."""

    def told(text: str) -> None:
        if "it was begun, and waits for one" in text:
            request.addfinalizer(users.connect(application_name="bleen:shop:green").close)

    schema = Schema(users.open(), told)
    schema.expand([migration()], "shop", 2, {})
    serving = {"environment": "green-2", "version": "2", "migrations": ["0007_full_name"], "processes": 1, "share": 100}
    spec = {"auto": True, "patience": 60.0, "around": {"service": "shop", "window": "", "environments": [serving]}}
    (left,) = contract(schema, spec).evidence[0]["pending"]
    assert "it has none open (no request yet, or none since the server was away?)" in left["waits"][0]
    schema.server.rows(*schema.ledger.reached("0007_full_name", State.CONTRACTING))
    assert contract(schema, spec).evidence == ({"contracted": ["0007_full_name"], "pending": []},)


def test_a_contract_that_cannot_be_carried_out_as_it_was_released_says_the_way_which_is_one(base: Base, shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And what was contracted before it. What could be known of it was told before the expand."""
    contract = "CREATE OR REPLACE VIEW letters AS SELECT last_name AS name FROM users;"
    ship(
        shop, "0001_note", {"expand.sql": "ALTER TABLE users ADD COLUMN note text;", "contract.sql": "ALTER TABLE users ALTER COLUMN last_name DROP NOT NULL;"}
    )
    ship(shop, "0002_letters", {"expand.sql": "ALTER TABLE users ADD COLUMN size int;", "contract.sql": contract})
    rows(base, "CREATE VIEW letters AS SELECT last_name FROM users")
    assert main(["migrate", "expand", "1"]) == 2
    assert "column 1 of view letters is last_name, which PostgreSQL does not rename in it: write `AS last_name` there" in capsys.readouterr().err
    rows(base, "DROP VIEW letters")
    assert main(["migrate", "expand", "1"]) == 0
    rows(base, "CREATE VIEW letters AS SELECT last_name FROM users")
    assert main(["migrate", "contract", "--yes", "--because", "of a test"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(
        "bleen: 0002_letters/contract.sql: line 1, CREATE OR REPLACE VIEW letters AS SELECT last_name AS name FROM users: cannot change name"
    )
    assert "; mend that by hand, then try again (an edit of its files, which were applied, changes nothing); " in said
    way = "`bleen migrate contract 0002_letters --aside --because REASON` leaves it undone, and later contracts go on"
    assert said.endswith(f"{way}\ncontracted before 0002_letters: 0001_note\n")
    rows(base, "ALTER VIEW letters RENAME COLUMN last_name TO name")
    assert main(["migrate", "contract", "--yes", "--because", "of a test"]) == 0
    assert capsys.readouterr().out.endswith("contracted: 0002_letters\n")


def test_a_contract_that_can_never_be_carried_out_is_set_aside_and_the_later_ones_go_on(base: Base, shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Pending contracts run in order: one that fails for its own text would hold all others up for good."""
    wrong = "ALTER TABLE users ALTER COLUMN lastname DROP NOT NULL;\nALTER TABLE users DROP COLUMN first_name;\nALTER TABLE users DROP COLUMN last_name;"
    ship(shop, "0001_full_name", {**FULL_NAME, "contract.sql": wrong})
    ship(shop, "0002_size", {"expand.sql": "ALTER TABLE users ADD COLUMN size int;", "contract.sql": "ALTER TABLE users ALTER size SET DEFAULT 1;"})
    contract = ["migrate", "contract", "--yes", "--because", "lastname: misspelt"]
    assert main(["migrate", "plan", "1"]) == 0
    assert "contract.sql, line 1, ALTER TABLE users ALTER COLUMN lastname DROP NOT NULL: users has no column lastname" in capsys.readouterr().out
    assert main(["migrate", "expand", "1"]) == 0
    assert main(contract) == 2
    assert "`bleen migrate contract 0001_full_name --aside --because REASON` leaves it undone" in capsys.readouterr().err
    assert main([*contract, "--aside"]) == 2
    rows(base, "CREATE VIEW uv AS SELECT first_name FROM users")  # what only the dropping would need
    assert main([*contract, "0001_full_name", "--aside"]) == 1
    said = capsys.readouterr().out
    assert "  first_name of users is NOT NULL, and stays: without the triggers an INSERT of the new version fails, which does not give it; by hand" in said
    assert ("uv" in said, "changes the columns" in said) == (False, False)
    rows(base, "ALTER TABLE users ALTER first_name DROP NOT NULL, ALTER last_name DROP NOT NULL")
    assert main([*contract[:2], *contract[3:], "0001_full_name", "--aside"]) == 2
    would = "set 0001_full_name aside for good: what its contract would change stays, and nothing keeps it in step from then on;"
    assert f"nobody is there to ask. This would {would}" in capsys.readouterr().err
    assert main([*contract, "0001_full_name", "--aside"]) == 0
    said = capsys.readouterr().out
    assert said.endswith("set aside: 0001_full_name; what it left is for a new migration\n")
    assert [each for each in said.splitlines() if "drop" in each or "changes the columns" in each] == []
    rows(base, "DROP VIEW uv")
    assert rows(base, "SELECT count(*) FROM pg_trigger WHERE tgname LIKE '~bleen%'") == [(0,)]
    assert main(contract) == 0
    assert capsys.readouterr().out.endswith("contracted: 0002_size\n")
    assert Schema(base.open()).contracted() == ["0001_full_name", "0002_size"]
    rows(base, "INSERT INTO users (full_name) VALUES ('Ann Lee')")
    with pytest.raises(UserError, match=r"ship 0002_size, which is contracted: .* is gone; nor 0001_full_name, whose contract was set aside: what it writes"):
        allowed(Schema(base.open()), "0", [])


def test_what_is_said_of_a_contract_that_was_set_aside_is_true(base: Base, shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One that cannot be carried out, and of which nothing is done, may be set aside with a reason: [...] the old shape stays; be it by whoever goes on with it
    after a kill."""
    files = {"expand.sql": "ALTER TABLE users ADD COLUMN size int;", "contract.sql": "ALTER TABLE users DROP COLUMN first_name;"}
    ship(shop, "0001_size", files)
    assert main(["migrate", "expand", "1"]) == 0
    schema = Schema(base.open())
    aside = schema.ledger.reasoned("0001_size", "first_name: a report has it", aside=True)
    schema.ledger.note([schema.ledger.reached("0001_size", State.CONTRACTING), *aside])
    capsys.readouterr()
    assert main(["migrate", "contract", "--yes", "--because", "first_name: a report has it", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["contracted"], told["aside"], "first_name" in schema.server.columns("users")) == ([], ["0001_size"], True)
    assert main(["migrate", "status"]) == 0
    assert "  set aside, so that what its contract would change stays: first_name: a report has it\n" in capsys.readouterr().out
    assert main(["migrate", "status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["migrations"][0]["aside"] == "first_name: a report has it"
    assert main(["migrate", "revert", "0001_size", "--yes"]) == 2
    assert "0001_size was set aside, and counts as contracted, though the old shape is there; the way on is a new" in capsys.readouterr().err
    allowed(schema, "0", [])  # nothing is gone that it needs, nor is anything not kept in step


def test_whoever_reverts_is_told_what_is_lost_before_and_after(base: Base, shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """'`revert` ... counts the values that would be lost.'"""
    ship(shop, "0001_size", {"expand.sql": "CREATE TABLE invoices (id int); ALTER TABLE users ADD COLUMN size int NOT NULL DEFAULT 0;"})
    assert main(["migrate", "expand", "1"]) == 0
    rows(base, "INSERT INTO invoices VALUES (1), (2)")
    rows(base, "UPDATE users SET size = 3 WHERE id = 1")
    assert main(["migrate", "revert", "0001_size"]) == 2
    lost = "what 1 rows of users (size) say would be lost; what 2 rows of invoices say would be lost"
    assert f"This would revert 0001_size: {lost};" in capsys.readouterr().err
    assert main(["migrate", "revert", "0001_size", "--yes", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["lost"] == {"invoices": 2, "users (size)": 1}


def test_one_that_was_half_set_aside_says_so_and_is_set_aside_by_whoever_goes_on(base: Base) -> None:
    """[...] its pairs end, unless an INSERT needs them, the old shape stays"""
    pair = '[[sync]]\ntable = "{}"\nold = ["a"]\nnew = ["b"]\nforward = {{ b = "a" }}\nbackward = {{ a = "b" }}\non_conflict = "new"\n'
    files = {
        "expand.sql": "ALTER TABLE one ADD COLUMN b text; ALTER TABLE two ADD COLUMN b text;",
        "contract.sql": "ALTER TABLE one DROP COLUMN a; ALTER TABLE two DROP COLUMN a;",
        "backfill.sql": "UPDATE one SET b = a;",
        "migration.toml": pair.format("one") + pair.format("two") + "[locks]\npatience = 0.2\n",
    }
    for table in ("one", "two"):
        rows(base, f"CREATE TABLE {table} (id int PRIMARY KEY, a text)")
    schema = Schema(base.open())
    schema.expand([parse("0001_b", files, "0001_b")], "shop", 1, {})
    with base.connect() as reader:
        reader.execute("BEGIN; SELECT * FROM two")
        with pytest.raises(NotGiven, match="; not all of it is kept in step any more: `bleen migrate contract 0001_b --aside --because REASON` goes on"):
            schema.set_aside("0001_b", "of a test")
        assert schema.beyond("0001_b").startswith("0001_b is half set aside: not all of it is kept in step: `bleen migrate contract 0001_b` ends that")
        reader.execute("ROLLBACK")
    assert schema.contract("0001_b", "by whoever was told to") == ()
    assert schema.ledger.because("0001_b") == "of a test"
    assert rows(base, "SELECT count(*) FROM information_schema.columns WHERE column_name = 'a' AND table_schema = 'public'") == [(2,)]
    assert rows(base, "SELECT count(*) FROM pg_trigger WHERE tgname LIKE '~bleen%'") == [(0,)]


def test_what_a_contract_has_added_is_taken_away_again_before_it_is_set_aside(users: Base) -> None:
    """One [...] of which nothing is done, may be set aside: also not the CHECK that was there when bleen was killed."""
    schema, adds = Schema(users.open()), "ALTER TABLE users ADD CONSTRAINT c CHECK (size > 0) NOT VALID"
    schema.expand([migration("0001_size", expand="ALTER TABLE users ADD COLUMN size int;", contract=f"{adds};")], "shop", 1, {})
    schema.server.rows(adds)
    schema.ledger.note([schema.ledger.reached("0001_size", State.CONTRACTING), *schema.ledger.mark("0001_size", "contract", 1, True, adds)])
    assert schema.set_aside("0001_size", "of a test") == ()
    assert rows(users, "SELECT count(*) FROM pg_constraint WHERE conname = 'c'") == [(0,)]


def test_a_half_of_a_contract_that_cannot_go_on_says_what_is_made_by_hand(base: Base, shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The files do not change any more, and what was begun is not set aside: the way is past the statement."""
    wrong = "ALTER TABLE users DROP COLUMN first_name;\nALTER TABLE users ALTER COLUMN agee SET DEFAULT 3;"
    ship(shop, "0001_size", {"expand.sql": "ALTER TABLE users ADD COLUMN size int;", "contract.sql": wrong})
    assert main(["migrate", "expand", "1"]) == 0
    contract = ["migrate", "contract", "0001_size", "--yes", "--because", "of a test"]
    assert main(contract) == 2
    said = capsys.readouterr().err
    assert "`bleen migrate contract 0001_size` goes on from there, once what it names is there: what is misspelt, made by hand, may be dropped again" in said
    assert main([*contract, "--aside"]) == 2
    assert "cannot be set aside: `bleen migrate contract 0001_size` ends that, or says what is in its way" in capsys.readouterr().err
    begun = "0001_size, whose contract was begun: what it needs of the schema may be gone; `bleen migrate contract` ends that"
    assert Schema(base.open()).outdated(()) == begun
    rows(base, "ALTER TABLE users ADD COLUMN agee int")
    assert main(contract) == 0
    assert Schema(base.open()).outdated(()) == "0001_size, which is contracted: what it needs of the schema is gone"
    rows(base, "ALTER TABLE users DROP COLUMN agee")


def test_a_transaction_that_was_lost_is_not_taken_for_one_that_was_committed(base: Base) -> None:
    server = base.open()
    with pytest.raises(Unavailable, match="lost within a transaction"), server.transaction(), suppress(Unavailable):
        server.rows("SELECT pg_terminate_backend(pg_backend_pid())")
    server.close()


def test_a_pair_without_a_backfill_is_filled_by_what_it_says_itself(users: Base) -> None:
    schema = Schema(users.open())
    files = {name: text for name, text in FULL_NAME.items() if name != "backfill.sql"}
    schema.expand([parse("0007_full_name", files, "")], "shop", 2, SHIPS)
    assert rows(users, "SELECT count(*) FROM users WHERE full_name = first_name || ' ' || last_name") == [(2500,)]


def test_what_was_done_is_not_done_again(users: Base) -> None:
    schema = Schema(users.open())
    schema.expand([migration()], "shop", 2, SHIPS)
    assert schema.expand([migration()], "shop", 3, SHIPS) == []


def test_a_migration_whose_files_were_changed_is_refused(users: Base) -> None:
    """A migration whose checksum changed is refused."""
    schema = Schema(users.open())
    schema.expand([migration()], "shop", 2, SHIPS)
    changed = parse("0007_full_name", {**FULL_NAME, "expand.sql": "ALTER TABLE users ADD COLUMN name text;"}, "")
    with pytest.raises(Refused, match=r"0007_full_name was changed after it had been applied \(expand\.sql\)"):
        schema.expand([changed], "shop", 3, SHIPS)


def test_a_statement_that_fails_leaves_what_was_done_and_a_retry_goes_on(users: Base) -> None:
    """A retry finds the expanded schema and goes on."""
    schema = Schema(users.open())
    broken = migration(expand="ALTER TABLE users ADD COLUMN a int; SELECT 1 / (id - id) FROM users; ALTER TABLE users ADD COLUMN b int;")
    with pytest.raises(Refused, match="line 1, SELECT 1 /"):
        schema.expand([broken], "shop", 2, {})
    assert list(schema.server.columns("users"))[-1] == "a"
    rows(users, "DELETE FROM users RETURNING 1")
    assert schema.expand([broken], "shop", 2, {}) == ["0007_full_name"]
    assert list(schema.server.columns("users"))[-2:] == ["a", "b"]


@ON_BOTH_ENDS
def test_revert_takes_the_new_shape_away_and_forgets_the_migration(users: Base) -> None:
    schema = Schema(users.open())
    before = schema.server.columns("users")
    schema.expand([migration()], "shop", 2, SHIPS)
    assert schema.losses("0007_full_name") == {"users (first_name+last_name <-> full_name)": 0}
    with users.connect(**{"bleen.environment": "green"}) as green:
        green.execute("INSERT INTO users (full_name) VALUES ('Jean Jacques Rousseau')")
    assert schema.losses("0007_full_name") == {"users (first_name+last_name <-> full_name)": 1}
    (account,) = schema.written(["0007_full_name"]).values()
    assert account == {"written": 1, "conflicts": 0, "unreadable": 0, "lost": 1, "such": "id = 2501"}
    schema.revert("0007_full_name")
    assert schema.server.columns("users") == before
    assert schema.ledger.entries() == []
    assert schema.expand([migration()], "shop", 3, SHIPS) == ["0007_full_name"]


def test_the_example_of_the_guide_leaves_out_no_part_of_a_name_and_counts_no_row_as_lost(base: Base) -> None:
    """The guide: "write `backward` such that it leaves nothing out", and `forward` such that "Madonna" comes back the same."""
    toml = (Path(__file__).parents[2] / "docs/guide/sync.md").read_text().partition("```toml\n")[2].partition("```")[0]
    schema = Schema(base.open())
    with base.connect() as db:
        db.execute(USERS)
        schema.expand([parse("0007_full_name", {**FULL_NAME, "backfill.sql": "", "migration.toml": toml}, "")], "shop", 2, SHIPS)
        db.execute("INSERT INTO users (full_name) VALUES ('Ludwig van Beethoven'), ('Cher')")
    assert [each["lost"] for each in schema.written(["0007_full_name"]).values()] == [0]
    assert rows(base, "SELECT first_name, last_name FROM users WHERE id > 2500 ORDER BY id") == [("Ludwig", "van Beethoven"), ("Cher", "")]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (
            {"contract": "ALTER TABLE users DROP id, DROP COLUMN last_name;"},
            "0001_x: contract.sql drops last_name of users, NOT NULL without a default: until then an INSERT fails that does not give it; let expand.sql say"
            ' ALTER TABLE users ALTER COLUMN "last_name" SET DEFAULT, and revert.sql DROP DEFAULT',
        ),
        ({"expand": "ALTER TABLE users ALTER last_name SET DEFAULT '';", "contract": "ALTER TABLE users DROP COLUMN last_name;"}, ""),
        ({"contract": "DROP TABLE users;"}, ""),
        (
            {**FULL_NAME, "expand": f"-- last_name\n{FULL_NAME['expand.sql']}", "contract": "ALTER TABLE users DROP COLUMN first_name; -- last_name"},
            "0001_x: contract.sql leaves last_name of users, NOT NULL without a default: after it an INSERT fails that does not give it; drop it there, or say"
            ' ALTER TABLE users ALTER COLUMN "last_name" DROP NOT NULL',
        ),
        ({**FULL_NAME, "contract": "ALTER TABLE users DROP COLUMN first_name, ALTER last_name DROP NOT NULL;"}, ""),
        (FULL_NAME, ""),
    ],
)
def test_a_column_that_every_insert_has_to_give_and_the_new_version_does_not_know_is_warned_of(users: Base, files: dict[str, str], said: str) -> None:
    made = parse("0001_x", {name if "." in name else f"{name}.sql": text for name, text in files.items()}, "0001_x")
    assert Foresight(Schema(users.open())).risks(made) == [said] * bool(said)


@pytest.mark.parametrize(
    ("contract", "said"),
    [
        ("ALTER TABLE users DROP COLUMN last_nam;", ": no last_nam is there"),
        ("ALTER TABLE users DROP COLUMN first_name, DROP CONSTRAINT ckk;", ': only first_name of "users" is there'),
        ("DROP TABLE logs;", ": no logs is there"),
        ("ALTER TABLE users DROP COLUMN note;", ""),
        ("DROP TABLE IF EXISTS logs;", ""),
        ("ALTER TABLE users ADD CONSTRAINT c CHECK (note IS NOT NULL) NOT VALID; ALTER TABLE users DROP CONSTRAINT c;", ""),
    ],
)
def test_what_a_contract_drops_and_nothing_has_is_warned_of_and_is_not_done(users: Base, contract: str, said: str) -> None:
    schema, told = Schema(users.open()), migration("0001_x", expand="ALTER TABLE users ADD note int;", contract=contract)
    rows(users, "CREATE SCHEMA app; CREATE TABLE app.logs (a int)")
    assert [each for each in Foresight(schema).risks(told) if "is there" in each] == [
        f"0001_x: contract.sql, line 1, {contract[:-1]}{said}, so that the contract will stop; write the name as the catalogue has it"
    ] * bool(said)
    schema.expand([told], "shop", 2, SHIPS)
    if said.startswith(": no"):
        with pytest.raises(Refused, match=r"if somebody has dropped that, and it is not misspelt, `bleen migrate contract 0001_x --because REASON` goes on"):
            schema.contract("0001_x", "the on-call's psql")
        assert [(entry.name, entry.state) for entry in schema.ledger.entries()] == [("0001_x", State.EXPANDED)]
        schema.contract("0001_x", "last_nam, or logs: gone since tonight")


@ON_BOTH_ENDS
def test_a_column_of_a_domain_that_writes_a_table_again_is_told_and_one_of_an_enum_is_not(users: Base) -> None:
    """What the linter cannot tell apart, the catalogue can."""
    domains = "CREATE DOMAIN age AS int CHECK (value > 0); CREATE DOMAIN old AS age; CREATE DOMAIN free AS int DEFAULT 7"
    rows(users, f"CREATE TYPE mood AS ENUM ('ok'); {domains}")
    made = [f"ALTER TABLE users ADD COLUMN {column}" for column in ("m mood DEFAULT 'ok' NOT NULL", "f free", "many age[]", "o public.old", "t text")]
    rows(users, "CREATE DOMAIN rid AS uuid DEFAULT gen_random_uuid()")
    made.append("ALTER TABLE users ADD COLUMN r rid")
    said, other = Foresight(Schema(users.open())).risks(migration("0001_x", expand=f"{'; '.join(made)}; CREATE TABLE a (b old); ALTER TABLE a ADD c old;"))
    assert ": rid is a domain" in other
    assert ": public.old is a domain with a constraint, or a default that is computed: PostgreSQL writes the whole of users again" in said


@ON_BOTH_ENDS
@pytest.mark.parametrize("drop", ["DROP TABLE logs", "DROP INDEX logs_pkey", "ALTER TABLE logs DROP COLUMN a", "DROP VIEW a_view"])
def test_what_a_contract_drops_is_there_wherever_the_search_path_leads_to_it(users: Base, drop: str) -> None:
    schema = Schema(users.open())
    schema.server.rows("CREATE SCHEMA app; CREATE TABLE logs (a int PRIMARY KEY); CREATE VIEW a_view AS SELECT 1; SET search_path = app, public")
    assert not [each for each in Foresight(schema).risks(migration("0001_x", contract=f"{drop};")) if "is there" in each]


CASED = {
    "expand.sql": "ALTER TABLE users ADD COLUMN given text;",
    "migration.toml": """
[[sync]]
table = "users"
old = ["firstName"]
new = ["given"]
forward = { given = '"firstName"' }
backward = { firstName = "given" }
on_conflict = "new"
""",
}


@pytest.mark.parametrize("because", ["", "firstName: gone since tonight"])
@pytest.mark.parametrize("drop", ["DROP COLUMN firstName", "DROP COLUMN IF EXISTS firstName", "DROP COLUMN first_nam"])
@pytest.mark.parametrize("required", [True, False])
def test_a_misspelt_contract_leaves_the_triggers_that_fill_the_old_column(base: Base, required: bool, drop: str, because: str) -> None:
    """Without them every INSERT of the version that serves fails, with no way back."""
    schema = Schema(base.open())
    rows(base, f'CREATE TABLE users (id int PRIMARY KEY, "firstName" text {"NOT NULL" * required})')
    made = parse("0007_given", {**CASED, "contract.sql": f"ALTER TABLE users {drop};"}, "")
    assert any("firstName" in each or "first_nam" in each for each in Foresight(schema).risks(made)) == (required or "IF" not in drop)
    schema.expand([made], "shop", 2, {"green-2": frozenset(["0007_given"])})
    if required or "IF" not in drop:
        with pytest.raises(Refused, match="it drops firstName of users nowhere" if required else "does not exist"):
            schema.contract("0007_given", because)
        assert [entry.state for entry in schema.ledger.entries()] == [State.EXPANDED]
        rows(base, "INSERT INTO users (id, given) VALUES (1, 'Ada')")
        assert rows(base, 'SELECT "firstName" FROM users') == [("Ada",)]


NEEDS = {
    "a view": ("CREATE VIEW people AS SELECT id, first_name FROM users", "", "view people needs column first_name of table users"),
    "of which it makes another": (
        "CREATE VIEW people AS SELECT id, first_name FROM users",
        "DROP VIEW people; CREATE VIEW people AS SELECT id, full_name FROM users;",
        "",
    ),
    "a view on a view": (
        "CREATE VIEW people AS SELECT first_name FROM users; CREATE VIEW more AS SELECT * FROM people",
        "DROP VIEW people;",
        "view more needs view people",
    ),
    "a rule": (
        "CREATE TABLE log (was text); CREATE RULE noted AS ON DELETE TO users DO ALSO INSERT INTO log VALUES (old.last_name)",
        "",
        "rule noted on table users needs column last_name of table users",
    ),
    "a policy": (
        "CREATE POLICY own ON users USING (last_name = current_user)",
        "",
        "policy own on table users needs column last_name of table users",
    ),
    "a policy that it drops": ("CREATE POLICY own ON users USING (last_name = current_user)", "DROP POLICY own ON users;", ""),
    "a generated column": (
        "ALTER TABLE users ADD COLUMN loud text GENERATED ALWAYS AS (upper(last_name)) STORED",
        "",
        "column loud of table users needs column last_name of table users",
    ),
    "a trigger of these columns": (
        "CREATE TRIGGER same BEFORE UPDATE OF last_name ON users EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        "",
        "trigger same on table users needs column last_name of table users",
    ),
    "a foreign key": (
        "ALTER TABLE users ADD CONSTRAINT names UNIQUE (first_name); CREATE TABLE pets (of text CONSTRAINT of_whom REFERENCES users (first_name))",
        "",
        "constraint of_whom on table pets needs column first_name of table users",
    ),
    "a foreign key whose table it drops": (
        "ALTER TABLE users ADD CONSTRAINT names UNIQUE (first_name); CREATE TABLE pets (of text REFERENCES users (first_name))",
        "DROP TABLE pets;",
        "",
    ),
    "what goes with the column": ("CREATE INDEX names ON users (first_name, last_name); ALTER TABLE users ADD CHECK (first_name < last_name)", "", ""),
    "what only it knows": ("CREATE VIEW people AS SELECT first_name FROM users", "DO $$ BEGIN EXECUTE 'DROP VIEW ' || 'people'; END $$;", ""),
}


@pytest.mark.parametrize(("made", "first", "why"), NEEDS.values(), ids=NEEDS)
def test_what_a_contract_would_fail_on_is_told_by_the_plan_and_keeps_its_gate_shut_until_it_is_gone(base: Base, made: str, first: str, why: str) -> None:
    """On PostgreSQL not while a view, say, that they do not drop first needs what they drop [...] the plan tells both before the expand."""
    rows(base, USERS + made)
    schema, wanted = Schema(base.open()), migration(expand=FULL_NAME["expand.sql"], contract=first + FULL_NAME["contract.sql"])
    told = [each for each in Foresight(schema).risks(wanted) if "drop that" in each]
    assert [why in each for each in told] == [True] * bool(why)
    schema.expand([wanted], "shop", 2, SHIPS)
    (found,) = pending(schema)
    assert [why in o.why and not o.unseen for o in found.obstacles] == [True] * bool(why)
    if not why:
        schema.contract("0007_full_name")
    assert bool(schema.contracted()) == (not why)


def test_what_the_contract_of_an_earlier_migration_takes_away_first_is_in_no_plan_as_in_the_way(base: Base) -> None:
    rows(base, USERS + "CREATE VIEW people AS SELECT first_name FROM users")
    foresight = Foresight(Schema(base.open()))
    first = migration("0006_no_view", expand="ALTER TABLE users ADD COLUMN note text;", contract="DROP VIEW people;")
    then = migration(expand=FULL_NAME["expand.sql"], contract=FULL_NAME["contract.sql"])
    told = [any("view people needs" in each for each in foresight.plan(then, before).beware) for before in ([], [first])]
    assert told == [True, False]


TOUCH = "CREATE OR REPLACE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {} RETURN new; END $$;"
WRITES = TOUCH.format("new.first_name := 'of ' || New.last_name;")
WRITES += "CREATE TRIGGER a_touch BEFORE INSERT OR UPDATE ON users FOR EACH ROW EXECUTE FUNCTION touch();"
CALLS = {
    "as it is": (WRITES, "", True),
    "in quotes": (WRITES.replace("New.last_name", 'OLD . "last_name"'), "", True),
    "made anew by the contract": (WRITES, TOUCH.format(""), False),
    "whose trigger it drops": (WRITES, "DROP TRIGGER a_touch ON users;", False),
    "that does not fire": (WRITES + "ALTER TABLE users DISABLE TRIGGER a_touch", "", False),
    "called like a table that it speaks of": (WRITES.replace("a_touch", "users"), "ALTER TABLE users ALTER first_name DROP NOT NULL;", True),
    "of another column": (WRITES.replace("New.last_name", "new.last_names"), "", False),
}


@pytest.mark.parametrize(("made", "first", "found"), CALLS.values(), ids=CALLS)
def test_a_trigger_function_that_speaks_of_what_a_contract_drops_is_told_and_keeps_its_gate_shut(base: Base, made: str, first: str, found: bool) -> None:
    """Nor, unless a reason that names the trigger is given, while its function speaks of it."""
    rows(base, USERS + made)
    schema = Schema(base.open())
    wanted = migration(expand=FULL_NAME["expand.sql"], contract=first + "ALTER TABLE users DROP COLUMN last_name;")
    why = " on table users runs touch(), which says"
    assert [why in each for each in Foresight(schema).risks(wanted) if "drop that" in each] == [True] * found
    schema.expand([wanted], "shop", 2, SHIPS)
    (waits,) = pending(schema)
    assert [why in o.why and o.unseen for o in waits.obstacles] == [True] * found


def test_a_reason_for_a_session_does_not_wave_a_trigger_through_and_what_one_lets_through_is_printed(
    base: Base, shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor, unless a reason that names the trigger is given, while its function speaks of it."""
    rows(base, WRITES)
    schema = Schema(base.open())
    more = migration("0008_more", expand="CREATE TABLE more (id int);", contract="DROP TABLE more;")
    schema.expand([migration(expand=FULL_NAME["expand.sql"], contract="ALTER TABLE users DROP COLUMN last_name;"), more], "shop", 2, {})
    schema.server.close()
    contract = ["migrate", "contract", "--yes", "--because"]
    with base.connect(application_name="psql"):
        assert main([*contract, "psql of the on-call"]) == 1
        said = capsys.readouterr().out
        assert "opens it all the same, if it names a_touch" in said
        assert "lets this pass" not in said, "nothing passed"
        assert main([*contract, "psql of the on-call, and a_touch, which is for rows of 2019"]) == 0
    said = capsys.readouterr().out
    assert "note: 0007_full_name, 0008_more: --because lets this pass: session " in said
    passed = "contract.sql, line 1, ALTER TABLE users DROP COLUMN last_name: trigger a_touch on table users runs touch()"
    assert f"note: 0007_full_name: --because lets this pass: {passed}" in said


def test_what_goes_for_good_with_a_contract_is_printed_before_it_is_done(base: Base, shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows(base, "ALTER TABLE users ADD COLUMN email text UNIQUE")
    files = {"expand.sql": "ALTER TABLE users ADD COLUMN mail text;", "contract.sql": "ALTER TABLE users DROP COLUMN email;"}
    pair = '[[sync]]\ntable = "users"\nold = ["email"]\nnew = ["mail"]\nforward = { mail = "email" }\nbackward = { email = "mail" }\non_conflict = "new"\n'
    schema = Schema(base.open())
    schema.expand([parse("0007_mail", {**files, "migration.toml": pair}, "")], "shop", 2, {})
    schema.server.close()
    assert main(["migrate", "contract", "--yes"]) == 0
    goes = "UNIQUE users_email_key USING btree (email); nothing says that of mail: let a new migration say CREATE UNIQUE INDEX CONCURRENTLY users_mail_key"
    assert f"note: 0007_mail: contract.sql drops email of users, and with it {goes}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("event", "fires"),
    [
        ("BEFORE UPDATE ON users FOR EACH ROW", True),
        ("AFTER INSERT OR UPDATE ON users FOR EACH STATEMENT", True),
        ("BEFORE UPDATE OF full_name ON users FOR EACH ROW", True),
        ("BEFORE UPDATE OF last_name ON users FOR EACH ROW", False),
        ("AFTER INSERT ON users FOR EACH ROW", False),
        ("BEFORE UPDATE ON kids FOR EACH ROW", True),
        ("BEFORE UPDATE OF full_name ON kids FOR EACH ROW", True),
        ("BEFORE UPDATE ON kids FOR EACH STATEMENT", False),  # that is one of a write to kids
    ],
)
def test_the_triggers_that_a_backfill_fires_are_warned_of(base: Base, event: str, fires: bool) -> None:
    rows(base, USERS + TOUCH.format("") + "ALTER TABLE users ADD full_name text; CREATE TABLE kids () INHERITS (users)")
    rows(base, f"CREATE TRIGGER a_touch {event} EXECUTE FUNCTION touch()")
    foresight, wanted = Foresight(Schema(base.open())), migration(backfill=FULL_NAME["backfill.sql"])
    told = "and fires trigger a_touch of yours"
    said = foresight.risks(wanted)
    assert (len(said), told in "".join(said)) == (fires, fires), said
    rows(base, f"ALTER TABLE {'kids' if ' kids ' in event else 'users'} DISABLE TRIGGER a_touch")
    assert foresight.plan(wanted).beware == []


@ON_BOTH_ENDS
def test_a_table_that_a_role_finds_in_the_place_of_one_of_before_is_warned_of(users: Base) -> None:
    """adds "nothing that the old one could notice" """
    foresight, me = Foresight(Schema(users.open())), rows(users, "SELECT current_user")[0][0]
    (said,) = foresight.risks(migration(expand=f"CREATE SCHEMA {me}; CREATE TABLE {me}.users (id int); CREATE TABLE {me}.people (id int);"))
    assert f"line 1, CREATE TABLE {me}.users (id int): to the role {me}, whose search_path begins with the schema of its name, users is this" in said
    assert foresight.risks(migration(expand="CREATE SCHEMA staging; CREATE VIEW staging.users AS SELECT 1; CREATE TABLE more (id int);")) == []


KEEPS = """CREATE TABLE kept (LIKE users); CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {} RETURN NULL; END $$;
CREATE TRIGGER keep AFTER UPDATE ON users {} EXECUTE FUNCTION keep();"""
SPREADS = {
    "OLD.*": ("INSERT INTO kept SELECT OLD.*;", "", "refused"),
    "(NEW).* as VALUES": ("INSERT INTO kept VALUES ((new) . *);", "", "refused"),
    "within something, and with what PL/pgSQL says behind it": ("IF true THEN INSERT INTO kept SELECT OLD.* RETURNING id INTO OLD.id; END IF;", "", "refused"),
    "a row of the table": ("INSERT INTO kept SELECT u.* FROM users u WHERE id = new.id;", "", "refused"),
    "all that was updated": ("INSERT INTO kept SELECT * FROM was;", "", "refused"),
    "a row of the table in a join": ("INSERT INTO kept SELECT u.* FROM users u LEFT JOIN pg_class c ON false WHERE u.id = new.id;", "", "refused"),
    "the whole table": ("INSERT INTO kept TABLE users;", "", "refused"),
    "a row of a subquery": ("INSERT INTO kept SELECT * FROM (SELECT * FROM users WHERE id = new.id) x;", "", "refused"),
    "a row of WITH": ("WITH x AS (SELECT * FROM users) INSERT INTO kept SELECT * FROM x;", "", "refused"),
    "what was updated in a join": ("INSERT INTO kept SELECT was.* FROM was JOIN users USING (id);", "", "refused"),
    "what was updated and what was not": ("INSERT INTO kept (SELECT * FROM was EXCEPT SELECT * FROM users);", "", "refused"),
    "a variable that is such a row": ("DECLARE r users%ROWTYPE; BEGIN r := OLD; INSERT INTO kept VALUES (r.*); END;", "", "refused"),
    "a variable that may be such a row": ("DECLARE r record; BEGIN r := OLD; INSERT INTO kept VALUES (r.*); END;", "", "warned of"),
    "a variable that is none": ("DECLARE r kept; BEGIN r.id := 1; INSERT INTO kept VALUES (r.*); END;", "", ""),
    "a row of a text": ("INSERT INTO kept SELECT (OLD::text::kept).*;", "", "warned of"),
    "in a text that is put together": ("EXECUTE format('INSERT INTO %I SELECT (%L::%I).*', 'kept', OLD::text, TG_TABLE_NAME);", "", "warned of"),
    "in a MERGE": ("MERGE INTO kept USING was ON false WHEN NOT MATCHED THEN INSERT VALUES (was.*); -- FROM was\n", "", "warned of"),
    "a row that JSON makes": ("INSERT INTO kept SELECT (jsonb_populate_record(null::kept, to_jsonb(OLD))).*;", "", ""),
    "a row within the row": ("INSERT INTO kept SELECT (OLD.like).*; INSERT INTO kept SELECT (OLD).like.*;", "", ""),
    "nothing at all": ("IF OLD IS NULL THEN INSERT INTO kept DEFAULT VALUES; END IF;", "", ""),
    "a row of another table": ("INSERT INTO kept SELECT k.* FROM kept k, users u WHERE u.id = k.id;", "", ""),
    "with a value behind it": ("INSERT INTO kept SELECT OLD.*, now();", "ALTER TABLE kept ADD COLUMN full_name text;", "refused"),
    "with its columns named": ("INSERT INTO kept (id, first_name, last_name) SELECT OLD.*;", "ALTER TABLE kept ADD COLUMN full_name text;", "refused"),
    "that comes to both": ("INSERT INTO kept SELECT OLD.*;", "ALTER TABLE kept ADD COLUMN full_name text;", ""),
    "that comes to both as another type": ("INSERT INTO kept SELECT OLD.*;", "ALTER TABLE kept ADD COLUMN full_name int;", "refused"),
    "that comes to both behind another": (
        "INSERT INTO kept SELECT OLD.*;",
        "ALTER TABLE kept ADD COLUMN at text; ALTER TABLE kept ADD COLUMN full_name text;",
        "refused",
    ),
    "where it goes gets an index": ("INSERT INTO kept SELECT OLD.*;", "CREATE INDEX CONCURRENTLY kept_id ON kept (id);", "refused"),
    "with a word on the function before": ("INSERT INTO kept SELECT OLD.*;", "COMMENT ON FUNCTION keep() IS 'history';", "refused"),
    "where it goes is made anew": ("INSERT INTO kept SELECT OLD.*;", "DROP TABLE kept; CREATE TABLE kept (LIKE users, full_name text);", "warned of"),
    "that says what it takes": ("INSERT INTO kept SELECT OLD.id, OLD.first_name, OLD.last_name;", "", ""),
    "into what it makes itself": ("CREATE TEMP TABLE own (LIKE users); INSERT INTO own SELECT OLD.*; DROP TABLE own;", "", "warned of"),
    "in a text": ("EXECUTE 'INSERT INTO kept SELECT ($1).*' USING OLD;", "", "warned of"),
    "into a variable": ("SELECT OLD.* INTO NEW;", "", "warned of"),
    "compared": ("IF (OLD.*) IS DISTINCT FROM (NEW.*) THEN NULL; END IF;", "", ""),
    "as JSON": ("INSERT INTO kept (last_name) SELECT to_jsonb(OLD.*);", "", ""),
    "in a comment": ("-- INSERT INTO kept SELECT OLD.*;\n", "", ""),
}


@pytest.mark.parametrize(("body", "first", "found"), SPREADS.values(), ids=SPREADS)
def test_a_trigger_function_that_gives_all_columns_of_a_row_is_known_before_a_column_comes(base: Base, body: str, first: str, found: str) -> None:
    """An expand lets the version that serves write on."""
    each = "REFERENCING OLD TABLE AS was FOR EACH STATEMENT" if "FROM was" in body else "FOR EACH ROW"
    rows(base, USERS + KEEPS.format(body, each))
    foresight, wanted = Foresight(Schema(base.open())), migration(expand=first + FULL_NAME["expand.sql"])
    why = "trigger keep on table users runs keep(), wh"
    refused, warned = (any(why in each for each in said) for said in (foresight.foreseen(wanted), foresight.risks(wanted)))
    assert (refused, warned) == (found == "refused", found == "warned of")


def test_a_column_that_is_there_already_where_all_columns_of_a_row_go_fits(base: Base) -> None:
    rows(base, USERS + KEEPS.format("INSERT INTO kept SELECT OLD.*;", "FOR EACH ROW") + "ALTER TABLE kept ADD COLUMN full_name text, ADD COLUMN at date;")
    foresight = Foresight(Schema(base.open()))
    assert foresight.foreseen(migration(expand=FULL_NAME["expand.sql"])) == []
    (said,) = foresight.foreseen(migration(expand="ALTER TABLE users ADD COLUMN full_name text, ADD seen date;"))
    assert "with full_name, seen, values land in other columns, or every write fails" in said


def test_what_inherits_gets_the_column_that_a_trigger_gives_it(base: Base) -> None:
    rows(base, USERS + KEEPS.format("INSERT INTO kept VALUES (NEW.*);", "FOR EACH ROW") + "ALTER TABLE kept INHERIT users;")
    assert Foresight(Schema(base.open())).foreseen(migration(expand=FULL_NAME["expand.sql"])) == []


def test_a_trigger_function_may_name_a_schema_that_the_migrating_role_may_not_use(base: Base) -> None:
    """Roles: the migrating role needs ownership and nothing more."""
    made = KEEPS.replace("CREATE TABLE kept", "CREATE SCHEMA away; CREATE TABLE away.kept").format("INSERT INTO away.kept SELECT OLD.*;", "FOR EACH ROW")
    with base.connect() as admin:
        admin.execute(f"{USERS} {made} CREATE ROLE owner_11 LOGIN; ALTER TABLE users OWNER TO owner_11")
        schema = Schema(postgres.Postgres(base.server.url(base.name, "owner_11")))
        try:
            (said,) = Foresight(schema).foreseen(migration(expand=FULL_NAME["expand.sql"]))
        finally:
            schema.server.close()
            admin.execute("DROP OWNED BY owner_11 CASCADE; DROP ROLE owner_11")
    assert "whose INSERT INTO kept gives all columns" in said


@pytest.mark.parametrize(
    ("path", "refused"), [("away, pg_temp", True), ('pg_temp, "Far, ""away", public', True), ("public, away", False), ("''", False), ("nowhere", False)]
)
def test_a_trigger_function_finds_what_it_names_where_its_own_search_path_leads(base: Base, path: str, refused: bool) -> None:
    """And refuses an expand whose new column such a function would fail on."""
    rows(base, USERS + KEEPS.format("INSERT INTO kept SELECT OLD.*;", "FOR EACH ROW") + "ALTER TABLE kept ADD COLUMN full_name text;")
    for schema in ("away", '"Far, ""away"'):
        rows(base, f"CREATE SCHEMA {schema}; CREATE TABLE {schema}.kept (LIKE users)")
    rows(base, f"ALTER FUNCTION keep() SET search_path = {path}")
    said = Foresight(Schema(base.open())).foreseen(migration(expand=FULL_NAME["expand.sql"]))
    assert ["whose INSERT INTO kept gives all columns" in each for each in said] == [True] * refused, said


def test_a_trigger_function_that_gives_all_columns_of_a_row_keeps_the_gate_of_a_contract_that_drops_one_shut(base: Base) -> None:
    """Nor, unless a reason is named, while a trigger function speaks of it."""
    rows(base, USERS + KEEPS.format("INSERT INTO kept SELECT OLD.*;", "FOR EACH ROW"))
    schema, wanted = Schema(base.open()), migration(contract="ALTER TABLE users DROP COLUMN first_name;")
    (told,) = [each for each in Foresight(schema).risks(wanted) if "trigger keep" in each]
    assert "INSERT INTO kept gives all columns of a row without naming them: without first_name, values land in other columns, unseen" in told
    schema.expand([wanted], "shop", 2, SHIPS)
    ((obstacle,),) = (each.obstacles for each in pending(schema))
    assert ("without first_name" in obstacle.why, obstacle.unseen) == (True, True)


def test_a_release_that_was_planned_before_a_contract_is_refused_after_it(users: Base) -> None:
    """After it, deploy, promote and rollback refuse a version that does not."""
    schema = Schema(users.open())
    schema.expand([migration()], "shop", 2, SHIPS)
    schema.contract("0007_full_name")
    with pytest.raises(Refused, match="blue-3 is of a version that does not ship 0007_full_name, which is contracted"):
        schema.expand([], "shop", 3, {"green-2": frozenset({"0007_full_name"}), "blue-3": frozenset()})


def test_a_pair_that_loses_is_refused_with_the_way_out_which_loses_nothing(users: Base) -> None:
    """A lossy mapping is declared as such."""
    schema = Schema(users.open())
    with users.connect() as db:
        db.execute("UPDATE users SET last_name = 'van Beethoven' WHERE id = 1")
    with pytest.raises(Refused, match="`bleen migrate revert 0007_full_name` undoes what was done of it"):
        schema.expand([migration()], "shop", 2, SHIPS)
    lossy = parse("0007_full_name", {**FULL_NAME, "migration.toml": FULL_NAME["migration.toml"] + "lossy = true\n"}, "")
    with pytest.raises(Refused, match="changed while it is half carried out: `bleen migrate revert 0007_full_name`"):
        schema.expand([lossy], "shop", 3, SHIPS)
    assert schema.losses("0007_full_name") == {}
    schema.revert("0007_full_name")
    assert schema.expand([lossy], "shop", 4, SHIPS) == ["0007_full_name"]


@pytest.mark.parametrize("held", ["SELECT FROM users", "UPDATE users SET last_name = 'x' WHERE id = 1"], ids=["a table", "a row"])
def test_a_prepared_transaction_in_the_way_is_named_and_how_it_is_ended(base: Base, held: str) -> None:
    rows(base, USERS)
    schema = Schema(base.open())
    text = "ALTER TABLE users ADD COLUMN note text;" if held.startswith("SELECT") else "DELETE FROM users WHERE id = 1;"
    quick = migration("0008_note", expand=text)._replace(locks=Locks(timeout=0.1, patience=1.0))
    with base.connect() as client:
        client.execute(f"BEGIN; {held}; PREPARE TRANSACTION 'it''s {base.name}'".encode())
        try:
            with pytest.raises(NotGiven) as raised:
                schema.expand([quick], "shop", 2, {})
        finally:
            client.execute(f"ROLLBACK PREPARED 'it''s {base.name}'".encode())
            schema.server.close()
    assert re.search(r"; in the way: the prepared transaction it's \S+ \(postgres, \d+ s old\)", str(raised.value))
    assert f"or ROLLBACK PREPARED 'it''s {base.name}'; nothing was changed by it" in str(raised.value)


def test_who_is_in_the_way_is_named_to_a_role_that_may_not_see_what_others_do(base: Base) -> None:
    """Roles: the migrating role needs ownership and nothing more."""
    rows(base, USERS)
    with base.connect() as client:
        client.execute("CREATE ROLE owner_8 LOGIN; GRANT ALL ON SCHEMA public TO owner_8; ALTER TABLE users OWNER TO owner_8")
        schema = Schema(postgres.Postgres(base.server.url(base.name, "owner_8")))
        quick = migration("0008_note", expand="ALTER TABLE users ADD COLUMN note text")._replace(locks=Locks(timeout=0.1, patience=1.0))
        try:
            with client.transaction():
                client.execute("SELECT FROM users")
                pid = client.info.backend_pid
                with pytest.raises(NotGiven, match=rf"in the way: backend {pid} \(no application_name, postgres\); nothing was changed"):
                    schema.expand([quick], "shop", 2, {})
        finally:
            schema.server.close()
            client.execute("DROP OWNED BY owner_8 CASCADE; DROP ROLE owner_8")


@pytest.mark.parametrize("statement", ["ALTER TABLE users ADD COLUMN note text", "DROP TABLE users"])
def test_an_autovacuum_gives_way_to_a_change_of_the_tables_owner(base: Base, statement: str) -> None:
    """Roles: the migrating role needs ownership and nothing more. It yields to who waits for ``deadlock_timeout``, for which nobody may be made to wait."""
    with base.connect() as client:
        client.execute(f"CREATE ROLE owner_9 LOGIN; GRANT ALL ON SCHEMA public TO owner_9; ALTER DATABASE {base.name} SET deadlock_timeout = '300ms'")
        client.execute(f"{USERS} INSERT INTO users (first_name, last_name) SELECT 'a', 'b' FROM generate_series(1, 20000); DELETE FROM users")
        client.execute("ALTER TABLE users OWNER TO owner_9")
        client.execute("ALTER TABLE users SET (autovacuum_vacuum_threshold = 1, autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1)")
        client.execute("ALTER SYSTEM SET autovacuum_naptime = 1")
        client.execute("SELECT pg_reload_conf()")
        told: list[str] = []
        schema = Schema(postgres.Postgres(base.server.url(base.name, "owner_9")), told.append)
        try:
            at_it = "SELECT pid FROM pg_stat_progress_vacuum WHERE relid = 'users'::regclass"
            ((pid,),) = until("an autovacuum is at it", lambda: client.execute(at_it).fetchall())
            quick = migration("0008_note", expand=statement)._replace(locks=Locks(timeout=0.1, patience=10.0))
            assert schema.expand([quick], "shop", 2, {}) == ["0008_note"]
            assert [each for each in told if f"in the way: backend {pid} (an autovacuum, or" in each]
        finally:
            schema.server.close()
            client.execute("ALTER SYSTEM RESET autovacuum_naptime")
            client.execute("SELECT pg_reload_conf()")
            client.execute("DROP OWNED BY owner_9 CASCADE; DROP ROLE owner_9")


@pytest.mark.parametrize("place", ["public", "owner_10"])
def test_a_database_has_one_ledger_for_all_roles_that_migrate_it(base: Base, place: str) -> None:
    """Two services whose roles have schemas of their own would each go by what half of the environments ship; what has to be granted is told."""
    with base.connect() as admin:
        admin.execute("CREATE ROLE owner_10 LOGIN; CREATE SCHEMA owner_10 AUTHORIZATION owner_10; GRANT ALL ON SCHEMA public TO PUBLIC")
        first, second = (Schema(postgres.Postgres(base.server.url(base.name, role))) for role in ("owner_10", "postgres"))
        first, second = (second, first) if place == "public" else (first, second)
        try:
            first.expand([], "shop", 2, SHIPS)
            with pytest.raises(Refused, match=rf"is in the schema {place}, and the role \w+ cannot use it; this lets it: ") as refused:
                second.expand([], "billing", 1, {"blue-1": frozenset()})
            admin.execute(str(refused.value).partition("this lets it: ")[2])
            second.server.close()
            second = Schema(postgres.Postgres(base.server.url(base.name, "owner_10" if place == "public" else "postgres")))
            second.expand([], "billing", 1, {"blue-1": frozenset()})
            assert [known.service for known in second.ledger.environments()] == ["shop", "shop", "billing"]
            admin.execute("CREATE SCHEMA elsewhere; CREATE TABLE elsewhere.bleen_environment (service text)")
            with pytest.raises(Refused, match=rf"more than one ledger, in the schemas elsewhere, {place}: copy the rows"):
                first.pending(NOBODY)
        finally:
            first.server.close()
            second.server.close()
            admin.execute("ALTER ROLE postgres RESET search_path; DROP OWNED BY owner_10 CASCADE; DROP ROLE owner_10")


def test_what_is_contracted_cannot_be_reverted(users: Base) -> None:
    schema = Schema(users.open())
    schema.expand([migration()], "shop", 2, SHIPS)
    schema.contract("0007_full_name")
    with pytest.raises(Refused, match="the old shape is gone"):
        schema.revert("0007_full_name")


def test_a_migration_that_only_adds_is_never_pending(users: Base) -> None:
    schema = Schema(users.open())
    schema.expand([migration("0008_note", expand="ALTER TABLE users ADD COLUMN note text")], "shop", 2, {})
    assert pending(schema) == []
    assert schema.contracted() == []


def test_pending_contracts_come_in_order(users: Base) -> None:
    """Pending contracts run in order."""
    schema = Schema(users.open())
    second = migration("0008_note", expand="ALTER TABLE users ADD COLUMN note text", contract="ALTER TABLE users DROP COLUMN note")
    schema.expand([migration(), second], "shop", 2, SHIPS)
    assert [(p.migration, [o.why for o in p.obstacles]) for p in pending(schema)] == [
        ("0007_full_name", []),
        ("0008_note", ["0007_full_name comes first, and is pending"]),
    ]


def test_rows_out_of_step_keep_the_gate_shut(users: Base) -> None:
    """Shut while rows diverge (a count query)."""
    schema = Schema(users.open())
    schema.expand([migration()], "shop", 2, SHIPS)
    with users.connect(session_replication_role="replica") as past_the_triggers:
        past_the_triggers.execute("UPDATE users SET full_name = 'nobody' WHERE id <= 3")
    (found,) = pending(schema)
    assert [o.why for o in found.obstacles] == [f"3 rows of users (first_name+last_name <-> full_name) are out of step{MENDS}"]


def test_a_backfill_says_which_rows_only_a_person_can_mend(users: Base) -> None:
    schema = Schema(users.open())
    only_empty = {**FULL_NAME, "backfill.sql": "UPDATE users SET full_name = first_name || ' ' || last_name WHERE full_name IS NULL;"}
    schema.expand([parse("0007_full_name", only_empty, "")], "shop", 2, SHIPS)
    with users.connect(session_replication_role="replica") as past_the_triggers:
        past_the_triggers.execute("UPDATE users SET full_name = 'nobody' WHERE id <= 3")
    with pytest.raises(Refused, match=r"3 rows of users .* are out of step: written past the triggers.*SELECT count"):
        schema.backfill("0007_full_name")
    rows(users, "UPDATE users SET full_name = first_name || ' ' || last_name WHERE id <= 3 RETURNING 1")
    schema.backfill("0007_full_name")


@pytest.mark.parametrize("named", ["green-1", "green-2"])
@pytest.mark.parametrize("first", ["other", "shop"])
def test_a_name_that_means_two_things_to_two_services_tells_no_writer(users: Base, first: str, named: str) -> None:
    """The writer is known by a setting in the connection; where two services share a database, blue may be old here and new there."""
    schema = Schema(users.open())
    expands = {"other": ([], 1, {named: frozenset[str]()}), "shop": ([migration()], 2, SHIPS)}
    for service in sorted(expands, reverse=first == "shop"):
        migrations, release, environments = expands[service]
        schema.expand(migrations, service, release, environments)
    with users.connect(**{"bleen.environment": "green"}) as either:
        either.execute("UPDATE users SET full_name = 'New Name', first_name = 'X' WHERE id = 1")
    with users.connect(**{"bleen.environment": "blue"}) as old:
        old.execute("UPDATE users SET full_name = 'New Name', first_name = 'X' WHERE id = 2")
    assert rows(users, "SELECT first_name, full_name FROM users WHERE id <= 2 ORDER BY id") == [("New", "New Name"), ("X", "X L2")]
    (counts,) = schema.written(["0007_full_name"]).values()
    assert counts["conflicts"] == 1


def test_triggers_of_another_service_that_cannot_be_told_are_in_the_way_only_where_they_would_be_wrong(users: Base) -> None:
    schema = Schema(users.open())
    schema.expand([migration()], "shop", 2, SHIPS)
    rows(users, "ALTER TABLE users RENAME TO members")
    schema.expand([], "other", 6, {"blue-6": frozenset()})
    with pytest.raises(Refused, match=r"the triggers of 0007_full_name cannot be told which environments other has now: users is members by now"):
        schema.expand([], "other", 7, {"green-7": frozenset()})


PARTS = """
[[sync]]
table = "users"
old = ["first_name", "last_name"]
new = ["given", "family"]
forward = { given = "first_name", family = "last_name" }
backward = { first_name = "given", last_name = "family" }
on_conflict = "new"
"""


@pytest.mark.parametrize(
    "between",
    [
        "ALTER TABLE users ADD COLUMN z int;",
        "CREATE TABLE cities (name text PRIMARY KEY);",
        "CREATE TYPE city AS ENUM ('a');",
        "CREATE INDEX CONCURRENTLY given_here ON users (given);",
    ],
)
def test_what_stands_between_the_new_columns_of_a_pair_is_no_hindrance_to_the_way_back(base: Base, between: str) -> None:
    """Until contract, `bleen migrate revert` undoes an expand."""
    rows(base, USERS)
    schema = Schema(base.open())
    expand = f"ALTER TABLE users ADD COLUMN given text; {between} ALTER TABLE users ADD COLUMN family text;"
    made = parse("0007_parts", {"expand.sql": expand, "migration.toml": PARTS}, "")
    assert Foresight(schema).foreseen(made) == []
    schema.expand([made], "shop", 2, SHIPS)
    schema.revert("0007_parts")
    assert list(schema.server.columns("users")) == ["id", "first_name", "last_name"]
    assert schema.ledger.entries() == []


@pytest.mark.parametrize("part", ["contract", "revert"])
def test_columns_of_a_pair_between_which_stands_what_no_transaction_holds_are_foreseen(base: Base, part: str) -> None:
    rows(base, USERS)
    schema = Schema(base.open())
    left = ("given", "family") if part == "revert" else ("first_name", "last_name")
    apart = f"ALTER TABLE users DROP COLUMN {left[0]};\nDROP INDEX CONCURRENTLY IF EXISTS parts;\nALTER TABLE users DROP COLUMN {left[1]};"
    files = {"expand.sql": "ALTER TABLE users ADD COLUMN given text, ADD COLUMN family text;", "migration.toml": PARTS, f"{part}.sql": apart}
    (said,) = Foresight(schema).foreseen(parse("0007_parts", files, ""))
    assert said.startswith(f"{part}.sql: line 1 and line 3 take away columns of one pair; line 2, DROP INDEX CONCURRENTLY")


STATE = {
    "expand.sql": "CREATE TABLE audit (id bigint); ALTER TABLE users ADD COLUMN junk int; ALTER TABLE users ADD COLUMN state text;",
    "contract.sql": "ALTER TABLE users DROP COLUMN last_name; DROP TABLE audit; ALTER TABLE users DROP COLUMN status;",
    "revert.sql": "DROP TABLE audit; ALTER TABLE users DROP COLUMN junk; ALTER TABLE users DROP COLUMN state;",
    "migration.toml": """
[[sync]]
table = "users"
old = ["status"]
new = ["state"]
forward = { state = "status" }
backward = { status = "state" }
on_conflict = "new"
""",
}


@pytest.mark.parametrize("half", ["revert", "contract"])
def test_triggers_of_what_is_half_reverted_or_contracted_are_told_who_writes(base: Base, half: str) -> None:
    """Releases do not wait for it: an INSERT that leaves the new side empty is the old version's, whichever environment that is by now."""
    rows(base, USERS + "ALTER TABLE users ADD COLUMN status text NOT NULL DEFAULT 'active'; ALTER TABLE users ALTER last_name DROP NOT NULL")
    schema = Schema(base.open())
    schema.expand([parse("0007_state", STATE, "")], "shop", 2, {"blue-1": frozenset(), "green-2": frozenset({"0007_state"})})
    rows(base, "CREATE VIEW audited AS SELECT id FROM audit")
    with pytest.raises(Refused, match="audited"):
        schema.revert("0007_state") if half == "revert" else schema.contract("0007_state")
    ships = frozenset({"0007_state"} if half == "contract" else ())
    schema.expand([], "shop", 3, {"green-3" if half == "revert" else "blue-3": ships, "green-2": ships})
    with base.connect(**{"bleen.environment": "green" if half == "revert" else "blue"}) as writer:
        if half == "revert":
            writer.execute("INSERT INTO users (first_name) VALUES ('Ada')")
        else:
            writer.execute("INSERT INTO users (first_name, state, status) VALUES ('Ada', 'fresh', 'stale')")
    made = ("active", "active") if half == "revert" else ("fresh", "fresh")
    assert rows(base, "SELECT status, state FROM users WHERE first_name = 'Ada'") == [made]


def test_two_releases_never_interleave(users: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    """One advisory lock per database, so that two releases never interleave."""
    monkeypatch.setattr(postgres, "GONE_WITHIN", 0.1)
    schema, other = Schema(users.open()), users.open("bleen migrate worker")
    with other.alone(), pytest.raises(Taken, match="another migration of this database is under way: bleen migrate worker"):
        schema.expand([migration()], "shop", 2, SHIPS)
    assert schema.ledger.entries() == []


@ON_BOTH_ENDS
def test_a_column_of_a_pair_in_step_can_get_a_longer_type(users: Base) -> None:
    """The example of an override in the guide: varchar(50) to varchar(100) is only a change of the catalogue."""
    rows(users, "ALTER TABLE users ALTER first_name TYPE varchar(50)")
    schema = Schema(users.open())
    schema.expand([migration()], "shop", 2, SHIPS)
    schema.expand([migration("0008_longer", expand="ALTER TABLE users ALTER COLUMN first_name TYPE varchar(100);")], "shop", 2, SHIPS)
    with users.connect(**{"bleen.environment": "blue-1"}) as blue:
        blue.execute("UPDATE users SET first_name = repeat('x', 60), full_name = 'New Name' WHERE id = 1")
    assert rows(users, "SELECT full_name FROM users WHERE id = 1") == [(f"{'x' * 60} L1",)]
    assert " WHEN (" in str(rows(users, "SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal"))


VIEW = "CREATE VIEW names AS SELECT first_name FROM users"
HINDERED: dict[str, tuple[str, type[Refused], list[str]]] = {
    "a lock": ("LOCK TABLE users IN ACCESS SHARE MODE", NotGiven, []),
    "a view": (VIEW, Refused, []),
    "a view, once a column is NOT NULL": (VIEW, Refused, required(("users",), "full_name")),
}


@pytest.mark.parametrize(("hindrance", "error", "before"), HINDERED.values(), ids=HINDERED)
def test_a_contract_that_took_nothing_away_is_pending_as_before(base: Base, hindrance: str, error: type[Refused], before: list[str]) -> None:
    """A pending contract holds nothing up: older versions are let in, it can be reverted, and rows out of step keep its gate shut."""
    rows(base, USERS)
    schema = Schema(base.open())
    contract = "\n".join([*before, FULL_NAME["contract.sql"]])
    settings = FULL_NAME["migration.toml"] + "[locks]\npatience = 0.2\n"
    hasty = parse("0007_full_name", {**FULL_NAME, "contract.sql": contract, "migration.toml": settings}, "")
    schema.expand([hasty], "shop", 2, SHIPS)
    since = schema.ledger.entries()[0].at
    with base.connect() as other:
        if error is NotGiven:
            other.execute("BEGIN")
        other.execute(hindrance)
        with pytest.raises(error):
            schema.contract("0007_full_name")
        other.execute("ROLLBACK" if error is NotGiven else "DROP VIEW names")
    with base.connect(session_replication_role="replica") as past_the_triggers:
        past_the_triggers.execute("UPDATE users SET full_name = 'nobody' WHERE id = 1")
    assert schema.contracted() == []
    assert schema.server.columns("users")["full_name"].nullable
    (found,) = pending(schema)
    assert (found.since, [o.why for o in found.obstacles]) == (since, [f"1 rows of users (first_name+last_name <-> full_name) are out of step{MENDS}"])
    schema.revert("0007_full_name")
    assert list(schema.server.columns("users")) == ["id", "first_name", "last_name"]


def test_one_that_is_about_to_end_is_waited_for_and_what_it_did_is_seen(users: Base) -> None:
    """Somebody contracts while a revert waits for its turn: what is contracted is not reverted."""
    told = threading.Event()
    schema, other = Schema(users.open()), Schema(users.open(), lambda _: told.set())
    schema.expand([migration()], "shop", 2, SHIPS)
    contracting = threading.Thread(target=lambda: other.contract("0007_full_name"))
    with users.connect() as reader, reader.transaction():
        reader.execute("SELECT FROM users")  # the contract waits for this lock, and holds ours
        contracting.start()
        assert told.wait(10)
        waiting = threading.Timer(0.3, lambda: reader.execute("COMMIT"))
        waiting.start()
        with pytest.raises(Refused, match="the old shape is gone"):
            schema.revert("0007_full_name")
        contracting.join()
        waiting.join()
    assert list(schema.server.columns("users")) == ["id", "full_name"]


@ON_BOTH_ENDS
def test_a_unique_index_that_cannot_be_built_is_not_left_to_refuse_rows(users: Base) -> None:
    """ "the \u201cinvalid\u201d index continues to enforce its uniqueness constraint afterwards" (PostgreSQL manual, CREATE INDEX)."""
    schema = Schema(users.open())
    index = migration("0009_unique", expand="CREATE UNIQUE INDEX CONCURRENTLY users_last ON users (last_name);")
    rows(users, "UPDATE users SET last_name = 'L1' WHERE id = 2 RETURNING 1")
    with pytest.raises(Refused, match=r"could not create unique index.*users_last, which it left invalid, was dropped"):
        schema.expand([index], "shop", 2, {})
    assert rows(users, "SELECT to_regclass('users_last')") == [(None,)]
    rows(users, "UPDATE users SET last_name = 'L2' WHERE id = 2 RETURNING 1")
    assert schema.expand([index], "shop", 2, {}) == ["0009_unique"]
    assert rows(users, "SELECT indisvalid FROM pg_index WHERE indexrelid = 'users_last'::regclass") == [(True,)]


DEADLOCKS = {
    "one in a transaction": ("ALTER TABLE cards ADD CONSTRAINT held FOREIGN KEY (holder) REFERENCES users (id) NOT VALID", "INSERT INTO cards VALUES (1)", 60),
    "one that no transaction can hold": ("CREATE UNIQUE INDEX CONCURRENTLY users_last ON users (last_name)", "LOCK TABLE users IN SHARE MODE", 0.1),
}


@pytest.mark.parametrize(("statement", "crosswise", "patience"), DEADLOCKS.values(), ids=DEADLOCKS)
def test_a_statement_that_the_server_ends_in_a_deadlock_is_tried_again(base: Base, statement: str, crosswise: str, patience: float) -> None:
    """ "the server ended a deadlock or a serialization failure: tried again, the transaction may succeed"; a build has "its own deadline" """
    rows(base, f"{USERS} CREATE TABLE cards (holder bigint);")
    told: list[str] = []
    schema = Schema(postgres.Postgres(base.server.url(base.name, deadlock_timeout="1s")), told.append)
    made = parse("0009_made", {"expand.sql": f"{statement};", "migration.toml": f"[locks]\ntimeout = 2.0\npatience = {patience}\n"}, "0009_made")
    begun = threading.Event()

    def other() -> None:
        with base.connect(deadlock_timeout="20s") as db, db.transaction():  # looks later than ours, which is ended
            db.execute("INSERT INTO users (first_name, last_name) VALUES ('Ada', 'Lovelace')")
            begun.set()
            waits = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
            until("ours waits for it", lambda: rows(base, waits))
            db.execute(crosswise)

    thread = threading.Thread(target=other)
    thread.start()
    assert begun.wait(10)
    assert schema.expand([made], "shop", 2, {}) == ["0009_made"]
    thread.join()
    (again,) = [each for each in told if "tries again" in each]
    assert f"line 1, {statement[:40]}" in again
    assert "deadlock detected" in again
    assert rows(base, "SELECT FROM pg_index WHERE NOT indisvalid") == []


def cut_off(work: Callable[[], object]) -> None:
    """Something whose connection is lost on the way."""
    with pytest.raises(Unavailable):
        work()


@contextmanager
def half_built(base: Base, index: str) -> Iterator[Callable[[Callable[[], object]], None]]:
    """Cuts off what builds an index, when that is there and INVALID: it is valid once nobody can look at the table as it was before."""
    other = base.open()

    def cut(work: Callable[[], object]) -> None:
        thread = threading.Thread(target=cut_off, args=[work])
        thread.start()
        until("it is there, and invalid", lambda: other.rows("SELECT 1 FROM pg_index WHERE NOT indisvalid AND indexrelid = to_regclass(%s)", [index]))
        other.rows("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%% CONCURRENTLY %%' AND pid <> pg_backend_pid()")
        thread.join()

    with base.connect() as reader:
        reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        reader.execute("SELECT 1")
        yield cut


LEFT = {
    "an index that was being built": ("CREATE UNIQUE INDEX CONCURRENTLY users_last ON users (last_name)", "users_last"),
    "an index that was being built anew": ("REINDEX INDEX CONCURRENTLY users_first", "users_first_ccnew"),
    "the indexes of a table": ("REINDEX TABLE CONCURRENTLY users", "users_pkey_ccnew"),
    "the indexes of a schema": ("REINDEX SCHEMA CONCURRENTLY public", "users_pkey_ccnew"),
}


@ON_BOTH_ENDS
@pytest.mark.parametrize(("statement", "left"), LEFT.values(), ids=LEFT)
def test_what_a_killed_statement_left_invalid_is_taken_away_and_made_anew(users: Base, statement: str, left: str) -> None:
    """ "one that cannot run in a transaction is resumed from the catalogue (an INVALID index is dropped and built again)" """
    rows(users, "CREATE INDEX users_first ON users (first_name)")
    schema = Schema(users.open())
    made = migration("0009_index", expand=f"{statement};")

    def killed() -> None:
        with half_built(users, left) as cut:
            cut(lambda: schema.expand([made], "shop", 2, {}))

    killed()
    assert rows(users, f"SELECT to_regclass('{left}')::text") == [(left,)]
    schema = Schema(users.open())
    assert f"public.{left}" in schema.tidy()
    assert (schema.tidy(), rows(users, "SELECT FROM pg_index WHERE NOT indisvalid")) == ([], [])
    killed()
    schema = Schema(users.open())
    assert schema.expand([made], "shop", 2, {}) == ["0009_index"]
    assert rows(users, "SELECT FROM pg_index WHERE NOT indisvalid") == []


@ON_BOTH_ENDS
@pytest.mark.parametrize("aside", [False, True], ids=["an old version comes", "it is set aside"])
def test_a_unique_index_that_a_contract_has_half_built_is_gone_where_that_is_put_back(users: Base, aside: bool) -> None:
    """An INVALID index "continues to enforce its uniqueness constraint": writes of the version that serves would fail."""
    schema = Schema(users.open())
    built = migration("0009_unique", expand="SELECT 1;", contract="CREATE UNIQUE INDEX CONCURRENTLY users_last ON users (last_name);")
    schema.expand([built], "shop", 2, {"green-2": frozenset(["0009_unique"])})
    with half_built(users, "users_last") as cut:
        cut(lambda: schema.contract("0009_unique"))
        schema = Schema(users.open())
        if aside:
            schema.set_aside("0009_unique", "none is wanted")
        else:
            schema.expand([], "shop", 3, {"green-2": frozenset(["0009_unique"]), "blue-3": frozenset()})
    assert rows(users, "SELECT to_regclass('users_last')") == [(None,)]
    rows(users, "INSERT INTO users (first_name, last_name) VALUES ('Ada', 'L1') RETURNING 1")


@ON_BOTH_ENDS
def test_a_unique_index_that_an_expand_was_building_when_it_was_interrupted_is_gone(users: Base) -> None:
    schema, other, mine = Schema(users.open()), users.open(), threading.get_ident()

    def interrupt() -> None:
        until("it is there", lambda: other.rows("SELECT to_regclass('users_last')") != [(None,)])
        signal.pthread_kill(mine, signal.SIGINT)

    with users.connect() as reader:
        reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        reader.execute("SELECT 1")
        thread = threading.Thread(target=interrupt)
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            schema.expand([migration("0009_unique", expand="CREATE UNIQUE INDEX CONCURRENTLY users_last ON users (last_name);")], "shop", 2, {})
        thread.join()
    assert rows(users, "SELECT to_regclass('users_last')") == [(None,)]


@ON_BOTH_ENDS
def test_a_partition_whose_detachment_was_killed_half_way_is_detached(users: Base) -> None:
    rows(users, "CREATE TABLE visits (at int NOT NULL) PARTITION BY RANGE (at)")
    rows(users, "CREATE TABLE visits_1 PARTITION OF visits FOR VALUES FROM (1) TO (10)")
    detach = "ALTER TABLE visits DETACH PARTITION visits_1 CONCURRENTLY;"
    schema, other = Schema(users.open()), users.open()
    schema.expand([migration("0009_detach", expand="SELECT 1;", contract=detach)], "shop", 2, {})
    with users.connect() as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT FROM visits")
        thread = threading.Thread(target=cut_off, args=[lambda: schema.contract("0009_detach")])
        thread.start()
        until("it is half detached", lambda: other.rows("SELECT 1 FROM pg_inherits WHERE inhdetachpending"))
        other.rows("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'ALTER TABLE visits%%' AND pid <> pg_backend_pid()")
        thread.join()
    for _ in range(2):
        Schema(users.open()).contract("0009_detach")
        assert rows(users, "SELECT FROM pg_inherits WHERE inhparent = 'visits'::regclass") == []


@ON_BOTH_ENDS
def test_an_index_of_that_name_which_we_did_not_build_is_not_taken_for_ours(users: Base) -> None:
    rows(users, "CREATE INDEX users_last ON users (first_name)")
    schema = Schema(users.open())
    with pytest.raises(Refused, match='relation "users_last" already exists'):
        schema.expand([migration("0009_index", expand="CREATE INDEX CONCURRENTLY users_last ON users (last_name);")], "shop", 2, {})


@pytest.mark.parametrize(("environment", "kept"), [("blue", ("X", "L1", "X L1")), ("blue-1", ("X", "L1", "X L1")), ("green", ("New", "Name", "New Name"))])
def test_a_conflict_is_decided_by_who_writes(users: Base, environment: str, kept: tuple[str, ...]) -> None:
    """The writer is known by a setting in the connection (`-c bleen.environment=green`)."""
    schema = Schema(users.open())
    schema.expand([migration()], "shop", 2, SHIPS)
    with users.connect(**{"bleen.environment": environment}) as writer:
        writer.execute("UPDATE users SET full_name = 'New Name', first_name = 'X' WHERE id = 1")
    assert rows(users, "SELECT first_name, last_name, full_name FROM users WHERE id = 1") == [kept]


def test_a_release_that_goes_on_with_half_an_expand_tells_its_triggers_who_writes_what(users: Base) -> None:
    """The sync was installed by a release that was aborted in its backfill; the environment of the next one writes the new shape too."""
    schema = Schema(users.open())
    beside = {"expand.sql": "ALTER TABLE users ADD COLUMN full_name text, ADD COLUMN share int;", "backfill.sql": "UPDATE users SET share = 1 / (id - 9);"}
    broken = parse("0007_full_name", {**FULL_NAME, **beside}, "")
    with pytest.raises(Refused, match="division by zero"):
        schema.expand([broken], "shop", 2, SHIPS)
    rows(users, "DELETE FROM users WHERE id = 9 RETURNING 1")
    schema.expand([broken], "shop", 3, {"green-2": frozenset(), "blue-3": frozenset({"0007_full_name"})})
    with users.connect(**{"bleen.environment": "blue-3"}) as blue:
        blue.execute("UPDATE users SET full_name = 'New Name', first_name = 'X' WHERE id = 1")
    assert rows(users, "SELECT first_name, last_name FROM users WHERE id = 1") == [("New", "Name")]


HALF = {
    "expand.sql": "ALTER TABLE users ADD COLUMN a int; CREATE INDEX CONCURRENTLY users_a ON users (a); SELECT 1 / 0; SELECT make_notes();",
    "revert.sql": "DROP TABLE notes; DROP INDEX users_a; ALTER TABLE users DROP COLUMN a;",
}


def test_half_an_expand_is_reverted_as_far_as_it_came(users: Base) -> None:
    """Any failure leaves a state from which expand resumes or reverts, and says so."""
    schema = Schema(users.open())
    before = schema.server.columns("users")
    with pytest.raises(Refused, match="division by zero"):
        schema.expand([parse("0009_half", HALF, "")], "shop", 2, {})
    said: list[str] = []
    schema = Schema(schema.server, said.append)
    schema.revert("0009_half")
    assert schema.server.columns("users") == before
    assert schema.ledger.entries() == []
    assert any('table "notes" does not exist: its expand had not come that far' in each for each in said)


def test_a_revert_of_a_whole_expand_that_names_what_is_not_there_is_refused(users: Base) -> None:
    schema = Schema(users.open())
    wrong = {"expand.sql": "ALTER TABLE users ADD COLUMN a int;", "revert.sql": "ALTER TABLE users DROP COLUMN b;"}
    schema.expand([parse("0009_wrong", wrong, "")], "shop", 2, {})
    with pytest.raises(Refused, match=r'^0009_wrong/revert\.sql: line 1, .*column "b" of relation "users" does not exist'):
        schema.revert("0009_wrong")


def test_what_cannot_be_counted_keeps_the_gate_shut_and_breaks_nothing(users: Base) -> None:
    """A contract whose gate is shut is pending: it neither halts nor blocks a release."""
    schema = Schema(users.open())
    schema.expand([migration()], "shop", 2, SHIPS)
    rows(users, "ALTER TABLE users RENAME TO members")
    (found,) = pending(schema)
    (obstacle,) = found.obstacles
    way = "move it back; or, if it is to stay there without the pair, drop that trigger"
    said = f"users is members by now, with the trigger ~bleen_0007_full_name_1: {way}"
    assert (obstacle.why, obstacle.unseen) == (f"the rows of 0007_full_name that are out of step cannot be counted: {said}", False)
    with pytest.raises(Refused, match="users is members by now"):
        schema.losses("0007_full_name")


@pytest.mark.parametrize("way", ["revert", "contract"])
def test_a_migration_whose_table_somebody_has_dropped_is_led_out_of_and_is_in_no_other_s_way(users: Base, way: str) -> None:
    """A contract whose gate is shut neither halts nor blocks a release; and there is nothing left of before that a revert could take."""
    schema = Schema(users.open())
    schema.expand([migration()], "shop", 2, SHIPS)
    rows(users, "DROP TABLE users")
    notes = parse("0008_notes", {"expand.sql": "CREATE TABLE notes (id int PRIMARY KEY);"}, "")
    assert schema.expand([notes], "shop", 3, {"blue-3": SHIPS["green-2"]}) == ["0008_notes"]
    assert (schema.losses("0007_full_name"), schema.written(["0007_full_name"])) == ({}, {})
    (found,) = pending(schema)
    assert [o.opened("it was a trial") for o in found.obstacles] == [True]
    assert found.obstacles[0].why.startswith("there is no table users, whose columns 0007_full_name keeps in step")
    if way == "revert":
        schema.revert("0007_full_name")
    else:
        schema.contract("0007_full_name", "it was a trial")
    assert pending(schema) == []
    assert rows(users, "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace") == []
    assert rows(users, "SELECT relname FROM pg_class WHERE relkind = 'S' AND relnamespace = 'public'::regnamespace") == []


RESTORED = "DROP TABLE users; CREATE TABLE users (id bigint PRIMARY KEY, first_name text, last_name text); INSERT INTO users VALUES (1, 'A', 'B');"


@ON_BOTH_ENDS
@pytest.mark.parametrize("by", [RESTORED, "ALTER TABLE users RENAME full_name TO fullname;"], ids=["a dump of before", "another name"])
@pytest.mark.parametrize("way", ["revert", "by hand"])
def test_a_pair_whose_new_column_somebody_has_taken_away_is_led_out_of(users: Base, way: str, by: str) -> None:
    """Errors say what to do next, and that leads out."""
    schema = Schema(users.open())
    schema.expand([migration()], "shop", 2, SHIPS)
    rows(users, by)
    said = r"users has no column full_name any more, which 0007_full_name keeps in step: give it back by hand .*`bleen migrate revert 0007_full_name` take"
    with pytest.raises(Refused, match=said):
        schema.expand([migration()], "shop", 3, {"blue-3": SHIPS["green-2"]})
    with pytest.raises(Refused, match=said):
        schema.backfill("0007_full_name")
    (obstacle,) = pending(schema)[0].obstacles
    assert re.search(said, obstacle.why)
    assert schema.losses("0007_full_name") == {}
    if way == "revert":
        schema.revert("0007_full_name")
        assert (schema.ledger.entries(), rows(users, "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal")) == ([], [])
        return
    rows(users, "ALTER TABLE users ADD COLUMN full_name text;")
    schema.expand([migration()], "shop", 3, {"blue-3": SHIPS["green-2"]})
    schema.backfill("0007_full_name")
    assert rows(users, "SELECT count(*) FROM users WHERE full_name = first_name || ' ' || last_name IS NOT TRUE") == [(0,)]
    assert pending(schema)[0].obstacles == ()


@pytest.mark.parametrize("contract", [FULL_NAME["contract.sql"], "ALTER TABLE users DROP COLUMN first_name, DROP COLUMN last_name;"], ids=["two", "one"])
@pytest.mark.parametrize("dropped", [["first_name"], ["first_name", "last_name"]], ids=["half", "all"])
def test_a_pair_whose_old_columns_somebody_has_dropped_is_led_out_of_by_its_contract(users: Base, dropped: list[str], contract: str) -> None:
    """Errors say what to do next, and that leads out."""
    schema, made = Schema(users.open()), parse("0007_full_name", {**FULL_NAME, "contract.sql": contract}, "")
    schema.expand([made], "shop", 2, SHIPS)
    rows(users, "".join(f"ALTER TABLE users DROP COLUMN {name} CASCADE;" for name in dropped))
    with pytest.raises(Refused, match=r"give it back by hand \(RENAME COLUMN, or ADD COLUMN, and an UPDATE that fills it from the new ones\)"):
        schema.losses("0007_full_name")
    if dropped == ["first_name"]:  # what the other holds, nobody has said to be of no use
        assert not any(each.opened("first_name, last_name: gone") for each in pending(schema)[0].obstacles)
    else:
        assert schema.expand([made], "shop", 3, {"blue-3": SHIPS["green-2"]}) == []
        assert [(each.opened("gone"), each.opened("first_name, last_name: gone")) for each in pending(schema)[0].obstacles] == [(False, True)] * 2
    schema.contract("0007_full_name", f"{', '.join(dropped)}: gone")
    assert list(schema.server.columns("users")) == ["id", "full_name"]
    assert (pending(schema), rows(users, "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace")) == ([], [])


@ON_BOTH_ENDS
@pytest.mark.parametrize("way", ["revert", "contract"])
def test_a_table_that_was_swapped_for_another_keeps_no_trigger_of_a_pair_that_ends(users: Base, way: str) -> None:
    """Else the function of that trigger cannot be dropped: neither way would come to its end."""
    schema = Schema(users.open())
    schema.expand([migration()], "shop", 2, SHIPS)
    rows(
        users,
        "ALTER TABLE users RENAME TO users_old; CREATE TABLE users (LIKE users_old INCLUDING ALL); INSERT INTO users (id, first_name, last_name)"
        " OVERRIDING SYSTEM VALUE SELECT id, first_name, last_name FROM users_old",
    )
    schema.expand([migration()], "shop", 3, {"blue-3": SHIPS["green-2"]})
    schema.backfill("0007_full_name")
    getattr(schema, way)("0007_full_name")
    assert rows(users, "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal") == []
    assert rows(users, "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace") == []


def test_the_later_release_tells_the_triggers_who_writes_what(users: Base) -> None:
    """A conflict is decided by the writer: green knew the new shape in release 2; in release 3 blue knows it too."""
    schema = Schema(users.open())
    schema.expand([migration()], "shop", 2, SHIPS)
    schema.expand([migration()], "shop", 3, {"green-2": frozenset({"0007_full_name"}), "blue-3": frozenset({"0007_full_name"})})
    with users.connect(**{"bleen.environment": "blue-3"}) as blue:
        blue.execute("UPDATE users SET full_name = 'New Name', first_name = 'X' WHERE id = 1")
    assert rows(users, "SELECT first_name, last_name, full_name FROM users WHERE id = 1") == [("New", "Name", "New Name")]


BEFORE = {
    "a table": ("CREATE TABLE audit (id bigint PRIMARY KEY);", "SELECT count(*) FROM audit"),
    "a column": ("ALTER TABLE users ADD COLUMN last_name text;", "SELECT count(last_name) FROM users"),
    "an index": ("CREATE UNIQUE INDEX CONCURRENTLY by_name ON users (last_name);", "SELECT count(*) FROM pg_indexes WHERE indexname = 'by_name'"),
}


WORDINGS: dict[str, Callable[[str], dict[str, str]]] = {
    "derived": lambda text: {},
    "written": lambda text: {"revert": text},
    "by another tool": lambda text: {"revert": text.replace("IF EXISTS ", "").replace("CONCURRENTLY ", "public.").replace("TABLE ", "TABLE public.")},
}


@pytest.mark.parametrize("wording", WORDINGS.values(), ids=WORDINGS)
@pytest.mark.parametrize(("statement", "query"), BEFORE.values(), ids=BEFORE)
def test_what_was_there_before_an_expand_that_failed_is_left_alone_by_its_revert(
    base: Base, statement: str, query: str, wording: Callable[[str], dict[str, str]]
) -> None:
    """`revert` undoes an expand: what it has done, and nothing that was there before."""
    rows(base, USERS + "CREATE TABLE audit (id bigint PRIMARY KEY); INSERT INTO audit VALUES (1); CREATE INDEX by_name ON users (first_name)")
    before = rows(base, query)
    expand = f"ALTER TABLE users ADD COLUMN seen boolean; {statement}"
    revert = wording(reverting.derived(expand, "postgres").text)
    schema = Schema(base.open())
    for _ in range(2):  # a second try finds what the first one found
        with pytest.raises(Refused, match="already exists"):
            schema.expand([migration("0008_audit", expand=expand, **revert)], "shop", 2, {})
    schema.revert("0008_audit")
    assert rows(base, query) == before
    assert "seen" not in schema.server.columns("users")
    assert schema.ledger.entries() == []


def test_a_revert_that_may_take_away_what_was_there_before_is_refused(base: Base) -> None:
    """ "what was there before stays": where it cannot be told, nothing is taken away at all."""
    rows(base, USERS + "CREATE TABLE audit (id bigint PRIMARY KEY)")
    schema = Schema(base.open())
    expand = "CREATE TABLE seen (id int); CREATE TABLE audit (id int);"
    with pytest.raises(Refused, match="already exists"):
        schema.expand([migration("0008_audit", expand=expand, revert="DROP TABLE audit, seen;")], "shop", 2, {})
    with pytest.raises(Refused, match=r"line 1, DROP TABLE audit, seen may take away audit, which the expand had not made when it stopped; mend"):
        schema.revert("0008_audit")
    assert [entry.state for entry in schema.ledger.entries()] == [State.EXPANDING]
    rows(base, "ALTER TABLE audit RENAME TO earlier")
    schema.expand([migration("0008_audit", expand=expand, revert="DROP TABLE audit, seen;")], "shop", 2, {})
    schema.revert("0008_audit")
    assert schema.ledger.entries() == []


def test_what_a_killed_contract_has_added_goes_with_the_revert(base: Base) -> None:
    """A CHECK or an index that nobody knows any more would go on to refuse rows of the version that serves."""
    rows(base, USERS)
    schema = Schema(base.open())
    contract = (
        "ALTER TABLE users ADD CONSTRAINT named CHECK (age IS NOT NULL) NOT VALID;\n"
        "CREATE UNIQUE INDEX CONCURRENTLY by_name ON users (last_name);\nALTER TABLE users DROP COLUMN first_name;"
    )
    schema.expand([migration("0008_unique", expand="ALTER TABLE users ADD COLUMN age int;", contract=contract)], "shop", 2, {})
    schema.ledger.note([schema.ledger.reached("0008_unique", State.CONTRACTING)])  # as who was killed left it
    schema.ledger.note(schema.ledger.mark("0008_unique", "contract", 1, True))
    schema.ledger.note(schema.ledger.mark("0008_unique", "contract", 2, False, "", {"seen": "no index"}))
    with base.connect() as db:
        db.execute("ALTER TABLE users ADD CONSTRAINT named CHECK (age IS NOT NULL) NOT VALID")
        db.execute("INSERT INTO users (first_name, last_name, age) VALUES ('F', 'L', 1), ('F', 'L', 2)")
        with pytest.raises(psycopg.errors.UniqueViolation):
            db.execute("CREATE UNIQUE INDEX CONCURRENTLY by_name ON users (last_name)")
    schema.revert("0008_unique")
    assert rows(base, "SELECT count(*) FROM pg_indexes WHERE indexname = 'by_name'") == [(0,)]
    assert rows(base, "SELECT count(*) FROM pg_constraint WHERE conname = 'named'") == [(0,)]
    assert list(schema.server.columns("users")) == ["id", "first_name", "last_name"]


HARMED = {
    "taken away": 'DROP TRIGGER "~bleen_0007_full_name_1" ON users',
    "disabled": "ALTER TABLE users DISABLE TRIGGER ALL",
    "without its rights": "REVOKE ALL ON ALL SEQUENCES IN SCHEMA public FROM PUBLIC",
}


@pytest.mark.parametrize("harm", HARMED.values(), ids=HARMED)
def test_a_pair_that_a_restored_dump_or_a_person_has_harmed_is_whole_again_after_the_next_expand(base: Base, harm: str) -> None:
    rows(base, USERS)
    told: list[str] = []
    schema = Schema(base.open(), told.append)
    schema.expand([migration()], "shop", 2, SHIPS)
    rows(base, harm)
    schema.expand([migration()], "shop", 2, SHIPS)
    assert any("the triggers that keep users (first_name+last_name <-> full_name) in step were gone" in each for each in told) == ("TRIGGER" in harm)
    assert rows(base, "SELECT DISTINCT tgenabled::text FROM pg_trigger WHERE tgname LIKE '~bleen%'") == [("O",)]
    assert rows(base, "SELECT count(*) FROM pg_class WHERE relname LIKE '~bleen%' AND relkind = 'S' AND relacl::text LIKE '%=U/%'") == [(2,)]


def test_a_version_whose_migration_has_the_number_of_another_ones_on_the_database_is_refused_before_it_is_deployed(base: Base) -> None:
    """Once both are there no version can ship both, and neither gate would ever open."""
    rows(base, USERS)
    schema = Schema(base.open())
    schema.expand([migration("0001_a", expand="CREATE TABLE a (id int);")], "shop", 2, {})
    with pytest.raises(UserError, match=r"0001_b has the number of 0001_a, which is on this database already \(shop brought it\): give it another number"):
        allowed(schema, "1.1", [migration("0001_b", expand="CREATE TABLE b (id int);")])
    schema.ledger.note([schema.ledger.reached("0001_a", State.REVERTING)])
    with pytest.raises(UserError, match="0001_a is half reverted: `bleen migrate revert 0001_a` ends that, then try again"):
        allowed(schema, "1.1", [migration("0001_a", expand="CREATE TABLE a (id int);")])


def test_an_index_that_was_left_half_built_goes_with_the_revert(base: Base) -> None:
    rows(base, USERS + "UPDATE users SET last_name = 'L'")
    schema = Schema(base.open())
    unique = migration("0008_unique", expand="CREATE UNIQUE INDEX CONCURRENTLY by_name ON users (last_name);")
    schema.ledger.make()
    schema.ledger.begin(unique, "shop", 2)
    for text, values in schema.ledger.mark("0008_unique", "expand", 1, False, "", {"seen": "no index"}):  # as who was killed left it
        schema.server.rows(text, values)
    with base.connect() as db, pytest.raises(psycopg.errors.UniqueViolation):
        db.execute("CREATE UNIQUE INDEX CONCURRENTLY by_name ON users (last_name)")
    schema.revert("0008_unique")
    assert rows(base, "SELECT count(*) FROM pg_indexes WHERE indexname = 'by_name'") == [(0,)]


def test_a_revert_that_was_killed_twice_leaves_nothing_out(base: Base) -> None:
    """Who is killed goes on behind the last statement, also where an expand was killed before it could say that its own was done."""
    rows(base, USERS)

    class Dying(postgres.Postgres):
        def change(self, statements: Any, *rest: Any) -> None:
            if any("DROP COLUMN" in each.text for each in statements):
                raise ConnectionError("as if it had been killed")
            super().change(statements, *rest)

    of = migration("0008_seen", expand="ALTER TABLE users ADD COLUMN seen boolean; CREATE INDEX CONCURRENTLY by_name ON users (last_name);")
    schema = Schema(base.open())
    schema.expand([of], "shop", 2, {})
    for text, values in schema.ledger.mark("0008_seen", "expand", 2, False, "", {"seen": "no index"}):
        schema.server.rows(text, values)
    with pytest.raises(ConnectionError):
        Schema(Dying(base.url)).revert("0008_seen")
    assert rows(base, "SELECT count(*) FROM pg_indexes WHERE indexname = 'by_name'") == [(0,)]
    schema.revert("0008_seen")
    assert list(schema.server.columns("users")) == ["id", "first_name", "last_name"]
    assert schema.ledger.entries() == []


def test_what_a_later_migration_builds_on_is_not_reverted_before_it(base: Base) -> None:
    rows(base, USERS)
    schema = Schema(base.open())
    first = migration("0001_notes", expand="CREATE TABLE notes (id int PRIMARY KEY, text text); ALTER TABLE users ADD COLUMN seen boolean;")
    second = migration("0002_short", expand="ALTER TABLE notes ADD COLUMN short text;")
    third = migration("0003_elsewhere", expand="CREATE TABLE elsewhere (seen int);")
    schema.expand([first, second, third], "shop", 2, {})
    with pytest.raises(Refused, match="0001_notes made what 0002_short builds on: `bleen migrate revert 0002_short` first"):
        schema.revert("0001_notes")
    assert [entry.state for entry in schema.ledger.entries()] == [State.EXPANDED] * 3
    schema.revert("0002_short")
    schema.revert("0001_notes")
    assert [entry.name for entry in schema.ledger.entries()] == ["0003_elsewhere"]


RUNS = "CREATE FUNCTION k() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {} RETURN new; END $$; CREATE TABLE v (a text);"
BUILT = {
    "a type of a column": (
        "CREATE TYPE mood AS ENUM ('a'); ALTER TABLE users ADD m mood;",
        "CREATE TABLE v (m2 mood);",
        "column m2 of table v needs type mood",
    ),
    "a type in a function": ("CREATE DOMAIN mood AS text;", RUNS.format("new.a := new.a::mood;"), "builds on"),
    "a function in a function": ("CREATE FUNCTION norm(text) RETURNS text LANGUAGE sql AS 'SELECT $1';", RUNS.format("new.a := norm(new.a);"), "builds on"),
    "a column that goes among other things": (
        "ALTER TABLE users ADD m text; -- bleen: allow set-default\nALTER TABLE users ALTER last_name SET DEFAULT '';",
        "CREATE INDEX users_m ON users (m);",
        "builds on",
    ),
    "a view in a function": ("CREATE VIEW vx AS SELECT 1 AS a;", RUNS.format("new.a := (SELECT a FROM vx);"), "builds on"),
    "a column that has the name of a type": ("CREATE TYPE mood AS ENUM ('a');", "CREATE TABLE v (mood text);", ""),
    "a column that has the name of a function": ("CREATE FUNCTION norm() RETURNS int LANGUAGE sql AS 'SELECT 1';", "CREATE TABLE v (norm text);", ""),
}


@pytest.mark.parametrize(("made", "later", "why"), BUILT.values(), ids=BUILT)
def test_a_function_a_view_or_a_type_that_a_later_migration_builds_on_stays_until_that_is_reverted(base: Base, made: str, later: str, why: str) -> None:
    """`revert` refuses while […] a later migration builds on it"""
    rows(base, USERS)
    schema = Schema(base.open())
    revert = {"revert": "ALTER TABLE users ALTER last_name DROP DEFAULT, DROP m;"} if "SET DEFAULT" in made else {}
    schema.expand([migration("0001_made", expand=made, **revert), migration("0002_later", expand=later)], "shop", 2, {})
    if why:
        with pytest.raises(Refused, match=why):
            schema.revert("0001_made")
        assert [entry.state for entry in schema.ledger.entries()] == [State.EXPANDED] * 2
        schema.revert("0002_later")
    schema.revert("0001_made")


def test_what_somebody_has_put_on_a_new_column_by_hand_is_told_before_anything_is_reverted(base: Base) -> None:
    rows(base, USERS)
    schema = Schema(base.open())
    schema.expand([migration(expand="CREATE TABLE notes (a int); ALTER TABLE users ADD COLUMN full_name text;", revert="")], "shop", 2, {})
    rows(base, "CREATE VIEW whole AS SELECT full_name FROM users; CREATE VIEW noted AS SELECT a FROM notes;")
    with pytest.raises(Refused, match=r"0007_full_name cannot be reverted yet, .*view whole needs column full_name of table users; revert the migration"):
        schema.revert("0007_full_name")
    assert [entry.state for entry in schema.ledger.entries()] == [State.EXPANDED]
    rows(base, "DROP VIEW whole, noted")
    schema.revert("0007_full_name")


def test_what_another_service_has_built_since_stays_whatever_its_number(base: Base) -> None:
    """`revert` refuses while […] a later migration builds on it"""
    schema = Schema(base.open())
    schema.expand([migration("0001_old", expand="CREATE TABLE old (shared int);")], "other", 1, {})
    schema.expand([migration("0005_shared", expand="CREATE TABLE shared (id int);")], "shop", 2, {})
    schema.expand([migration("0002_more", expand="ALTER TABLE shared ADD COLUMN more text;")], "other", 2, {})
    with pytest.raises(Refused, match="0005_shared made what 0002_more builds on: `bleen migrate revert 0002_more` first"):
        schema.revert("0005_shared")
    schema.revert("0002_more")
    schema.revert("0005_shared")


NOT_NULL = """
ALTER TABLE users ADD CONSTRAINT full_name_there CHECK (full_name IS NOT NULL) NOT VALID;
ALTER TABLE users VALIDATE CONSTRAINT full_name_there;
ALTER TABLE users ALTER COLUMN full_name SET NOT NULL;
ALTER TABLE users DROP CONSTRAINT full_name_there;
ALTER TABLE users DROP COLUMN last_name;
"""


SHOUTED = {
    "migration.toml": """[locks]\ntimeout = 0.05\npatience = 0.2\n[[sync]]\ntable = "users"\nold = ["last_name"]\nnew = ["loud"]
forward = {loud = "shout(last_name)"}\nbackward = {last_name = "lower(loud)"}\non_conflict = "new"\nlossy = true\n""",
    "expand.sql": "ALTER TABLE users ADD COLUMN loud text;\nCREATE FUNCTION shout(t text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT upper(t)';",
    "contract.sql": "DROP FUNCTION shout(text);\nALTER TABLE users DROP COLUMN last_name;",
}


@pytest.mark.parametrize("way", ["contract", "revert"])
def test_what_a_pair_calls_goes_with_its_triggers_not_before_them(base: Base, way: str) -> None:
    """sync.md: "It is installed and removed in one transaction each, the removal together with the DROP of the columns: no client fails a statement." """
    rows(base, USERS)
    schema = Schema(base.open())
    run: Callable[[], object] = {"contract": lambda: schema.contract("0008_shout"), "revert": lambda: schema.revert("0008_shout")}[way]
    schema.expand([parse("0008_shout", SHOUTED, "")], "shop", 2, SHIPS)
    with base.connect() as reader, reader.transaction():
        reader.execute("SELECT count(*) FROM users")
        with pytest.raises(Refused, match="a lock was not given"):
            run()
        assert rows(base, "INSERT INTO users (first_name, last_name) VALUES ('Marie', 'Curie') RETURNING loud") == [("CURIE",)]
    run()
    assert rows(base, "SELECT count(*) FROM pg_proc WHERE proname = 'shout'") == [(0,)]
    assert ("last_name" in schema.server.columns("users"), "loud" in schema.server.columns("users")) == (way == "revert", way == "contract")


def test_a_function_that_the_pair_of_a_later_migration_calls_is_not_reverted_before_it(base: Base) -> None:
    """`revert` refuses while […] a later migration builds on it"""
    rows(base, USERS)
    schema, (column, function) = Schema(base.open()), SHOUTED["expand.sql"].splitlines()
    schema.expand([migration("0007_fn", expand=function), parse("0008_shout", {**SHOUTED, "expand.sql": column}, "")], "shop", 2, {})
    with pytest.raises(Refused, match="0007_fn made what 0008_shout builds on"):
        schema.revert("0007_fn")
    schema.revert("0008_shout")
    schema.revert("0007_fn")


def test_a_service_that_another_state_releases_on_the_same_database_is_not_taken_for_this_one(users: Base) -> None:
    """The gate is shut while an environment exists that does not ship the migration: whoever forgets one opens it"""
    schema = Schema(users.open())
    schema.expand([migration()], "shop", 7, {"blue-6": frozenset(), "green-7": frozenset({"0007_full_name"})})
    known = schema.ledger.environments()
    with pytest.raises(Refused, match=r"this database knows blue-6 of shop \(\), and no release here has made it: .* `bleen migrate forget shop`"):
        schema.expand([migration("0008_more", expand="CREATE TABLE more (a int);")], "shop", 2, {"blue-2": frozenset({"0008_more"})})
    assert schema.ledger.environments() == known
    schema.forget("shop")
    assert schema.expand([migration("0008_more", expand="CREATE TABLE more (a int);")], "shop", 2, {"blue-2": frozenset({"0008_more"})}) == ["0008_more"]


def test_what_another_state_says_of_a_service_stands_until_it_is_forgotten(users: Base) -> None:
    """A name is one service's, on one host: a release stops before it expands, however many there were; and no contract is done meanwhile."""
    here, there = Schema(users.open(), identity="here"), Schema(users.open(), identity="there")
    here.expand([migration()], "shop", 2, {"green-2": frozenset({"0007_full_name"})})
    known = here.ledger.environments()
    for release in (1, 3):
        with pytest.raises(Refused, match=r"this database knows green-2 of shop \(\), and no release here has made it"):
            there.expand([migration()], "shop", release, {f"blue-{release}": frozenset({"0007_full_name"})})
        there.ledger.exists("shop", [])  # as the errands of a release that was refused say it
    assert there.ledger.environments() == known
    assert "no release here has made it" in there.pending(NOBODY)[0].obstacles[0].why
    here.expand([migration()], "shop", 4, {"green-2": frozenset({"0007_full_name"}), "blue-4": frozenset({"0007_full_name"})})
    there.forget("shop")
    there.expand([migration()], "shop", 3, {"blue-3": frozenset({"0007_full_name"})})
    with pytest.raises(Refused, match="this database knows blue-3 of shop"):
        here.expand([migration()], "shop", 5, {"green-5": frozenset({"0007_full_name"})})


def test_a_revert_that_goes_on_does_not_ask_what_it_cannot_know_any_more(base: Base) -> None:
    rows(base, USERS)
    schema = Schema(base.open())
    schema.expand([parse("0008_shout", SHOUTED, "")], "shop", 2, SHIPS)
    with base.connect() as reader, reader.transaction():
        reader.execute("SELECT count(*) FROM users")
        with pytest.raises(Refused, match="a lock was not given"):
            schema.revert("0008_shout")
    rows(base, "DROP FUNCTION shout(text) CASCADE")
    assert schema.losses("0008_shout") == {}
    schema.revert("0008_shout")
    assert "loud" not in schema.server.columns("users")


def test_a_contract_that_fails_before_it_took_anything_away_leaves_nothing_in_the_way_and_is_pending(base: Base) -> None:
    """A contract that fails before anything was taken away is pending: a CHECK that it has added would go on to refuse the old version's rows."""
    rows(base, USERS)
    schema = Schema(base.open())
    schema.expand([migration("0008_whole", expand="ALTER TABLE users ADD COLUMN full_name text;", contract=NOT_NULL)], "shop", 2, {})
    with pytest.raises(Refused, match=r"full_name_there.*is violated by some row"):
        schema.contract("0008_whole")
    assert rows(base, "SELECT count(*) FROM pg_constraint WHERE conname = 'full_name_there'") == [(0,)]
    (entry,) = schema.ledger.entries()
    assert (entry.state, schema.contracted()) == (State.EXPANDED, [])
    rows(base, "UPDATE users SET full_name = first_name")
    schema.contract("0008_whole")
    assert list(schema.server.columns("users")) == ["id", "first_name", "full_name"]
    assert rows(base, "SELECT attnotnull FROM pg_attribute WHERE attname = 'full_name'") == [(True,)]


def test_a_unique_index_that_a_contract_cannot_build_is_no_contract(base: Base) -> None:
    rows(base, USERS + "UPDATE users SET last_name = 'L'")
    schema = Schema(base.open())
    unique = "CREATE UNIQUE INDEX CONCURRENTLY by_name ON users (last_name);"
    schema.expand([migration("0008_unique", expand="ALTER TABLE users ADD COLUMN seen boolean;", contract=unique)], "shop", 2, {})
    with pytest.raises(Refused, match="which it left invalid, was dropped"):
        schema.contract("0008_unique")
    assert schema.contracted() == []
    schema.revert("0008_unique")


def test_rows_that_a_policy_hides_do_not_open_the_gate(base: Base) -> None:
    """While rows diverge (a count query): one that does not see all rows is none."""
    rows(base, USERS)
    with base.connect() as client:
        client.execute("CREATE ROLE owner_9 LOGIN; GRANT ALL ON SCHEMA public TO owner_9; ALTER TABLE users OWNER TO owner_9")
        schema = Schema(postgres.Postgres(base.server.url(base.name, "owner_9")))
        try:
            schema.expand([migration()], "shop", 2, SHIPS)
            client.execute("ALTER TABLE users ENABLE ROW LEVEL SECURITY; ALTER TABLE users FORCE ROW LEVEL SECURITY")
            (found,) = schema.pending(NOBODY)
            assert any("cannot be counted" in o.why and "row-level security" in o.why for o in found.obstacles)
        finally:
            schema.server.close()
            client.execute("DROP OWNED BY owner_9 CASCADE; DROP ROLE owner_9")


@pytest.mark.parametrize(
    ("damage", "row"),
    [
        ("UPDATE bleen_migration SET state = 'half'", "bleen_migration, the row of 0007_full_name: 'half' is not a valid State"),
        ("UPDATE bleen_migration SET name = 'full_name'", "bleen_migration, the row of full_name: invalid literal"),
        ("UPDATE bleen_migration SET sources = '{'", "bleen_migration, the row of 0007_full_name: Expecting"),
        ("UPDATE bleen_step SET memo = ''", "bleen_step, the row of 0007_full_name, "),
        ("UPDATE bleen_environment SET migrations = 'null'", "bleen_environment, the row of shop, "),
    ],
)
def test_a_ledger_that_was_edited_by_hand_is_refused_and_the_row_named(users: Base, damage: str, row: str) -> None:
    """Errors say what happened, where, and what to do next; nothing is done on the word of a row that nobody understands."""
    schema = Schema(users.open())
    schema.expand([migration()], "shop", 2, SHIPS)
    before = schema.server.columns("users")
    schema.server.rows(damage)
    act = schema.contract if "bleen_step" in damage else lambda _: schema.pending(NOBODY)
    with pytest.raises(Refused, match=f"the ledger is damaged: {row}.*put the row right"):
        act("0007_full_name")
    assert schema.server.columns("users") == before


def test_an_unfinished_ledger_says_how_far_it_came(users: Base) -> None:
    schema = Schema(users.open())
    with pytest.raises(Refused):
        schema.expand([migration(expand="ALTER TABLE users ADD COLUMN a int; SELECT 1/0;")], "shop", 2, {})
    entry = schema.ledger.entry("0007_full_name")
    assert entry is not None
    assert entry.state is State.EXPANDING
    assert {key: step.done for key, step in schema.ledger.steps("0007_full_name").items()} == {("expand", 1): True}


FORESEEN = {
    "nobody says what a conflict comes to": ({"on_conflict": None}, 'say on_conflict = "old", "new" or "error"'),
    "a column that is not of the pair": ({"backward": {"first_name": "nickname", "last_name": "full_name"}}, "backward of first_name names nickname"),
    "a function that is another each time": ({"forward": {"full_name": "first_name || random()"}}, "which may give another value every time"),
    "no expression": ({"forward": {"full_name": "first_name ||"}}, "forward of full_name is no expression"),
    "the primary key": ({"old": ("id",), "forward": {"full_name": "id::text"}, "backward": {"id": "full_name::int"}}, "id is in the primary key"),
    "a view": ({"table": "names"}, "names is a view"),
}


@pytest.mark.parametrize(("fault", "why"), FORESEEN.values(), ids=FORESEEN)
def test_what_could_never_be_kept_in_step_is_known_before_expand(base: Base, fault: dict[str, Any], why: str) -> None:
    """Refused with a reason, for now: [...] primary and foreign keys [...]"""
    rows(base, USERS + "CREATE VIEW names AS SELECT first_name, last_name FROM users")
    schema, good = Schema(base.open()), migration()
    assert Foresight(schema).foreseen(good) == []
    assert why in "; ".join(Foresight(schema).foreseen(good._replace(pairs=(good.pairs[0]._replace(**fault),))))


def test_a_backfill_that_could_never_end_is_known_before_expand(base: Base) -> None:
    rows(base, USERS)
    luck = migration("0008_luck", expand="ALTER TABLE users ADD COLUMN luck float;", backfill="UPDATE users SET luck = random();")
    (said,) = Foresight(Schema(base.open())).foreseen(luck)
    assert "luck = random(): random(), which is volatile," in said


def test_what_an_earlier_migration_of_the_same_release_adds_is_there_in_time(base: Base) -> None:
    """Several migrations belong to one release."""
    rows(base, "CREATE TABLE users (id bigint PRIMARY KEY)")
    first = migration("0006_names", expand="ALTER TABLE users ADD COLUMN first_name text, ADD COLUMN last_name text;")
    schema = Schema(base.open())
    assert any("it has no column first_name" in said or "has no column first_name" in said for said in Foresight(schema).foreseen(migration()))
    assert Foresight(schema).foreseen(migration(), [first]) == []


WAYS_BACK = {
    "as pg_dump writes it": "CREATE TABLE author (id bigint NOT NULL); CREATE SEQUENCE ids; ALTER SEQUENCE ids OWNED BY author.id;"
    " ALTER TABLE author ALTER COLUMN id SET DEFAULT nextval('ids'::regclass);",
    "tables that refer to each other": "CREATE TABLE a (id int PRIMARY KEY, b int); CREATE TABLE b (id int PRIMARY KEY, a int REFERENCES a);"
    " ALTER TABLE a ADD CONSTRAINT to_b FOREIGN KEY (b) REFERENCES b;",
    "a trigger of a new table": "CREATE TABLE a (id int); CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';"
    " CREATE TRIGGER t BEFORE INSERT ON a FOR EACH ROW EXECUTE FUNCTION f(); CREATE TYPE mood AS ENUM ('ok'); ALTER TABLE a ADD COLUMN mood mood;",
    "an index of a partitioned table": "CREATE INDEX CONCURRENTLY parts_1_a ON parts_1 (a); CREATE INDEX parts_a ON parts (a);",
}


@pytest.mark.parametrize("expand", WAYS_BACK.values(), ids=WAYS_BACK)
def test_a_way_back_that_is_derived_comes_to_its_end(base: Base, expand: str) -> None:
    """Always make migrations reversible until the contract phase."""
    rows(base, "CREATE TABLE parts (a int) PARTITION BY LIST (a); CREATE TABLE parts_1 PARTITION OF parts FOR VALUES IN (1)")
    there = "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relname NOT LIKE 'bleen%'"
    before, schema = rows(base, there), Schema(base.open())
    schema.expand([migration("0008_back", expand=expand)], "shop", 2, {})
    assert rows(base, there) != before
    schema.revert("0008_back")
    assert rows(base, there) == before
    assert schema.ledger.entries() == []


def test_an_index_that_postgres_builds_only_in_everybody_s_way_is_known_before_expand(base: Base) -> None:
    rows(base, "CREATE TABLE parts (a int) PARTITION BY LIST (a)")
    (said,) = Foresight(Schema(base.open())).foreseen(migration("0008_parts", expand="CREATE INDEX CONCURRENTLY parts_a ON parts (a);"))
    assert said.startswith('expand.sql: line 1, CREATE INDEX CONCURRENTLY parts_a ON parts (a): "parts" is partitioned, and PostgreSQL builds no index')


THERE = {
    "an index": "CREATE INDEX CONCURRENTLY users_idx ON users (id);",
    "a table": "CREATE TABLE users (a int);",
    "a view, by the name of an index": "CREATE VIEW users_idx AS SELECT 1 AS a;",
    "a sequence": "CREATE SEQUENCE users_id_seq;",
    "a type": "CREATE TYPE mood AS ENUM ('glad');",
    "a column": "ALTER TABLE users ADD COLUMN x int, ADD COLUMN last_name text;",
    "a constraint": "ALTER TABLE users ADD CONSTRAINT users_pkey CHECK (id > 0) NOT VALID;",
    "statistics": "CREATE STATISTICS other.st ON id, first_name FROM users;",
    "a schema": 'CREATE SCHEMA "Other";',
}
NOT_THERE = {
    "if it is not there": "CREATE INDEX CONCURRENTLY IF NOT EXISTS users_idx ON users (id); ALTER TABLE users ADD COLUMN IF NOT EXISTS id int;",
    "in another schema": "CREATE SCHEMA away; CREATE TABLE away.users (id int); CREATE INDEX users_idx ON away.users (id);",
    "statistics in another schema": "CREATE STATISTICS st ON id, first_name FROM users;",
    "once it is gone": "DROP INDEX CONCURRENTLY users_idx; CREATE INDEX CONCURRENTLY users_idx ON users (id);",
    "once it has another name": "ALTER TYPE mood RENAME TO was; CREATE TYPE mood AS ENUM ('glad');",
    "of another table": "CREATE TABLE others (id int, last_name text); ALTER TABLE others ADD COLUMN first_name text;",
}


@pytest.mark.parametrize(("expand", "refused"), [*((e, True) for e in THERE.values()), *((e, False) for e in NOT_THERE.values())], ids=[*THERE, *NOT_THERE])
def test_a_name_that_something_has_already_is_known_before_expand(base: Base, expand: str, refused: bool) -> None:
    rows(base, USERS + "CREATE INDEX users_idx ON users (id); CREATE TYPE mood AS ENUM ('ok')")
    rows(base, 'CREATE SCHEMA "Other"; CREATE SCHEMA other; CREATE STATISTICS other.st ON id, last_name FROM users')
    said = Foresight(Schema(base.open())).foreseen(migration("0008_again", expand=expand))
    assert [each.partition(" is there already")[1] for each in said] == [" is there already"] * refused, said


PATH = "CREATE SCHEMA app; CREATE FUNCTION public.score(text) RETURNS int RETURN 1; ALTER {} SET search_path = app, public"


@pytest.mark.parametrize(
    ("expand", "hidden"),
    [
        ("CREATE TABLE users (id int);", "public.users"),
        ("CREATE VIEW app.users AS SELECT 1 AS id;", "public.users"),
        ("CREATE TABLE place (id int);", ""),
        ("CREATE FUNCTION score(text) RETURNS int RETURN 2;", "public.score(pg_catalog.text)"),
        ("CREATE FUNCTION score(int) RETURNS int RETURN 2;", ""),
        ("CREATE SCHEMA away; CREATE TABLE away.users (id int);", ""),
        ("CREATE TABLE users_pkey (id int);", ""),
    ],
)
def test_what_would_be_found_in_the_place_of_something_in_use_is_known_before_expand(base: Base, expand: str, hidden: str) -> None:
    """A new name "and not one that something in the database has already": the old version would write what a revert drops."""
    rows(base, f"{USERS}CREATE TABLE place (id int); ALTER EXTENSION plpgsql ADD TABLE place; {PATH.format(f'DATABASE {base.name}')}")
    said = Foresight(Schema(base.open())).foreseen(migration("0008_again", expand=expand))
    assert [f": {hidden} is looked for behind it by the search_path" in each for each in said] == [True] * bool(hidden), said


def test_what_a_new_table_is_meant_to_hide_it_may_if_the_migrating_role_does_not_look_there(base: Base) -> None:
    rows(base, f"{USERS}{PATH.format(f'DATABASE {base.name}')}")
    schema, made = Schema(base.open()), migration("0008_again", expand="CREATE TABLE users (id int);")
    assert "let the search_path of the migrating role end before that schema" in Foresight(schema).foreseen(made)[0]
    schema.server.rows("SET search_path = app")
    assert Foresight(schema).foreseen(made) == []
    (said,) = Foresight(schema).risks(made)
    assert "by the search_path of this database (app, public), users is this from here on, and not public.users" in said


def test_what_a_role_would_find_in_the_place_of_something_is_warned_of(base: Base) -> None:
    rows(base, f"{USERS} CREATE ROLE finder_8 LOGIN; {PATH.format('ROLE finder_8')}")
    try:
        (said,) = Foresight(Schema(base.open())).risks(migration(expand="CREATE TABLE app.users (id int); CREATE TABLE app.more (id int);"))
    finally:
        rows(base, "DROP ROLE finder_8")
    assert "by the search_path of the role finder_8 (app, public), users is this from here on, and not public.users: if the version that serves" in said


@pytest.mark.parametrize("published", ["FOR TABLE users", "FOR ALL TABLES", "FOR TABLES IN SCHEMA public"])
def test_a_column_that_subscribers_have_not_is_warned_of(base: Base, published: str) -> None:
    """adds "nothing that the old one could notice": its subscribers stop."""
    rows(base, f"{USERS} CREATE PUBLICATION p {published}; CREATE PUBLICATION q FOR TABLE users (id, first_name); CREATE SCHEMA o; CREATE TABLE o.t (a int)")
    foresight = Foresight(Schema(base.open()))
    (said,) = foresight.risks(migration(expand="ALTER TABLE users ADD COLUMN a int, ADD COLUMN b int;"))
    assert said.endswith("ADD COLUMN b int: users is in the publication p: a subscriber that has no a, b stops at the next row; add it there first")
    quiet = migration(expand="ALTER TABLE users ADD COLUMN a int GENERATED ALWAYS AS (1) STORED; ALTER TABLE users ALTER COLUMN id SET DEFAULT 1;")
    assert foresight.risks(quiet) == []
    assert len(foresight.risks(migration(expand="ALTER TABLE o.t ADD COLUMN b int;"))) == ("ALL" in published)
    told = foresight.risks(migration(expand="CREATE TABLE orders (id int); CREATE TABLE o.more (id int); CREATE UNLOGGED TABLE cache (id int);"))
    made = {"FOR TABLE users": [], "FOR ALL TABLES": ["orders", "more"]}.get(published, ["orders"])
    assert [each.partition("(id int): ")[2].partition(": ")[0] for each in told] == [f"{table} comes into the publication p" for table in made]


@pytest.mark.parametrize("as_root", [False, True])
def test_a_partition_that_subscribers_have_not_is_warned_of_unless_it_is_sent_as_its_root(base: Base, as_root: bool) -> None:
    visits = "CREATE TABLE visits (at int) PARTITION BY RANGE (at)"
    rows(base, f"{visits}; CREATE PUBLICATION p FOR TABLE visits WITH (publish_via_partition_root = {as_root})")
    said = Foresight(Schema(base.open())).risks(migration(expand="CREATE TABLE visits_1 PARTITION OF visits FOR VALUES FROM (1) TO (9);"))
    assert ["visits_1 comes into the publication p: a subscriber" in each for each in said] == [True] * (not as_root)


@pytest.mark.parametrize("published", ["FOR ALL TABLES", "FOR TABLES IN SCHEMA public"])
def test_subscribers_that_bleen_s_own_tables_would_stop_are_told_of_before_they_are_made(
    base: Base, shop: Path, capsys: pytest.CaptureFixture[str], published: str
) -> None:
    """adds "nothing that the old one could notice": each subscriber would stop, for all tables, at the first row of the ledger."""
    guide = (Path(__file__).parents[2] / "docs/guide/database.md").read_text()
    schema = Schema(base.open())
    assert schema.ledger.strands() == ""
    rows(base, f"CREATE PUBLICATION p {published}")
    told = "come into the publication p: a subscriber that has none of them stops"
    ship(shop, "0001_more", {"expand.sql": "CREATE TABLE more (id int);"})
    for words in (["plan", "1"], ["doctor"]):
        main(words)
        assert told in capsys.readouterr().out
    rows(
        base,
        "CREATE SCHEMA subscriber; SET search_path = subscriber; " + guide.partition("## A database with subscribers")[2].split("```")[1].removeprefix("sql"),
    )
    made = {table: schema.server.columns(f"subscriber.{table}") for table in LEDGER}
    rows(base, "DROP SCHEMA subscriber CASCADE")
    schema.ledger.make()
    assert schema.ledger.strands() == ""
    assert made == {table: schema.server.columns(table) for table in LEDGER}


SEED = "INSERT INTO roles {};"
SETVAL = "(id, name) VALUES (4, 'auditor'); SELECT setval('roles_id_seq', 4)"


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("(id, name) VALUES (DEFAULT, 'd'), (4, 'auditor')", "it gives id by hand, and roles_id_seq, which stands at 3, comes to that too"),
        ("VALUES (4, 'auditor')", "it gives id by hand"),
        ("(id, name) SELECT max(id) + 1, 'auditor' FROM roles", "it gives id by hand"),
        ("(id, name) VALUES (0, 'nobody'), (-1, 'none')", ""),
        ("(id, name) VALUES (DEFAULT, 'auditor')", ""),
        ("(name) VALUES ('auditor')", ""),
        ("DEFAULT VALUES", ""),
        (SETVAL, ""),
    ],
)
def test_a_key_that_a_sequence_will_come_to_is_warned_of(base: Base, statement: str, told: str) -> None:
    """The old version's INSERT would fail that comes to it."""
    rows(base, "CREATE TABLE roles (id serial PRIMARY KEY, name text); INSERT INTO roles (name) VALUES ('a'), ('b'), ('c')")
    said = Foresight(Schema(base.open())).risks(migration(expand=SEED.format(statement)))
    assert [told in each for each in said] == [True] * bool(told), said


def test_an_index_over_what_may_be_too_long_for_it_is_warned_of(base: Base) -> None:
    """The old version's INSERT would fail of what it could write before."""
    rows(
        base, "CREATE TABLE posts (id int, title text, body text); INSERT INTO posts SELECT n, 'a title', repeat(md5(n::text), 20) FROM generate_series(1, 9) n"
    )
    rows(base, "ANALYZE posts")
    foresight = Foresight(Schema(base.open()))
    (said,) = foresight.risks(migration(expand="CREATE INDEX CONCURRENTLY i ON posts (title, body);"))
    assert "(title, body): body has 644 bytes on average, and a write fails from here on whose body is longer than 2704 bytes, compressed" in said
    assert foresight.risks(migration(expand="CREATE INDEX CONCURRENTLY i ON posts USING hash (body); CREATE INDEX CONCURRENTLY j ON posts (md5(body));")) == []


NAMESAKES = "ALTER TABLE users DROP COLUMN IF EXISTS last_name; ALTER TABLE n DROP COLUMN IF EXISTS last_name;"


@pytest.mark.parametrize(
    ("expand", "revert", "refused"),
    [
        ("ALTER TABLE users ADD COLUMN IF NOT EXISTS last_name text;", "ALTER TABLE users DROP COLUMN IF EXISTS last_name;", True),
        ("ALTER TABLE users ADD COLUMN IF NOT EXISTS last_name text;", "ALTER TABLE users DROP COLUMN last_name, ALTER COLUMN id DROP DEFAULT;", True),
        ("CREATE TABLE IF NOT EXISTS users (id int);", "DROP TABLE IF EXISTS users;", True),
        ("ALTER TABLE users ADD COLUMN IF NOT EXISTS email text;", "ALTER TABLE users DROP COLUMN IF EXISTS email;", False),
        ("ALTER TABLE users ADD COLUMN IF NOT EXISTS last_name text;", "SELECT 1;", False),
        ("CREATE TABLE n (a int); ALTER TABLE n ADD COLUMN IF NOT EXISTS b int;", "DROP TABLE n;", False),
        ("CREATE EXTENSION IF NOT EXISTS plpgsql;", "DROP EXTENSION IF EXISTS plpgsql;", True),
        ("CREATE SCHEMA IF NOT EXISTS public;", "DROP SCHEMA public;", True),
        ("CREATE SCHEMA IF NOT EXISTS away;", "DROP SCHEMA away;", False),
        ("CREATE STATISTICS IF NOT EXISTS s ON id, last_name FROM users;", "DROP STATISTICS s;", False),
        ("ALTER TABLE n ADD COLUMN IF NOT EXISTS last_name text; ALTER TABLE users ADD COLUMN IF NOT EXISTS last_name text;", NAMESAKES, True),
        ("CREATE TABLE audit (users int); CREATE TABLE IF NOT EXISTS users (id int);", "DROP TABLE IF EXISTS users; DROP TABLE audit;", True),
        ("CREATE OR REPLACE VIEW people AS SELECT id, last_name FROM users;", "DROP VIEW IF EXISTS people;", True),
        ("CREATE OR REPLACE VIEW people AS SELECT id, last_name FROM users;", "CREATE OR REPLACE VIEW people AS SELECT id FROM users;", False),
        ("ALTER VIEW people RENAME TO folk; CREATE OR REPLACE VIEW people AS SELECT 1 AS a;", "DROP VIEW people;", False),
        ("ALTER TABLE users RENAME TO folk; CREATE TABLE IF NOT EXISTS users (id int);", "DROP TABLE users;", False),
        ("CREATE OR REPLACE FUNCTION tax(int) RETURNS int RETURN 2;", "DROP FUNCTION IF EXISTS tax(int);", True),
        ("CREATE OR REPLACE FUNCTION tax(text) RETURNS int RETURN 2;", "DROP FUNCTION IF EXISTS tax(text);", False),
        ("CREATE OR REPLACE RULE noted AS ON DELETE TO users DO ALSO NOTIFY gone;", "DROP RULE noted ON users;", True),
    ],
)
def test_what_is_there_already_and_revert_sql_would_drop_is_known_before_expand(users: Base, expand: str, revert: str, refused: bool) -> None:
    """undoes what was done: what was there before stays"""
    rows(users, "CREATE VIEW people AS SELECT id FROM users; CREATE FUNCTION tax(int) RETURNS int RETURN 1")
    rows(users, "CREATE RULE noted AS ON DELETE TO users DO ALSO NOTIFY lost")
    said = Foresight(Schema(users.open())).foreseen(parse("0008_perhaps", {"expand.sql": expand, "revert.sql": revert}, ""))
    assert ["is there already, and revert.sql would drop it" in each for each in said] == [True] * refused, said


BY_DEFAULT = "ALTER DEFAULT PRIVILEGES IN SCHEMA public "


@pytest.mark.parametrize(
    ("expand", "revert", "told"),
    [
        ("GRANT SELECT ON users TO app_14;", "REVOKE SELECT ON users FROM app_14;", "app_14 has SELECT on users already"),
        ("GRANT SELECT ON TABLE users TO app_14;", "REVOKE GRANT OPTION FOR SELECT ON users FROM app_14;", ""),
        ("GRANT UPDATE ON users TO app_14;", "REVOKE UPDATE ON users FROM app_14;", "app_14 has UPDATE on last_name of users already"),
        ("GRANT UPDATE (last_name) ON users TO app_14;", "REVOKE UPDATE (last_name) ON users FROM app_14;", "app_14 has UPDATE on last_name of users already"),
        ("GRANT UPDATE (first_name) ON users TO app_14;", "REVOKE UPDATE (first_name) ON users FROM app_14;", ""),
        ("GRANT ALL ON users TO PUBLIC;", "REVOKE ALL ON users FROM PUBLIC;", ""),
        ("GRANT DELETE ON users TO app_14;", "REVOKE DELETE ON users FROM app_14;", ""),
        ("CREATE TABLE n (id int); GRANT SELECT ON n TO app_14;", "DROP TABLE n;", ""),
        ("GRANT SELECT ON ALL TABLES IN SCHEMA public TO app_14;", "REVOKE SELECT ON ALL TABLES IN SCHEMA public FROM app_14;", "app_14 has SELECT on users"),
        ("GRANT INSERT ON ALL TABLES IN SCHEMA public TO app_14;", "REVOKE INSERT ON ALL TABLES IN SCHEMA public FROM app_14;", ""),
        ("GRANT USAGE ON SCHEMA public TO PUBLIC;", "REVOKE USAGE ON SCHEMA public FROM PUBLIC;", "PUBLIC has USAGE on public already"),
        ("GRANT EXECUTE ON FUNCTION tax(int) TO PUBLIC;", "REVOKE EXECUTE ON FUNCTION tax(int) FROM PUBLIC;", r"PUBLIC has EXECUTE on tax\(integer\) already"),
        ("GRANT CONNECT ON DATABASE {db} TO app_14;", "REVOKE CONNECT ON DATABASE {db} FROM app_14;", "app_14 has CONNECT on the database .* already"),
        ("GRANT TEMP ON DATABASE {db} TO PUBLIC;", "REVOKE TEMP ON DATABASE {db} FROM PUBLIC;", "PUBLIC has TEMPORARY on the database .* already"),
        ("GRANT CREATE ON DATABASE {db} TO app_14;", "REVOKE CREATE ON DATABASE {db} FROM app_14;", ""),
        ("GRANT USAGE ON TYPE mood TO app_14;", "REVOKE USAGE ON TYPE public.mood FROM app_14;", "app_14 has USAGE on mood already"),
        ("GRANT USAGE ON TYPE mood TO rw_14;", "REVOKE USAGE ON TYPE mood FROM rw_14;", ""),
        (BY_DEFAULT + "GRANT SELECT ON TABLES TO app_14;", BY_DEFAULT + "REVOKE SELECT ON TABLES FROM app_14;", "SELECT on tables to come in public already"),
        (BY_DEFAULT + "GRANT INSERT ON TABLES TO app_14;", BY_DEFAULT + "REVOKE INSERT ON TABLES FROM app_14;", ""),
        ("ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO app_14;", "ALTER DEFAULT PRIVILEGES REVOKE SELECT ON TABLES FROM app_14;", ""),
        (
            "ALTER DEFAULT PRIVILEGES FOR ROLE rw_14 GRANT USAGE ON SEQUENCES TO app_14;",
            "ALTER DEFAULT PRIVILEGES FOR ROLE rw_14 REVOKE USAGE ON SEQUENCES FROM app_14;",
            "app_14 has USAGE on sequences to come already",
        ),
        ("GRANT USAGE ON SEQUENCE n_14 TO app_14;", "REVOKE USAGE ON SEQUENCE n_14 FROM app_14;", ""),
        ("GRANT rw_14 TO app_14;", "REVOKE rw_14 FROM app_14;", "app_14 is a member of rw_14 already"),
        ("GRANT pg_monitor TO app_14;", "REVOKE pg_monitor FROM app_14;", ""),
        (
            "ALTER TABLE users ALTER age SET DEFAULT 5;",
            "ALTER TABLE users ALTER age DROP DEFAULT;",
            "has the default 3 now, .* before: let it say SET DEFAULT 3",
        ),
        ("ALTER TABLE users ALTER age SET DEFAULT 5;", "ALTER TABLE users ALTER age SET DEFAULT 3;", ""),
        ("ALTER TABLE users ALTER last_name SET DEFAULT '';", "ALTER TABLE users ALTER last_name DROP DEFAULT;", ""),
        ("ALTER TABLE users ALTER last_name SET DEFAULT '';", "ALTER TABLE users ALTER last_name SET DEFAULT 'x';", "has no default now"),
        ("ALTER TABLE users ALTER age DROP NOT NULL;", "ALTER TABLE users ALTER age SET NOT NULL;", "age of users may be NULL already"),
        ("ALTER TABLE users ALTER last_name DROP NOT NULL;", "ALTER TABLE users ALTER last_name SET NOT NULL;", ""),
        ("ALTER TABLE users ENABLE ROW LEVEL SECURITY;", "ALTER TABLE users DISABLE ROW LEVEL SECURITY;", "row security of users is on already"),
        ("ALTER TABLE users FORCE ROW LEVEL SECURITY;", "ALTER TABLE users NO FORCE ROW LEVEL SECURITY;", ""),
    ],
)
def test_what_is_so_already_and_revert_sql_would_take_back_is_known_before_expand(users: Base, expand: str, revert: str, told: str) -> None:
    """undoes what was done: what was there before stays"""
    roles = ("app_14", "rw_14")
    rows(users, "CREATE FUNCTION tax(int) RETURNS int RETURN 1; CREATE SEQUENCE n_14; ALTER TABLE users ADD COLUMN age int DEFAULT 3")
    rows(users, "ALTER TABLE users ENABLE ROW LEVEL SECURITY")
    try:
        rows(users, "".join(f"CREATE ROLE {role};" for role in roles) + "GRANT SELECT, UPDATE (last_name) ON users TO app_14; GRANT rw_14 TO app_14")
        rows(users, f"CREATE TYPE mood AS ENUM (); GRANT USAGE ON TYPE mood TO app_14; GRANT CONNECT ON DATABASE {users.name} TO app_14")
        rows(users, f"{BY_DEFAULT}GRANT SELECT ON TABLES TO app_14; ALTER DEFAULT PRIVILEGES FOR ROLE rw_14 GRANT USAGE ON SEQUENCES TO app_14")
        expand, revert = (each.format(db=users.name) for each in (expand, revert))
        schema, made = Schema(users.open()), parse("0008_so", {"expand.sql": expand, "revert.sql": revert}, "")
        said = Foresight(schema).foreseen(made)
        assert [bool(re.search(told, each)) for each in said] == [True] * bool(told), said
        first = migration("0007_first", expand=expand)
        assert Foresight(schema).foreseen(made, [first] if "CREATE" not in expand else []) == [], "what was there before it is of an earlier one"
    finally:
        rows(users, "".join(f"DROP OWNED BY {role}; DROP ROLE {role};" for role in roles))


@pytest.mark.parametrize(
    ("where", "refused"),
    [
        ("name = 'dark'", True),
        ("name = 'dark' AND at = 2", False),
        ("(name, at) IN (('dark', 2), ('light', 3)) AND at IS NOT NULL", False),
        ("name = 'light' OR name = 'dark'", True),
    ],
)
def test_a_row_that_is_there_already_and_revert_sql_would_delete_is_known_before_expand(base: Base, where: str, refused: bool) -> None:
    """undoes what was done: what was there before stays"""
    rows(base, "CREATE TABLE themes (name text, at int); INSERT INTO themes VALUES ('dark', 1)")
    schema, expand = Schema(base.open()), "INSERT INTO themes (name, at) VALUES ('dark', 2), ('light', 3);"
    made = parse("0008_themes", {"expand.sql": expand, "revert.sql": f"DELETE FROM themes WHERE {where};"}, "")
    assert ["themes has such a row already" in each for each in Foresight(schema).foreseen(made)] == [True] * refused
    schema.expand([made], "shop", 2, {})
    assert Foresight(schema).foreseen(made) == [], "they may be its own"


def test_what_an_earlier_migration_makes_and_revert_sql_would_drop_is_known_before_expand(users: Base) -> None:
    """undoes what was done: what was there before stays"""
    first = migration("0008_first", expand="CREATE VIEW people AS SELECT id FROM users;")
    perhaps = {"expand.sql": "CREATE OR REPLACE VIEW people AS SELECT id, last_name FROM users;", "revert.sql": "DROP VIEW people;"}
    (said,) = Foresight(Schema(users.open())).foreseen(parse("0009_second", perhaps, ""), [first])
    assert "0008_first, which is expanded before it, makes that too, and revert.sql would drop it" in said


@pytest.mark.parametrize(
    ("second", "refused"),
    [
        ("ALTER TABLE users ADD COLUMN email text;", True),
        ("CREATE INDEX CONCURRENTLY i ON users (last_name);", True),
        ("ALTER TABLE users ADD COLUMN phone text;", False),
        ("ALTER TABLE others ADD COLUMN email text;", False),
        ("DROP INDEX CONCURRENTLY i; CREATE INDEX CONCURRENTLY i ON users (last_name);", False),
    ],
)
def test_a_name_that_two_migrations_of_a_release_make_is_known_before_expand(users: Base, second: str, refused: bool) -> None:
    rows(users, "CREATE TABLE others (id int)")
    first = migration("0008_first", expand="ALTER TABLE users ADD COLUMN email text; CREATE INDEX CONCURRENTLY i ON users (id);")
    said = Foresight(Schema(users.open())).foreseen(migration("0009_second", expand=second), [first])
    assert ["0008_first, which is expanded before it, makes that too" in each for each in said] == [True] * refused, said


def test_an_expand_that_fails_says_the_next_step(base: Base) -> None:
    with pytest.raises(Refused, match="already exists; `bleen migrate revert 0008_again` undoes what was done of it; then mend it"):
        Schema(base.open()).expand([migration("0008_again", expand="CREATE TABLE a (a int); CREATE TABLE a (a int);")], "shop", 2, {})


WHOLE = """CREATE FUNCTION whole(first text, last text) RETURNS text LANGUAGE sql {how} AS $$ SELECT concat_ws(' ', first, last) $$;"""
CALLING = {
    **FULL_NAME,
    "backfill.sql": "",
    "contract.sql": FULL_NAME["contract.sql"] + " DROP FUNCTION whole(text, text);",
    "revert.sql": FULL_NAME["revert.sql"] + " DROP FUNCTION whole(text, text);",
    "migration.toml": FULL_NAME["migration.toml"].replace("first_name || ' ' || last_name", "whole(first_name, last_name)"),
}


def test_a_pair_may_call_a_function_that_its_own_expand_makes_there_and_back(base: Base) -> None:
    """What expand makes can be looked at once it is made, which is before a trigger calls it."""
    rows(base, USERS)
    schema = Schema(base.open())
    whole = {how: {**CALLING, "expand.sql": WHOLE.format(how=how) + FULL_NAME["expand.sql"]} for how in ("IMMUTABLE", "VOLATILE")}
    good, fickle = (parse("0007_full_name", files, how) for how, files in whole.items())
    assert Foresight(schema).foreseen(good) == []
    assert "calls whole(), which there is not" in Foresight(schema).foreseen(parse("0007_full_name", CALLING, ""))[0]
    with pytest.raises(Refused, match=r"calls whole\(\), which may give another value every time"):
        schema.expand([fickle], "shop", 2, SHIPS)
    schema.revert("0007_full_name")
    schema.expand([good], "shop", 3, SHIPS)
    assert rows(base, "SELECT count(*) FROM users WHERE full_name = first_name || ' ' || last_name") == [(2500,)]
    schema.revert("0007_full_name")
    schema.expand([good], "shop", 4, SHIPS)
    schema.contract("0007_full_name")
    assert rows(base, "SELECT to_regproc('whole')") == [(None,)]


KEYLESS = "DROP TABLE users; CREATE TABLE users (id bigint, first_name text NOT NULL, last_name text NOT NULL); INSERT INTO users VALUES (1, 'Ada', 'King')"


def test_a_table_without_a_key_is_known_before_expand(base: Base) -> None:
    """A pair is filled as a backfill is; what is missing had better be known before its column and its trigger are there."""
    rows(base, USERS + KEYLESS)
    schema = Schema(base.open())
    (said,) = Foresight(schema).foreseen(migration())
    assert "it has no key to go along. A primary key is one" in said
    makes_one = {**FULL_NAME, "expand.sql": "ALTER TABLE users ADD COLUMN full_name text; CREATE UNIQUE INDEX CONCURRENTLY one ON users (id);"}
    assert Foresight(schema).foreseen(parse("0007_full_name", makes_one, "")) == []


def test_a_table_whose_rows_a_policy_hides_is_known_before_expand(base: Base) -> None:
    rows(base, USERS)
    with base.connect() as client:
        client.execute("CREATE ROLE owner_10 LOGIN; GRANT ALL ON SCHEMA public TO owner_10; ALTER TABLE users OWNER TO owner_10")
        client.execute("ALTER TABLE users ENABLE ROW LEVEL SECURITY")
        schema = Schema(postgres.Postgres(base.server.url(base.name, "owner_10")))
        try:
            assert Foresight(schema).foreseen(migration()) == []
            client.execute("ALTER TABLE users FORCE ROW LEVEL SECURITY")
            (said,) = Foresight(schema).foreseen(migration())
            assert "row-level security hides rows of it from us, which would never be filled: ALTER TABLE" in said
        finally:
            schema.server.close()
            client.execute("DROP OWNED BY owner_10 CASCADE; DROP ROLE owner_10")


def test_a_statement_timeout_of_the_role_neither_fails_an_expand_nor_shuts_the_gate(base: Base) -> None:
    """Shut while rows diverge (a count query); how long the count takes is another matter."""
    slow = "CREATE FUNCTION slow(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM pg_sleep(0.02); RETURN $1; END $$;"
    rows(base, USERS + f"DELETE FROM users WHERE id > 40; {slow} ALTER DATABASE {base.name} SET statement_timeout = '400ms'")
    settings = FULL_NAME["migration.toml"].replace("\"first_name || ' ' || last_name\"", "\"slow(first_name) || ' ' || last_name\"")
    files = {**FULL_NAME, "backfill.sql": "", "migration.toml": settings}
    schema = Schema(base.open())
    assert schema.expand([parse("0007_full_name", files, "")], "shop", 2, SHIPS) == ["0007_full_name"]
    (found,) = pending(schema)
    assert found.obstacles == ()


ENDS = {
    "a setting of the database": ("PERFORM pg_sleep(0.5);", ""),
    "somebody": (
        "PERFORM pg_cancel_backend(pg_backend_pid()), pg_sleep(1);",
        "0008_long/expand.sql: line 1, DO .*: somebody ended it; try again; .*revert 0008_long",
    ),
}


@pytest.mark.parametrize(("body", "why"), ENDS.values(), ids=ENDS)
def test_a_statement_that_somebody_ended_is_to_be_tried_again_and_a_setting_of_the_database_ends_none(base: Base, body: str, why: str) -> None:
    """Errors say what happened, where, and what to do next."""
    rows(base, f"ALTER DATABASE {base.name} SET statement_timeout = '300ms'")
    schema = Schema(base.open())
    with pytest.raises(Refused, match=why) if why else nullcontext():
        assert schema.expand([migration("0008_long", expand=f"DO $$ BEGIN {body} END $$;")], "shop", 2, {}) == ["0008_long"]


def test_an_index_that_takes_longer_than_its_migration_lets_it_says_which_setting_that_is(base: Base) -> None:
    """Errors say what happened, where, and what to do next."""
    slow = "CREATE FUNCTION slow(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM pg_sleep(0.02); RETURN $1; END $$;"
    rows(base, USERS + slow)
    wanted = migration("0008_long", expand="CREATE INDEX CONCURRENTLY by_first ON users (slow(first_name));")._replace(locks=Locks(concurrently=0.3))
    with pytest.raises(Refused, match=r"took longer than 0.3 s \(\[locks\] concurrently\), and was ended; .*`bleen migrate revert 0008_long` undoes"):
        Schema(base.open()).expand([wanted], "shop", 2, {})


NAMES = {
    "a key": ({"key": ("uid",)}, "uid"),
    "what it fills": ({"set": {"ful_name": "first_name"}}, "ful_name"),
    "what it is made from": ({"set": {"full_name": "users.first_nam || last_name"}}, "first_nam"),
    "where": ({"where": "nickname IS NULL"}, "nickname"),
}


@pytest.mark.parametrize(("fault", "name"), NAMES.values(), ids=NAMES)
def test_a_column_that_will_not_be_there_is_known_before_expand(base: Base, fault: dict[str, Any], name: str) -> None:
    """Once it has expanded, a migration is not to be changed any more: what is wrong with it had better be known before."""
    rows(base, USERS)
    good = migration("0008_whole", expand="ALTER TABLE users ADD COLUMN full_name text, ADD COLUMN seen boolean;")._replace(
        backfill=Backfill("users", {"full_name": "first_name || last_name"}, "seen IS NULL AND last_name NOT LIKE '%x'", ("id",)), pairs=()
    )
    assert good.backfill
    schema = Schema(base.open())
    assert Foresight(schema).foreseen(good) == []
    said = f"backfill of users: it has no column {name}, and expand.sql adds none; it has id, first_name, last_name"
    assert Foresight(schema).foreseen(good._replace(backfill=good.backfill._replace(**fault))) == [said]


TABLES = {
    "one that nobody has": ("user", "there is no table user, and expand.sql makes none"),
    "one that expand makes": ("people", ""),
    "one that a block may make": ("things", ""),
    "one that expand gives that name": ("names", ""),
    "one that has another schema": ("pets", "there is no table pets, and expand.sql makes none; it alters app.pets, so say table = 'app.pets'"),
    "one that needs quotes": ("Cats", 'there is no table Cats, and expand.sql makes none; it alters "Cats", so say table = \'"Cats"\''),
    "a word of SQL": ("order", "order is a word of SQL, and no name of a table without quotes: table = '\"order\"'"),
    "a word that SQL calls": ("current_user", "current_user is a word of SQL"),
    "no name at all": ("no such", "'no such' is no name of a table"),
    "nothing": ("", "'' is no name of a table"),
    "too many parts": ("users.x.y.z", "'users.x.y.z' is no name of a table"),
}


@pytest.mark.parametrize(("table", "why"), TABLES.values(), ids=TABLES)
def test_a_table_of_a_pair_that_will_not_be_there_is_known_before_expand(base: Base, table: str, why: str) -> None:
    """a pair that could never be kept in step: `plan` and `deploy` refuse it before anything is touched"""
    rows(base, USERS)
    also = (
        'CREATE TABLE "Cats" (id int); CREATE SCHEMA app; CREATE TABLE app.pets (id int); CREATE TABLE "order" (id int); CREATE TABLE "current_user" (id int)'
    )
    rows(base, also)
    more = {
        "people": "CREATE TABLE people (a text);",
        "things": "DO $$ BEGIN PERFORM 1; END $$;",
        "names": 'ALTER TABLE "Cats" ADD COLUMN a text; ALTER TABLE "Cats" RENAME TO names;',
        "pets": "ALTER TABLE app.pets ADD COLUMN a text; CREATE INDEX CONCURRENTLY pets_a ON app.pets (a);",
        "Cats": 'ALTER TABLE "Cats" ADD COLUMN a text;',
    }
    expand = FULL_NAME["expand.sql"] + more.get(table, "")
    wanted = migration(expand=expand)._replace(pairs=tuple(pair._replace(table=table) for pair in migration().pairs))
    said = Foresight(Schema(base.open())).foreseen(wanted)
    assert [f"{table} (first_name+last_name <-> full_name) cannot be kept in step: {why}" in each for each in said] == [True] * bool(why), said


ADD = "ALTER TABLE people ADD COLUMN"
SPELT = {
    "as it will be": (f"{ADD} Handle text;", "nick", "handle", ""),
    "as it will be, in quotes": (f'{ADD} "Handle" text;', "nick", "Handle", ""),
    "one that is there": (f"{ADD} handle text;", "Nick", "handle", "it names Nick, and the catalogue nick: write it so"),
    "one that folds": (f"{ADD} Handle text;", "nick", "Handle", "it names Handle, and the catalogue handle: write it so"),
    "one that does not": (f'{ADD} "Handle" text;', "nick", "handle", "it names handle, and the catalogue Handle: write it so"),
    "one that a function makes": ("SELECT add_to('people', 'Handle');", "nick", "Handle", ""),
    "one that format makes": (f"DO $$ DECLARE handle text := 'Handle'; BEGIN EXECUTE format('{ADD} %I text', handle); END $$;", "nick", "Handle", ""),
    "one that a text folds": (f"DO $$ BEGIN EXECUTE '{ADD} Handle text'; END $$;", "nick", "handle", ""),
    "one that a body folds": (f"DO $$ BEGIN {ADD} Handle text; END $$;", "nick", "Handle", "it names Handle, and the catalogue handle: write it so"),
}


@pytest.mark.parametrize(("expand", "old", "new", "why"), SPELT.values(), ids=SPELT)
def test_a_column_of_a_pair_that_is_spelt_in_another_case_is_known_before_expand(base: Base, expand: str, old: str, new: str, why: str) -> None:
    """a pair that could never be kept in step: `plan` and `deploy` refuse it before anything is touched"""
    rows(base, "CREATE TABLE people (id int PRIMARY KEY, nick text)")
    same = f"""forward = {{ {new} = '"{old}"' }}\nbackward = {{ {old} = '"{new}"' }}\n"""
    pair = f'[[sync]]\ntable = "people"\nold = "{old}"\nnew = "{new}"\n{same}on_conflict = "new"\n'
    wanted = parse("0001_handle", {"expand.sql": expand, "migration.toml": pair}, "")
    said = [f"people ({old} <-> {new}) cannot be kept in step: {why}"] if why else []
    assert Foresight(Schema(base.open())).foreseen(wanted) == said


EMPTY = {"expand.sql": "ALTER TABLE users ALTER COLUMN full_name SET DEFAULT '';"}


@ON_BOTH_ENDS
def test_the_triggers_of_a_pair_follow_another_default_of_its_columns(users: Base) -> None:
    """An INSERT of an unknown writer that gives the new columns nothing is the old version's, whatever a later migration has made of them."""
    schema = Schema(users.open())
    schema.expand([migration(), parse("0008_empty", EMPTY, "")], "shop", 2, {})
    with users.connect() as anybody:
        anybody.execute("INSERT INTO users (first_name, last_name) VALUES ('Bob', 'Roe')")
    assert rows(users, "SELECT first_name, last_name, full_name FROM users ORDER BY id DESC LIMIT 1") == [("Bob", "Roe", "Bob Roe")]


def test_a_pair_of_another_service_whose_table_is_gone_keeps_no_migration_from_being_expanded(users: Base) -> None:
    schema = Schema(users.open())
    schema.expand([migration()], "other", 1, {})
    schema.server.rows("ALTER TABLE users RENAME TO people")
    assert schema.expand([parse("0008_notes", {"expand.sql": "CREATE TABLE notes (id int);"}, "")], "shop", 2, {}) == ["0008_notes"]


@pytest.mark.parametrize(
    ("part", "text"),
    [("expand", "ALTER TABLE users RENAME COLUMN full_name TO name;"), ("contract", "ALTER TABLE users DROP COLUMN full_name;")],
)
def test_a_migration_that_takes_a_column_from_the_pair_of_another_is_refused_by_the_plan(users: Base, part: str, text: str) -> None:
    schema, later = Schema(users.open()), parse("0008_name", {f"{part}.sql": text}, "")
    said = Foresight(schema).foreseen(later, [migration()])
    assert [each.partition(": ")[0] for each in said] == [f"{part}.sql"]
    assert "is kept in step for 0007_full_name, by these names" in said[0]
    schema.expand([migration()], "shop", 2, {})
    assert Foresight(schema).foreseen(later) == said


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("CREATE TABLE c (extra text) INHERITS (users);", "users inherits, or is inherited from"),
        ("ALTER TABLE public.others INHERIT users;", "users inherits, or is inherited from"),
        ("ALTER TABLE users INHERIT others;", "users inherits, or is inherited from"),
        ("ALTER TABLE parted ATTACH PARTITION users DEFAULT;", "users becomes a partition"),
        ("CREATE PUBLICATION p FOR TABLE others, users;", "users is published"),
        ("CREATE TABLE c () INHERITS (others);", ""),
        ("CREATE PUBLICATION p FOR TABLE others;", ""),
        ("CREATE TABLE c PARTITION OF parted DEFAULT;", ""),
    ],
)
def test_what_a_later_migration_makes_of_the_table_of_a_pair_that_no_pair_could_be_of_is_refused_by_the_plan(base: Base, text: str, why: str) -> None:
    """sync.md: "What it cannot keep in step is refused by expand" """
    rows(base, USERS + "CREATE TABLE others (id int); CREATE TABLE parted (id int) PARTITION BY LIST (id);")
    schema, later = Schema(base.open()), migration("0008_heir", expand=text)
    said = [Foresight(schema).foreseen(later, [migration()])]
    schema.expand([migration()], "shop", 2, {})
    said.append(Foresight(schema).foreseen(later))
    assert [[f"is kept in step for 0007_full_name, and {why}" in each for each in found] for found in said] == [[True] * bool(why)] * 2


NAMED = [
    ("DROP FUNCTION tidy(text);", "public.tidy(first_name || last_name)"),
    ("DROP ROUTINE IF EXISTS tidy;", '"tidy" (first_name || last_name)'),
    ("DROP FUNCTION other, tidy;", "lower(tidy(first_name || last_name))"),
    ("DROP TYPE public.tidy;", "(first_name || last_name)::tidy"),
    ("DROP DOMAIN tidy;", "CAST(first_name || last_name AS public.tidy)"),
    ("DROP COLLATION tidy;", 'upper(first_name || last_name COLLATE "tidy")'),
    ("REVOKE EXECUTE ON FUNCTION public.tidy(text) FROM PUBLIC;", "tidy(first_name || last_name)"),
    ("ALTER FUNCTION tidy(text) RENAME TO tidier;", "tidy(first_name || last_name)"),
    ("ALTER TYPE tidy SET SCHEMA away;", "(first_name || last_name)::tidy"),
    ("DROP EXTENSION plpgsql;", "plpgsql_validator(first_name || last_name)"),
]
"""What takes a thing away, or out of reach, and an expression that names it."""
UNNAMED = [
    ("DROP FUNCTION tidy(text);", "first_name || ' tidy ' || last_name"),
    ("DROP FUNCTION tidy(text);", "untidy(first_name || last_name)"),
    ("DROP TYPE tidy;", "first_name || tidy"),
    ("GRANT EXECUTE ON FUNCTION tidy(text) TO PUBLIC;", "tidy(first_name || last_name)"),
    ("REVOKE SELECT ON tidy FROM PUBLIC;", "tidy(first_name || last_name)"),
    ("DROP EXTENSION plpgsql;", "tidy(first_name || last_name)"),
    ("CREATE FUNCTION tidy() RETURNS int LANGUAGE sql AS 'SELECT 1';", "tidy(first_name)"),
]


@pytest.mark.parametrize(("drop", "forward", "refused"), [*((*each, True) for each in NAMED), *((*each, False) for each in UNNAMED)])
def test_a_contract_that_drops_what_the_pair_of_another_migration_names_is_refused_by_the_plan(users: Base, drop: str, forward: str, refused: bool) -> None:
    """The server lets it go, as a trigger is a text to it, and every write to the table would fail from there on."""
    toml = FULL_NAME["migration.toml"].replace("\"first_name || ' ' || last_name\"", json.dumps(forward))
    pair, takes = parse("0007_full_name", {"migration.toml": toml}, ""), parse("0008_less", {"contract.sql": drop}, "")
    foresight = Foresight(Schema(users.open()))

    def said(migration: Migration, before: Migration) -> list[str]:
        return [each for each in foresight.foreseen(migration, [before]) if "names what" in each]

    assert [each.partition(": ")[0] for each in said(takes, pair)] == ["contract.sql"] * refused
    assert all("is kept in step for 0007_full_name, by an expression that names what this takes away" in each for each in said(takes, pair))
    assert ["names what contract.sql of 0008_less takes away" in each for each in said(pair, takes)] == [True] * refused


def test_an_index_of_a_partitioned_table_is_not_to_be_dropped_concurrently(base: Base) -> None:
    with base.connect() as db:
        db.execute("CREATE TABLE ev (x int) PARTITION BY RANGE (x)")
        db.execute("CREATE INDEX ev_x ON ev (x)")
    said = Foresight(Schema(base.open())).foreseen(parse("0008_gone", {"contract.sql": "DROP INDEX CONCURRENTLY ev_x;"}, ""))
    assert "is an index of a partitioned table, which PostgreSQL does not drop CONCURRENTLY" in said[0]


UNNAMED_INDEX = "CREATE INDEX CONCURRENTLY ON users (last_name);"
STUCK: dict[Part, State] = {"expand": State.EXPANDING, "contract": State.CONTRACTING}
HALVES: dict[Part, str] = {"expand": "ALTER TABLE users ADD COLUMN x int;", "contract": "ALTER TABLE users DROP COLUMN last_name;"}


@pytest.mark.parametrize("part", HALVES)
def test_an_index_without_a_name_is_refused_before_anything_of_its_part_is_done(users: Base, part: Part) -> None:
    schema, of = Schema(users.open()), migration("0008_index", **HALVES | {part: HALVES[part] + UNNAMED_INDEX})
    assert "CREATE INDEX CONCURRENTLY ON users (last_name): PostgreSQL would name this index" in Foresight(schema).foreseen(of)[0]
    with pytest.raises(Refused, match=f"^0008_index/{part}.sql: line 1, CREATE INDEX CONCURRENTLY .* give it one"):
        _ = schema.expand([of], "shop", 2, {}), schema.contract("0008_index")
    assert list(schema.server.columns("users"))[:3] == ["id", "first_name", "last_name"]
    assert schema.ledger.entries()[0].state is (State.EXPANDING if part == "expand" else State.EXPANDED)


@pytest.mark.parametrize("part", HALVES)
def test_what_an_earlier_bleen_left_stuck_on_an_index_without_a_name_can_be_reverted(users: Base, part: Part) -> None:
    schema, of = Schema(users.open()), migration("0008_index", **HALVES | {part: UNNAMED_INDEX + HALVES[part]})
    with suppress(Refused):
        schema.expand([of], "shop", 2, {})
    schema.ledger.note([*schema.ledger.mark(of.name, part, 1, False), schema.ledger.reached(of.name, STUCK[part])])
    schema.revert("0008_index")
    assert schema.ledger.entries() == []
    assert list(schema.server.columns("users")) == ["id", "first_name", "last_name"]


def test_what_cannot_be_undone_can_be_reverted_while_nothing_of_it_was_done(users: Base) -> None:
    schema, forever = Schema(users.open()), {"revert": "-- bleen: irreversible nobody knows what it was like"}
    for expand, why in (("SELECT 1 / 0; ALTER TABLE users ADD COLUMN x int;", ""), ("ALTER TABLE users ADD COLUMN x int; SELECT 1 / 0;", "nobody knows")):
        with pytest.raises(Refused, match="division by zero"):
            schema.expand([migration("0008_x", expand=expand, **forever)], "shop", 2, {})
        with pytest.raises(Refused, match=f"cannot be reverted: {why}") if why else nullcontext():
            schema.revert("0008_x")


def test_an_index_of_before_that_would_become_part_of_a_new_one_wants_a_revert_sql(base: Base) -> None:
    """undoes what was done: what was there before stays"""
    with base.connect() as db:
        db.execute("CREATE TABLE ev (x int, y int) PARTITION BY LIST (x); CREATE TABLE ev_1 PARTITION OF ev FOR VALUES IN (1)")
        db.execute("CREATE TABLE ev_2 PARTITION OF ev FOR VALUES IN (2); CREATE UNIQUE INDEX old ON ev_1 (x, y); CREATE INDEX other ON ev_1 (x, y)")
    schema, whole = Schema(base.open()), "CREATE UNIQUE INDEX ev_key ON ev (x, y);"
    foresight = Foresight(schema)
    (said,) = foresight.foreseen(parse("0008_key", {"expand.sql": f"CREATE UNIQUE INDEX CONCURRENTLY new ON ev_2 (x, y); {whole}"}, ""))
    assert "ev_key ON ev (x, y): old, there before, becomes part of it, and would be dropped with it; say in revert.sql" in said
    assert foresight.foreseen(parse("0008_key", {"expand.sql": whole, "revert.sql": "DROP INDEX ev_key;"}, "")) == []
    assert foresight.foreseen(parse("0008_key", {"expand.sql": "CREATE INDEX ev_yx ON ev (y, x); CREATE INDEX f ON ev (abs(x))"}, "")) == []
    half = parse("0008_key", {"expand.sql": f"CREATE UNIQUE INDEX old ON ev_1 (x, y); {whole}"}, "")
    schema.ledger.make()
    schema.ledger.begin(half, "shop", 2)
    assert foresight.foreseen(half) == [], "gone half way, it is its own"


@pytest.mark.parametrize(
    ("there", "expand"),
    [
        ("ALTER TABLE ev_1 ADD CONSTRAINT old UNIQUE (x, y)", "ALTER TABLE ev ADD CONSTRAINT k UNIQUE (x, y)"),
        ("ALTER TABLE ev_1 ADD CONSTRAINT old FOREIGN KEY (y) REFERENCES o", "ALTER TABLE ev ADD CONSTRAINT k FOREIGN KEY (y) REFERENCES o"),
        ("CREATE INDEX old ON ev_1 (abs(y))", "CREATE INDEX k ON ev (abs(y))"),
    ],
)
def test_what_was_there_before_and_becomes_part_of_what_is_made_wants_a_revert_sql(base: Base, there: str, expand: str) -> None:
    """undoes what was done: what was there before stays"""
    with base.connect() as db:
        db.execute("CREATE TABLE o (y int PRIMARY KEY); CREATE TABLE ev (x int, y int) PARTITION BY LIST (x)")
        db.execute(f"CREATE TABLE ev_1 PARTITION OF ev FOR VALUES IN (1); {there}")
    schema = Schema(base.open())
    with pytest.raises(
        Refused, match=r"0008_key/expand.sql: .*: old of ev_1, there before, becomes part of what it makes, and would be dropped .*; say in revert.sql"
    ):
        schema.expand([parse("0008_key", {"expand.sql": f"{expand};"}, "")], "shop", 2, {})
    schema.revert("0008_key")
    assert rows(base, "SELECT 1 FROM pg_class WHERE relname = 'old' UNION SELECT 1 FROM pg_constraint WHERE conname = 'old'")
    assert schema.expand([parse("0008_key", {"expand.sql": f"{expand};", "revert.sql": "SELECT 1;"}, "")], "shop", 2, {}) == ["0008_key"]


@pytest.mark.parametrize("revert", ["", "DROP TABLE IF EXISTS n;"], ids=["derived", "written"])
def test_what_an_expand_makes_may_become_part_of_one_another(base: Base, revert: str) -> None:
    schema = Schema(base.open())
    made = "CREATE TABLE p (x int PRIMARY KEY); CREATE TABLE n (x int PRIMARY KEY) PARTITION BY LIST (x); ALTER TABLE n ATTACH PARTITION p FOR VALUES IN (1);"
    schema.expand([parse("0008_parts", {"expand.sql": made, "revert.sql": revert}, "")], "shop", 2, {})
    with base.connect() as db:
        db.execute("CREATE TABLE other PARTITION OF n FOR VALUES IN (2)")
    with pytest.raises(Refused, match="the table other, which the expand does not name, would be dropped with it; DETACH or drop it first"):
        schema.revert("0008_parts")
    with base.connect() as db:
        db.execute("ALTER TABLE n DETACH PARTITION other")
    schema.revert("0008_parts")
    assert schema.server.columns("other")
    assert not schema.server.columns("n")


def test_a_table_that_somebody_else_drops_meanwhile_is_none_of_the_expand(users: Base) -> None:
    slow = "ALTER TABLE users ADD CONSTRAINT c CHECK (id > 0 AND pg_sleep(0.4) IS NOT NULL) NOT VALID; ALTER TABLE users VALIDATE CONSTRAINT c;"
    rows(users, "DELETE FROM users WHERE id > 1 RETURNING 1")
    rows(users, "CREATE TABLE staging (a int)")
    dropped = threading.Timer(0.1, rows, [users, "DROP TABLE staging"])
    schema = Schema(users.open(), lambda line: dropped.start() if "VALIDATE" in line else None)
    assert schema.expand([parse("0008_slow", {"expand.sql": slow}, "")], "shop", 2, {}) == ["0008_slow"]
    dropped.join()
    assert not schema.server.columns("staging")


def test_a_drop_that_fails_has_taken_nothing_away(base: Base) -> None:
    """ "A contract … that failed before it took anything away" stays pending."""
    with base.connect() as db:
        db.execute("CREATE TABLE ev (x int PRIMARY KEY)")
    schema = Schema(base.open())
    schema.expand([parse("0008_gone", {"expand.sql": "CREATE INDEX ev_x ON ev (x);", "contract.sql": "DROP INDEX CONCURRENTLY ev_pkey;"}, "")], "shop", 2, {})
    with pytest.raises(Refused, match="cannot drop index ev_pkey"):
        schema.contract("0008_gone")
    assert schema.ledger.entries()[0].state is State.EXPANDED


def test_a_migration_whose_row_was_taken_out_is_done_anew(users: Base) -> None:
    schema = Schema(users.open())
    schema.expand([migration()], "shop", 2, {})
    schema.revert("0007_full_name")
    schema.expand([migration()], "shop", 2, {})
    schema.server.rows("DELETE FROM bleen_migration")
    with pytest.raises(Refused, match='column "full_name" of relation "users" already exists'):
        schema.expand([migration()], "shop", 2, {})


FILLED = {
    "expand.sql": "ALTER TABLE users ADD COLUMN email text;",
    "backfill.sql": "UPDATE users SET email = '' WHERE email IS NULL;",
    "contract.sql": "ALTER TABLE users ADD CONSTRAINT e CHECK (email IS NOT NULL) NOT VALID;\nALTER TABLE users VALIDATE CONSTRAINT e;",
}


def test_a_contract_that_finds_rows_of_the_old_version_says_what_fills_them(users: Base) -> None:
    schema = Schema(users.open())
    schema.expand([parse("0008_email", FILLED, "")], "shop", 2, {})
    with users.connect() as old:
        old.execute("INSERT INTO users (first_name, last_name) VALUES ('Bob', 'Roe')")
    with pytest.raises(Refused, match="filled by `bleen migrate backfill 0008_email`"):
        schema.contract("0008_email")
    schema.backfill("0008_email")
    schema.contract("0008_email")


@ON_BOTH_ENDS
def test_a_contract_that_is_interrupted_takes_back_what_it_has_added(users: Base) -> None:
    """A CHECK that is not valid yet would go on to refuse writes of the version that serves."""
    said: list[str] = []

    def interrupted(text: str) -> None:
        said.append(text)
        if "VALIDATE" in text:
            raise KeyboardInterrupt

    schema = Schema(users.open())
    schema.expand([parse("0008_email", FILLED, "")], "shop", 2, {})
    schema = Schema(schema.server, interrupted)
    with pytest.raises(KeyboardInterrupt):
        schema.contract("0008_email")
    assert schema.ledger.entries()[0].state is State.EXPANDED
    assert rows(users, "SELECT conname FROM pg_constraint WHERE conname = 'e'") == []


@pytest.mark.parametrize(
    ("fails", "left"),
    [
        ("DO $$ BEGIN RAISE 'could not extend file' USING ERRCODE = 'disk_full'; END $$;", State.EXPANDED),
        ("SELECT pg_terminate_backend(pg_backend_pid());", State.CONTRACTING),
    ],
    ids=["a full disk", "a lost connection"],
)
def test_what_a_contract_has_added_when_the_server_fails_it_is_gone_before_an_old_version_comes_back(users: Base, fails: str, left: State) -> None:
    """ "A contract that is manual ... is pending ... So is one that failed before it took anything away": who needs the old shape may come back."""
    added, rest = FILLED["contract.sql"].splitlines()
    schema = Schema(users.open())
    schema.expand([parse("0008_email", {**FILLED, "contract.sql": f"{added}\n{fails}\n{rest}"}, "")], "shop", 2, {"green-2": frozenset(["0008_email"])})
    with pytest.raises(Unavailable, match="`bleen migrate contract 0008_email` goes on from there"):
        schema.contract("0008_email", again="bleen resume")
    schema = Schema(users.open())
    assert schema.ledger.entries()[0].state is left
    schema.expand([], "shop", 3, {"green-2": frozenset(["0008_email"]), "blue-3": frozenset()})
    assert schema.ledger.entries()[0].state is State.EXPANDED
    with users.connect() as old:
        old.execute("INSERT INTO users (first_name, last_name) VALUES ('Bob', 'Roe')")


def test_the_plan_tells_of_a_default_that_the_new_side_of_a_pair_lacks(base: Base) -> None:
    with base.connect() as db:
        db.execute("CREATE TABLE users (id int PRIMARY KEY, age integer DEFAULT 3)")
    pair = '[[sync]]\ntable = "users"\nold = ["age"]\nnew = ["years"]\nforward = { years = "age" }\nbackward = { age = "years" }\non_conflict = "new"\n'
    schema, added = Schema(base.open()), "ALTER TABLE users ADD COLUMN years integer;"
    for spoken in ("", "-- What is of age (a default) is not of years\n", "ALTER TABLE users ADD COLUMN seen boolean DEFAULT false;\n"):
        migration = parse("0008_years", {"expand.sql": spoken + added, "migration.toml": pair}, "")
        assert "age of users has a default, and years none" in Foresight(schema).risks(migration)[0], spoken
    assert "a default, and years none" in Foresight(schema).losing(migration)[0]
    more = f"{added}\nALTER TABLE users ALTER COLUMN years SET DEFAULT 3;"
    assert Foresight(schema).risks(parse("0008_years", {"expand.sql": more, "migration.toml": pair}, "")) == []


REQUIRED = """[[sync]]
table = "users"
old = ["phone"]
new = ["tel"]
forward = {{ tel = "{}" }}
backward = {{ phone = "tel" }}
on_conflict = "new"
"""


@pytest.mark.parametrize(
    ("forward", "says", "told", "makes"),
    [
        ("phone", "NOT NULL DEFAULT ''", True, "forward makes NULL"),
        ("coalesce(phone, '')", "NOT NULL DEFAULT ''", False, "backward makes another value"),
        ("phone", "; -- tel is to be NOT NULL later\n", False, ""),
    ],
)
def test_a_new_column_that_is_not_null_while_the_old_version_may_write_null_is_told_and_refused_for_rows_that_have_it(
    base: Base, forward: str, says: str, told: bool, makes: str
) -> None:
    with base.connect() as db:
        db.execute("CREATE TABLE users (id int PRIMARY KEY, phone varchar(20)); INSERT INTO users VALUES (1, NULL), (2, '1')")
    schema = Schema(base.open())
    expand = {
        "expand.sql": f"ALTER TABLE users ADD COLUMN tel varchar(20) {says}; CREATE INDEX i ON users (phone) WHERE tel IS\nNOT NULL;",
        "migration.toml": REQUIRED.format(forward),
    }
    said = [each for each in Foresight(schema).risks(parse("0008_tel", expand, "")) if "tel is NOT NULL from expand on" in each]
    assert len(said) == told
    refused = Foresight(schema).foreseen(parse("0008_tel", expand, ""))
    assert [f"1 rows have NULL in phone, and tel is NOT NULL from expand on, but {makes}" in each for each in refused] == [True] * bool(makes)


def test_a_column_whose_default_comes_behind_it_is_filled_in_every_row(users: Base) -> None:
    """It has ended when a count of rows out of step is 0: SET DEFAULT fills no row, and nobody wrote NULL there, whatever `backward` makes of it."""
    rows(users, "ALTER TABLE users ADD COLUMN status int NOT NULL DEFAULT 0")
    rows(users, "UPDATE users SET status = id % 3")
    pair = '[[sync]]\ntable = "users"\nold = ["status"]\nnew = ["state"]\non_conflict = "new"\n'
    pair += "forward = { state = \"CASE status WHEN 0 THEN 'new' WHEN 1 THEN 'active' ELSE 'gone' END\" }\n"
    pair += "backward = { status = \"CASE state WHEN 'new' THEN 0 WHEN 'active' THEN 1 ELSE 2 END\" }\n"
    files = {
        "expand.sql": "ALTER TABLE users ADD COLUMN state text; ALTER TABLE users ALTER COLUMN state SET DEFAULT 'new';",
        "backfill.sql": "UPDATE users SET state = CASE status WHEN 0 THEN 'new' WHEN 1 THEN 'active' ELSE 'gone' END;",
        "contract.sql": "ALTER TABLE users DROP COLUMN status;",
        "migration.toml": pair,
    }
    schema = Schema(users.open())
    schema.expand([parse("0008_state", files, "0008_state")], "shop", 2, {"blue-1": frozenset(), "green-2": frozenset({"0008_state"})})
    schema.server.close()
    assert rows(users, "SELECT DISTINCT status, state FROM users ORDER BY 1") == [(0, "new"), (1, "active"), (2, "gone")]


def test_an_index_that_a_contract_has_half_dropped_is_half_contracted_and_no_way_leads_back(users: Base) -> None:
    """Any failure leaves a state from which it goes on, and says so: a unique index on its way out holds the old version's rows no longer."""
    rows(users, "CREATE UNIQUE INDEX by_name ON users (first_name)")
    quick = {"migration.toml": "[locks]\nconcurrently = 1.0\n"}
    dropping = parse("0008_index", {"expand.sql": "SELECT 1;", "contract.sql": "DROP INDEX CONCURRENTLY by_name;", **quick}, "0008_index")
    schema = Schema(users.open())
    schema.expand([dropping], "shop", 2, {"green-2": frozenset({"0008_index"})})
    with users.connect() as reader:
        reader.autocommit = False
        reader.execute("SELECT count(*) FROM users")
        with pytest.raises(Refused, match=r"took longer than 1 s .* part of the old shape may be gone already: `bleen migrate contract 0008_index` goes on"):
            schema.contract("0008_index")
        reader.rollback()
    assert rows(users, "SELECT indisvalid FROM pg_index WHERE indexrelid = 'by_name'::regclass") == [(False,)]
    assert [entry.state for entry in schema.ledger.entries()] == [State.CONTRACTING]
    assert "0008_index" in schema.outdated(frozenset())
    with pytest.raises(Refused, match="half contracted"):
        schema.revert("0008_index")
    schema.contract("0008_index")
    schema.server.close()
    assert rows(users, "SELECT to_regclass('by_name')") == [(None,)]
