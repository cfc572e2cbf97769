"""Commands of other tools as halves of a migration: shell scripts here, run on a real PostgreSQL; the tools are in test_alembic and test_django."""

import json
import os
import shutil
import signal
import threading
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import psycopg
import pytest

from bleen.cli import main
from bleen.cli.database import allowed
from bleen.database.command import HALVES as PARTS
from bleen.database.command import Half, step
from bleen.database.command.home import Home, home_of
from bleen.database.foresight import Foresight
from bleen.database.ledger import State
from bleen.database.migration import Locks, Migration, parse
from bleen.database.rehearsal import rehearse
from bleen.database.schema import Schema
from bleen.database.worker import contract
from bleen.database.worker import main as main_of_errand
from bleen.errors import Refused, UserError
from bleen.host.processes import find
from bleen.host.redaction import Redaction
from bleen.testing.interrupt import fork
from bleen.testing.site import until
from databases import Base

NAME = "0007_note"
HALVES = {
    "migration.toml": """
[command]
expand = ["./migrate", "ALTER TABLE users ADD COLUMN IF NOT EXISTS note text"]
contract = ["./migrate", "ALTER TABLE users DROP COLUMN IF EXISTS last_name"]
revert = ["./migrate", "ALTER TABLE users DROP COLUMN IF EXISTS note"]
unjudged = "a test"
"""
}
MIGRATE = f"""#!/bin/sh
echo "$1" >> ran
exec {shutil.which("psql")} -X -q -v ON_ERROR_STOP=1 "$DATABASE_URL" -c "$1"
"""


def migration(toml: str = "", **files: str) -> Migration:
    return parse(NAME, {"migration.toml": toml or HALVES["migration.toml"], **{f"{file}.sql": text for file, text in files.items()}}, NAME)


@pytest.fixture
def users(base: Base) -> Base:
    with base.connect() as db:
        db.execute("CREATE TABLE users (id int PRIMARY KEY, first_name text, last_name text)")
    return base


@pytest.fixture
def place(users: Base, tmp_path: Path) -> Home:
    """A version's directory, with a program that runs SQL, and notes what it ran."""
    script(tmp_path, MIGRATE)
    return at(tmp_path, users.url)


def script(directory: Path, text: str) -> None:
    (directory / "migrate").write_text(text)
    (directory / "migrate").chmod(0o755)


def at(directory: Path, url: str, env: dict[str, str] = {}, env_file: dict[str, str] = {}, **values: str) -> Home:
    secrets = {"base": {"PATH": os.environ["PATH"], "HOME": str(directory), **env_file}, "values": values}
    return home_of("1.1", {"directory": str(directory), "env": env, "user": ""}, secrets, url)


def ran(place: Home) -> list[str]:
    file = Path(place.directory, "ran")
    return file.read_text().splitlines() if file.exists() else []


def columns(users: Base) -> list[str]:
    with users.connect() as db:
        return [str(name) for (name,) in db.execute("SELECT column_name FROM information_schema.columns WHERE table_name = 'users' ORDER BY ordinal_position")]


def test_a_migration_of_commands_goes_there_and_contracts(users: Base, place: Home) -> None:
    """A command (Flyway, Liquibase, goose...), each with its expand and contract half."""
    schema = Schema(users.open())
    assert schema.expand([migration()], "shop", 2, {}, {}, place) == [NAME]
    assert schema.expand([migration()], "shop", 3, {}, {}, place) == []
    assert columns(users) == ["id", "first_name", "last_name", "note"]
    schema.contract(NAME, home=place)
    assert columns(users) == ["id", "first_name", "note"]
    assert schema.contracted() == [NAME]
    assert len(ran(place)) == 2


def test_a_command_that_drops_the_ledger_does_not_make_bleen_forget_what_is_contracted(users: Base, place: Home) -> None:
    """The truth about the schema is a ledger table in the database itself: a tool that compares takes its tables for what its models have no more."""
    told: list[str] = []
    schema = Schema(users.open(), told.append)
    drops = HALVES["migration.toml"].replace("IF EXISTS last_name", "last_name; DROP TABLE bleen_migration, bleen_step, bleen_environment")
    schema.expand([migration(drops)], "shop", 2, {"blue-2": frozenset([NAME])}, {"blue-2": "1.1"}, place)
    schema.contract(NAME, home=place)
    assert schema.contracted() == [NAME]
    assert [each.version for each in schema.ledger.environments()] == ["1.1"]
    assert any("bleen_environment is there again: that is bleen's ledger; take it out of what the tool drops" in each for each in told)


@pytest.mark.parametrize(("ends", "comes"), [("killed", "a release"), ("its connection lost", "a person"), ("killed", "a plan of another service")])
def test_a_ledger_that_a_command_drops_is_written_back_by_whoever_comes_after_a_person_who_ended_meanwhile(
    users: Base, place: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], ends: str, comes: str
) -> None:
    """ "The truth about the schema is a ledger table in the database itself": an empty one would let in a version that needs what is contracted."""
    monkeypatch.setenv("BLEEN_STATE", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    (described := tmp_path / "bleen.yaml").write_text(
        "service: shop\nplatform: {process: {command: [sh], directory: ., ports: 20000-20009}}\n"
        f"router: {{haproxy: {{listen: 127.0.0.1:20010, preview: 127.0.0.1:20011}}}}\ndatabase: {{url: '{users.url}', migrations: migrations}}\n"
    )
    secrets, around = tmp_path / "secrets.json", {"service": "shop", "window": "", "environments": []}
    secrets.write_text(json.dumps({"database": {"url": users.url}}))
    drops = HALVES["migration.toml"].replace("IF EXISTS last_name", "IF EXISTS last_name; DROP TABLE IF EXISTS bleen_migration, bleen_step, bleen_environment")
    schema = Schema(users.open())
    schema.expand([migration(drops)], "shop", 2, {}, {}, place)
    script(tmp_path, MIGRATE.replace("exec ", "") + "touch dropped\nexec sleep 60\n")
    pid = fork(lambda: main(["migrate", "contract", "--yes", "--because", "a test"]))
    until("the ledger is gone", (tmp_path / "dropped").exists)
    if ends == "killed":
        os.kill(pid, signal.SIGKILL)
    else:
        schema.server.rows("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'bleen migrate shop'")
    os.waitpid(pid, 0)
    assert not schema.ledger.there()
    capsys.readouterr()
    if comes == "a release":
        spec = {"do": "tidy", "key": "", "service": "shop", "secrets": str(secrets), "patience": 0, "around": around}
        main_of_errand(spec, tmp_path / "tidy-report.json")
    elif comes == "a person":
        main(["migrate", "status"])
    else:
        monkeypatch.setenv("BLEEN_STATE", str(tmp_path / "another"))
        (tmp_path / "till.yaml").write_text(described.read_text().replace("service: shop", "service: till"))
        main(["plan", "1.0", "-f", "till.yaml"])
    if comes != "a plan of another service":
        assert "what a command has dropped of bleen_migration, bleen_step, bleen_environment is there again" in capsys.readouterr().out
    assert [(each.name, each.state) for each in schema.ledger.entries()] == [(NAME, State.CONTRACTING)]
    script(tmp_path, MIGRATE)
    assert main(["migrate", "contract", "--yes", "--because", "a test"]) == 0
    assert schema.contracted() == [NAME]


def test_a_migration_of_commands_goes_back_and_there_again(users: Base, place: Home) -> None:
    schema = Schema(users.open())
    schema.expand([migration()], "shop", 2, {}, {}, place)
    schema.revert(NAME, place)
    assert columns(users) == ["id", "first_name", "last_name"]
    assert schema.ledger.entries() == []
    assert schema.expand([migration()], "shop", 3, {}, {}, place) == [NAME]
    assert columns(users)[-1] == "note"


def test_files_of_sql_come_behind_the_command(users: Base, place: Home) -> None:
    """The command's expand, then expand.sql, backfill; contract.sql, then the command's contract."""
    schema = Schema(users.open())
    files = {
        "expand": "ALTER TABLE users ALTER COLUMN note SET DEFAULT 'none';",
        "backfill": "UPDATE users SET note = 'filled' WHERE note IS NULL;",
        "contract": "ALTER TABLE users RENAME COLUMN last_name TO surname;",
        "revert": "ALTER TABLE users ALTER COLUMN note DROP DEFAULT;",
    }
    with users.connect() as db:
        db.execute("INSERT INTO users VALUES (1)")
        schema.expand([migration(**files)], "shop", 2, {}, {}, place)
        assert db.execute("SELECT note FROM users").fetchall() == [("filled",)]
    schema.contract(NAME, home=place)
    assert columns(users) == ["id", "first_name", "surname", "note"]


def test_a_command_that_fails_says_so_with_its_last_words_and_what_is_secret_is_hidden(users: Base, place: Home) -> None:
    script(Path(place.directory), "#!/bin/sh\necho 'no such thing as 7' >&2\necho \"the key is $KEY, at $DATABASE_URL\"\nexit 3\n")
    told: list[str] = []
    schema = Schema(users.open(), told.append)
    with pytest.raises(Refused) as refused:
        schema.expand([migration()], "shop", 2, {}, {}, at(Path(place.directory), users.url, {"KEY": "${KEY}"}, KEY="s3cr3t-of-ours"))
    assert f"{NAME}: expand, `./migrate" in str(refused.value)
    assert "ended with 3:\n  no such thing as 7\n  the key is [redacted], at [redacted]" in str(refused.value)
    assert not any("s3cr3t" in each for each in told)
    assert schema.ledger.entries()[0].state is State.EXPANDING
    script(Path(place.directory), MIGRATE)
    assert schema.expand([migration()], "shop", 3, {}, {}, place) == [NAME]


FAILS = "#!/bin/sh\npsql -X -q $DATABASE_URL -c 'BEGIN; ALTER TABLE users DROP COLUMN last_name; {}'\nexit 1\n"
LEAVES = """#!/bin/sh
PGOPTIONS= psql -X -q $DATABASE_URL -c 'BEGIN; ALTER TABLE users DROP COLUMN last_name; SELECT pg_sleep(2); COMMIT' &
there="SELECT 1 FROM pg_stat_activity WHERE query LIKE '%sleep(2)%' AND pid <> pg_backend_pid()"
while [ -z "$(psql -X -A -t $DATABASE_URL -c "$there")" ]; do sleep 0.05; done
exit 1
"""
"""The server carries out all of what it was sent, also when nobody waits for it any more."""


@pytest.mark.parametrize(
    ("script_of", "said", "pending"),
    [
        ("", r"\[command\] contract: './migrate' is no program", True),
        (FAILS.format("ROLLBACK"), "ended with 1", True),
        (FAILS.format("COMMIT"), "ended with 1:(?s:.*)part of the old shape may be gone already: `bleen migrate contract 0007_note` goes on", False),
        (LEAVES, "ended with 1(?s:.*)may be gone already", False),
    ],
    ids=["never started", "rolled back", "committed", "committed when it had ended"],
)
def test_a_contract_whose_command_failed_before_it_took_anything_away_is_pending(users: Base, place: Home, script_of: str, said: str, pending: bool) -> None:
    """So is one that failed before it took anything away."""
    schema = Schema(users.open())
    schema.expand([migration()], "shop", 2, {}, {}, place)
    Path(place.directory, "migrate").unlink()
    if script_of:
        script(Path(place.directory), script_of)
    with pytest.raises(Refused, match=said):
        schema.contract(NAME, home=place)
    script(Path(place.directory), MIGRATE)
    assert schema.contracted() == [NAME] * (not pending)
    if pending:
        schema.revert(NAME, place)
        assert columns(users) == ["id", "first_name", "last_name"]
    else:
        schema.contract(NAME, home=place)
        assert columns(users) == ["id", "first_name", "note"]


def test_a_release_whose_contract_took_a_part_away_names_the_verb_that_drives_it_on(users: Base, place: Home) -> None:
    schema = Schema(users.open())
    schema.expand([migration()], "shop", 2, {}, {}, place)
    script(Path(place.directory), FAILS.format("COMMIT"))
    secrets = Path(place.directory, "secrets.json")
    secrets.write_text(json.dumps({"base": dict(place.env), "values": {}, "database": {"url": users.url}}))
    settings = {"version": "1.1", "directory": place.directory, "env": {}, "user": ""}
    around = {"service": "shop", "window": "", "environments": []}
    with pytest.raises(Refused, match="may be gone already: `bleen resume` goes on"):
        contract(schema, {"auto": True, "around": around, "home": settings, "secrets": str(secrets), "patience": 60.0})


def test_a_command_that_cannot_be_started_is_refused_before_the_statements_that_go_before_it(users: Base, place: Home) -> None:
    schema = Schema(users.open())
    schema.expand([migration(contract="ALTER TABLE users DROP COLUMN first_name;")], "shop", 2, {}, {}, place)
    Path(place.directory, "migrate").unlink()
    with pytest.raises(Refused, match="is no program"):
        schema.contract(NAME, home=place)
    assert "first_name" in columns(users)
    assert schema.contracted() == []


@pytest.mark.parametrize(
    ("url", "passwords"),
    [
        ("postgresql://owner:p[w@127.0.0.1:24300/shop", ["p[w", "p%5Bw"]),
        ("postgresql://u:p%40ssw0rd@h/db", ["p%40ssw0rd", "p@ssw0rd"]),
        ("postgresql://u:wh?t#so@[::1]:5432/db?sslmode=require", ["wh?t#so"]),
        ("postgresql://h/db?user=u&password=s3cr%65tpw&sslpassword=0ther", ["s3cr%65tpw", "s3cretpw", "0ther"]),
        ("mysql://u:p%2Fw@h/db", ["p%2Fw", "p/w"]),
        ("sqlite:////srv/shop.db", []),
    ],
)
def test_no_password_of_a_url_is_told_however_it_is_written(tmp_path: Path, url: str, passwords: list[str]) -> None:
    hidden = Redaction(at(tmp_path, url).hidden)
    for each in (url, *passwords):
        assert hidden.clean({"line": f"no entry for <{each}>"})["line"] == "no entry for <[redacted]>"


@pytest.mark.parametrize(
    ("value", "printed", "shown"),
    [
        ("canary-of-env-file", "a canary-of-env-file", "a [redacted]"),
        ("abcdefghijklmnop", "abcdefghijklmnop", "[redacted]"),
        ("-- BEGIN KEY --\nMIIEvAIBADANBgkqhkiG9w0BAQ\n-- END KEY --", "MIIEvAIBADANBgkqhkiG9w0BAQ", "[redacted]"),
        ("redis://:s3cret-of-ours@cache:6379", "not s3cret-of-ours", "not [redacted]"),
        *((ordinary, f"it is {ordinary}", f"it is {ordinary}") for ordinary in ("", "true", "8080", "production", "http://localhost:8080", "127.0.0.1:5432")),
    ],
)
def test_what_env_file_gives_is_hidden_where_it_is_neither_short_nor_ordinary(tmp_path: Path, value: str, printed: str, shown: str) -> None:
    """ "Reports redact [...] what `env_file` gives and is neither short nor ordinary" """
    hidden = Redaction(at(tmp_path, "sqlite:///shop.db", env_file={"GIVEN": value}).hidden)
    assert hidden.clean({"line": printed})["line"] == shown


@pytest.mark.parametrize("name", ["DB_PASSWORD", "SESSION_SECRET", "GITHUB_TOKEN", "API_KEY", "key"])
def test_a_variable_whose_name_says_that_it_is_a_secret_is_hidden_however_ordinary(tmp_path: Path, name: str) -> None:
    hidden = Redaction(at(tmp_path, "sqlite:///shop.db", env_file={name: "letmein", f"{name}_KEY": "1", "KEYBOARD": "german"}).hidden)
    assert hidden.clean({"line": "letmein, 1 german"})["line"] == "[redacted], 1 german"


def test_a_command_that_is_not_there_says_where_it_was_looked_for(users: Base, place: Home) -> None:
    Path(place.directory, "migrate").unlink()
    toml = JUDGED.format(sql='"true"').replace('"sh"', '"nobodys-alembic"')
    with pytest.raises(Refused, match=r"migration.toml: \[command\] sql: 'nobodys-alembic' is no .*; put it there, .* ends in bin/nobodys-alembic"):
        allowed(Schema(users.open()), "1.1", [migration(toml)], place)
    with pytest.raises(Refused) as refused:
        Schema(users.open()).expand([migration()], "shop", 2, {}, {}, place)
    assert f"{NAME}/migration.toml: [command] expand: './migrate' is no program that can be executed in {place.directory}; put it there" in str(refused.value)
    with pytest.raises(Refused, match=r"gone is not a directory; the version's files are expected there$"):
        Schema(users.open()).expand([migration()], "shop", 2, {}, {}, at(Path(place.directory, "gone"), users.url))


def test_a_command_waits_for_a_lock_no_longer_than_a_statement_and_is_run_again(users: Base, place: Home) -> None:
    """DDL with `lock_timeout` (100 ms) and bounded, jittered retries that name the blocking session."""
    schema, told = Schema(users.open()), list[str]()
    with users.connect(application_name="reader", idle_in_transaction_session_timeout="20s") as reader, reader.transaction():  # not for ever
        reader.execute("SELECT FROM users")
        freed = threading.Event()

        def heard(text: str) -> None:
            told.append(text)
            if "tries again" in text and not freed.is_set():
                freed.set()
                reader.execute("COMMIT")

        schema = Schema(schema.server, heard)
        schema.expand([migration()], "shop", 2, {}, {}, place)
    (again,) = [each for each in told if "tries again" in each]
    assert "a lock was not given within 100 ms; in the way: backend" in again
    assert "(reader, postgres, idle in transaction): SELECT FROM users" in again
    assert len(ran(place)) == 2


def test_a_lock_that_was_not_given_is_found_in_all_that_a_command_says(users: Base, place: Home) -> None:
    long = "#!/bin/sh\n[ -e again ] && exec psql -X $DATABASE_URL -c 'SELECT 1'\ntouch again\necho 'canceling statement due to lock timeout'\nseq 100\nexit 1\n"
    script(Path(place.directory), long)
    assert Schema(users.open()).expand([migration()], "shop", 2, {}, {}, place) == [NAME]


def test_a_command_that_was_not_given_a_lock_and_ends_with_0_has_not_done_its_half(users: Base, place: Home) -> None:
    script(Path(place.directory), MIGRATE.replace("-v ON_ERROR_STOP=1", "").replace("exec ", "") + "echo done\n")
    schema = Schema(users.open())
    with users.connect(application_name="reader", idle_in_transaction_session_timeout="20s") as reader, reader.transaction():
        reader.execute("SELECT FROM users")
        with pytest.raises(Refused, match=r"ended with 0, and yet it says: ERROR:  canceling statement due to lock timeout.*have it end at its first error"):
            schema.expand([migration()], "shop", 2, {}, {}, place)
    assert schema.ledger.entries()[0].state is State.EXPANDING
    assert schema.expand([migration()], "shop", 2, {}, {}, place) == [NAME]
    assert columns(users)[-1] == "note"


def test_a_word_of_lock_timeouts_is_no_lock_that_was_not_given(users: Base, place: Home) -> None:
    script(Path(place.directory), "#!/bin/sh\necho 'lock timeout: 100ms'\nexec psql -X $DATABASE_URL -c 'SELECT 1'\n")
    assert Schema(users.open()).expand([migration()], "shop", 2, {}, {}, place) == [NAME]


ELSEWHERE = '#!/bin/sh\necho "$1" >> ran\nexec psql -X -q -v ON_ERROR_STOP=1 "$SITE" -c "$1"\n'
"""A tool whose settings do not read DATABASE_URL; one that overrides PGOPTIONS, too."""
DEAF = ELSEWHERE.replace("psql", "env PGOPTIONS='-c search_path=public' psql")


@pytest.mark.parametrize("tool", [ELSEWHERE, DEAF.replace('"$SITE"', "$DATABASE_URL"), DEAF], ids=["elsewhere", "by DATABASE_URL", "elsewhere, deaf"])
def test_a_rehearsal_s_command_does_not_come_to_the_database_itself(users: Base, place: Home, tool: str) -> None:
    """A command that connects by settings of its own; one that is deaf to PGOPTIONS too is at least not sent there again, to undo it."""
    script(Path(place.directory), tool)
    with users.server.database(users.name) as name:
        clone = users.server.url(name)
        there = at(Path(place.directory), clone, {"SITE": users.url})
        server = users.open()

        def rehearsed() -> object:
            return rehearse(server, clone, [migration()], lambda schema, some, home: schema.expand(some, "shop", 2, {}, {}, home), there, lambda _: None)

        if "$DATABASE_URL" in tool:
            assert list(rehearsed()) == [NAME]  # type: ignore[call-overload]
        else:
            with pytest.raises(Refused, match=r"on the clone: .*(came to another database|never on the database).*it has to connect by DATABASE_URL"):
                rehearsed()
            assert len(ran(place)) == 1
        server.close()
        assert ("note" in columns(users)) is (tool == DEAF)


def test_a_command_whose_settings_hide_the_short_lock_timeout_is_broken_off(users: Base, place: Home) -> None:
    script(Path(place.directory), DEAF.replace('"$SITE"', "$DATABASE_URL"))
    schema = Schema(users.open())
    impatient = migration()._replace(locks=Locks(patience=0.5))
    with users.connect(application_name="reader", idle_in_transaction_session_timeout="20s") as reader, reader.transaction():
        reader.execute("SELECT FROM users")
        with pytest.raises(Refused, match=r"in the way: backend .*; its own settings override PGOPTIONS, have them say -c lock_timeout=100ms"):
            schema.expand([impatient], "shop", 2, {}, {}, place)
    assert schema.expand([migration()], "shop", 2, {}, {}, place) == [NAME]


def test_options_in_the_url_do_not_hide_the_short_lock_timeout(users: Base, place: Home) -> None:
    shown = '[command]\nexpand = ["sh", "-c", "psql -XAt \\"$DATABASE_URL\\" -c \'SHOW lock_timeout\' -c \'SHOW work_mem\' > shown"]\nunjudged = "a test"\n'
    for url in (users.url, users.server.url(users.name, work_mem="5MB")):
        schema = Schema(users.open())
        schema.expand([migration(shown, revert="-- bleen: irreversible a test")], "shop", 2, {}, {}, at(Path(place.directory), url))
        assert Path(place.directory, "shown").read_text().splitlines()[0] == "100ms"
        with users.connect() as db:
            db.execute("DELETE FROM bleen_migration")
            db.execute("DELETE FROM bleen_step")
    assert Path(place.directory, "shown").read_text().splitlines()[1] == "5MB"


SLOW = """#!/bin/sh
echo "$1" >> ran
psql -X -q "$DATABASE_URL" -c "BEGIN; ALTER TABLE users ADD COLUMN half text; SELECT pg_sleep(600); COMMIT" &
setsid sh -c 'echo $$ > escaped; exec sleep 600' &
wait
"""


def test_who_runs_a_command_is_killed_and_the_command_ends_and_is_run_again(users: Base, place: Home) -> None:
    """kill -9 in the middle: nothing of the command goes on, and the next run ends where the first would have."""
    script(Path(place.directory), SLOW)
    pid = fork(lambda: Schema(users.open()).expand([migration()], "shop", 2, {}, {}, place))
    with users.connect() as db:
        until("the command is at work", lambda: Path(place.directory, "escaped").exists() and bool(_sleeping(db)))
        escaped = find(int(Path(place.directory, "escaped").read_text()))
        assert escaped is not None
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        until("what the command had started is gone", lambda: not escaped.alive)
        script(Path(place.directory), MIGRATE)
        assert Schema(users.open()).expand([migration()], "shop", 2, {}, {}, place) == [NAME]
        assert _sleeping(db) == []
    assert columns(users) == ["id", "first_name", "last_name", "note"]


@pytest.mark.parametrize("half", PARTS)
def test_a_command_that_was_done_and_not_recorded_is_run_again(users: Base, place: Home, half: Half) -> None:
    """A command must be repeatable: it was killed between its end and the ledger's row."""
    schema = Schema(users.open())
    schema.expand([migration()], "shop", 2, {}, {}, place)
    if half == "contract":
        schema.contract(NAME, home=place)
    if half == "revert":
        schema.revert(NAME, place)
        schema.ledger.begin(migration(), "shop", 2)
        schema.ledger.note([*schema.ledger.mark(NAME, *step("expand"), True), *schema.ledger.mark(NAME, *step("revert"), False)])
    with users.connect() as db:
        db.execute("UPDATE bleen_migration SET state = %s", [{"expand": "expanding", "contract": "contracting", "revert": "reverting"}[half]])
        db.execute("UPDATE bleen_step SET done = 0 WHERE part = 'command' AND number = %s", [step(half)[1]])
    if half == "expand":
        assert schema.expand([migration()], "shop", 2, {}, {}, place) == [NAME]
    elif half == "contract":
        schema.contract(NAME, home=place)
        assert schema.contracted() == [NAME]
    else:
        schema.revert(NAME, place)
        assert schema.ledger.entries() == []
    assert ran(place)[-1] == ran(place)[-2]


def _sleeping(db: "psycopg.Connection[Any]") -> list[Any]:
    return db.execute(
        "SELECT pid FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)%' AND pid <> pg_backend_pid() AND datname = current_database()"
    ).fetchall()


def test_a_command_ends_when_the_database_lets_its_lock_go(users: Base, place: Home) -> None:
    """One advisory lock per database, so that two releases never interleave."""
    script(Path(place.directory), SLOW)
    server = users.open()
    failed: list[BaseException] = []

    def expand() -> None:
        try:
            Schema(server).expand([migration()], "shop", 2, {}, {}, place)
        except BaseException as error:  # noqa: BLE001 - what it was is asked below
            failed.append(error)

    thread = threading.Thread(target=expand)
    with users.connect() as db:
        thread.start()
        until("the command is at work", lambda: Path(place.directory, "escaped").exists() and bool(_sleeping(db)))
        db.execute("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'")
        thread.join(30)
        assert "the database does not answer" in str(failed[0])
        until("the command is gone", lambda: _sleeping(db) == [])


JUDGED = """
[command]
expand = ["./migrate", "ALTER TABLE users ADD COLUMN IF NOT EXISTS note text"]
revert = ["./migrate", "ALTER TABLE users DROP COLUMN IF EXISTS note"]
sql = ["sh", "-c", {sql}]
"""


@pytest.mark.parametrize(
    ("prints", "said"),
    [
        ("BEGIN;\n\nALTER TABLE users ALTER COLUMN id TYPE bigint;\nCOMMIT;", r"prints:3:1: \[change-type\]"),
        ("CREATE INDEX CONCURRENTLY a ON users (id);", "prints:1:1: CREATE INDEX CONCURRENTLY a ON users .id.: cannot be gone on with"),
        ("-- THIS OPERATION CANNOT BE WRITTEN AS SQL", "prints:1: is not all that it does"),
        ("-- nothing", "there is no statement in it"),
        ("ALTER TABEL users", "prints:1:7: "),
        ("SELECT 1' >&2; exit 3 #", "it ended with 3:\n  SELECT 1"),
    ],
)
def test_what_the_sql_command_prints_is_judged_by_the_rules(users: Base, place: Home, prints: str, said: str) -> None:
    judged = migration(JUDGED.format(sql=json.dumps(f"printf '%s' '{prints}'")))
    with pytest.raises(UserError, match=said):
        allowed(Schema(users.open()), "1.1", [judged], place)


ADDS, VALIDATES = "ALTER TABLE users ADD CONSTRAINT c CHECK (id > 0) NOT VALID;\n", "ALTER TABLE users VALIDATE CONSTRAINT c;\n"


@pytest.mark.parametrize(
    ("prints", "late"),
    [
        (f"BEGIN;\n{ADDS}{VALIDATES}COMMIT;", 3),
        (f"{ADDS}{VALIDATES}", 2),  # of a tool that begins its own
        (f"BEGIN;\n{ADDS}COMMIT;\nBEGIN;\n{VALIDATES}COMMIT;", 0),
        (f"BEGIN;\nUPDATE alembic_version SET version_num = 7;\n{VALIDATES}{VALIDATES}ALTER TABLE users ADD COLUMN note text;\nCOMMIT;", 0),
        (f"BEGIN;\nCREATE TABLE own (id int);\n{ADDS}{VALIDATES}COMMIT;".replace("users", "own"), 0),
    ],
)
def test_what_a_command_validates_it_validates_under_no_other_lock(users: Base, place: Home, prints: str, late: int) -> None:
    """Validated in a statement of its own, which locks nobody out: in a command, that is a transaction of its own."""
    judged = migration(JUDGED.format(sql=json.dumps(f"printf '%s' '{prints}'")))
    with pytest.raises(UserError, match=rf"prints:{late}:\d+: \[validate-alone\] .*put it in expand.sql") if late else nullcontext():
        allowed(Schema(users.open()), "1.1", [judged], place)


def test_what_is_fit_passes_and_the_tool_s_own_book_is_no_matter(users: Base, place: Home) -> None:
    prints = "BEGIN;\nALTER TABLE users ADD COLUMN note text;\nUPDATE alembic_version SET version_num = 7 WHERE version_num = 6;\nCOMMIT;"
    allowed(Schema(users.open()), "1.1", [migration(JUDGED.format(sql=json.dumps(f"printf '%s' '{prints}'")))], place)


def test_a_rule_is_allowed_by_name_and_with_a_reason(users: Base, place: Home) -> None:
    toml = JUDGED.format(sql=json.dumps("echo 'ALTER TABLE users ALTER COLUMN id TYPE bigint;'")) + 'allow = { change-type = "it is empty" }\n'
    allowed(Schema(users.open()), "1.1", [migration(toml)], place)
    with pytest.raises(UserError, match=r"there is no rule change-typ\n.*for what a command prints, `COMMAND \| bleen migrate lint"):
        allowed(Schema(users.open()), "1.1", [migration(toml.replace("change-type", "change-typ"))], place)


SYNC = """
contract = ["./migrate", "SELECT 1"]
unjudged = "a test"
[[sync]]
table = "users"
old = ["first_name"]
new = ["note"]
forward = { note = "first_name" }
backward = { first_name = "note" }
on_conflict = "new"
"""


def test_columns_that_are_kept_in_step_go_in_contract_sql_and_not_by_a_command(users: Base, place: Home) -> None:
    """The sync of a pair ends in the transaction in which its columns go."""
    toml = (
        HALVES["migration.toml"]
        .replace('unjudged = "a test"\n', "")
        .replace('contract = ["./migrate", "ALTER TABLE users DROP COLUMN IF EXISTS last_name"]\n', "")
    )
    schema = Schema(users.open())
    with pytest.raises(UserError, match=r"users \(first_name\) is kept in step, and a command drops it"):
        allowed(schema, "1.1", [migration(toml + SYNC)], place)
    allowed(schema, "1.1", [migration(toml + SYNC, contract="ALTER TABLE users DROP COLUMN first_name;")], place)


def test_an_expand_command_has_a_way_back_or_says_why_not(users: Base, place: Home) -> None:
    toml = '[command]\nexpand = ["./migrate", "SELECT 1"]\nunjudged = "a test"\n'
    schema = Schema(users.open())
    with pytest.raises(UserError, match=r"\[irreversible\] the expand command has no way back"):
        allowed(schema, "1.1", [migration(toml)], place)
    allowed(schema, "1.1", [migration(toml, revert="-- bleen: irreversible a test")], place)
    schema.expand([migration(toml)], "shop", 2, {}, {}, place)
    with pytest.raises(Refused, match="no command undoes that of its expand"):
        schema.revert(NAME, place)


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ('expand = ["a"]', "expand wants sql"),
        ('expand = ["a"]\nsql = ["b"]\nunjudged = "c"', "and not both"),
        ("", "names no command"),
        ('contract = ["a"]\nrevert = ["b"]', "there is none"),
        ('expand = "a b"', "expand is 'a b'"),
        ('expand = ["a", 1]', "expand is a command as a list of words"),
        ('expand = ["a"]\nunjudged = "b"\nallow = { lock-table = "" }', "allow gives each rule a reason"),
    ],
)
def test_a_command_that_is_wrong_is_refused_with_the_way_out(toml: str, said: str) -> None:
    with pytest.raises(UserError, match=rf"migration\.toml: \[command\]: .*{said}"):
        migration(f"[command]\n{toml}\n")


def test_what_the_command_of_a_contract_takes_away_is_told_to_be_unknown(users: Base) -> None:
    with_expand = 'expand = ["alembic", "upgrade", "a"]\nrevert = ["alembic", "downgrade", "z"]\nunjudged = "old"'
    commands = {"expand": with_expand, "contract": 'contract = ["alembic", "upgrade", "a b"]'}
    halves = {half: parse("0007_x", {"migration.toml": f"[command]\n{said}\n"}, "x") for half, said in commands.items()}
    said = {half: [each for each in Foresight(Schema(users.open())).risks(made) if "bleen does not know" in each] for half, made in halves.items()}
    assert said["expand"] == []
    assert said["contract"][0].startswith("0007_x: what `alembic upgrade 'a b'` takes away in contract, bleen does not know, and nothing brings it back")


def test_an_expand_does_not_run_the_contract_of_an_earlier_migration_with_it(users: Base, place: Home) -> None:
    """Contract after the window, and blue is idle: a tool with one line of revisions would run it on the way to the next one."""
    schema, next_one = Schema(users.open()), HALVES["migration.toml"].replace("note", "more")
    schema.expand([migration()], "shop", 2, {}, {}, place)
    later, apart = (parse("0008_more", {"migration.toml": toml}, "0008_more") for toml in (next_one, next_one + "branched = true"))
    with pytest.raises(UserError, match="the contract of 0007_note is pending, and a tool with one line of revisions would run it now"):
        allowed(schema, "1.2", [migration(), later], place)
    with pytest.raises(Refused, match="the contract of 0007_note is pending"):
        schema.expand([later], "shop", 3, {}, {}, place)
    schema.revert("0008_more", place)
    allowed(schema, "1.2", [migration(), apart], place)
    schema.contract(NAME, home=place)
    allowed(schema, "1.2", [migration(), later], place)
    assert schema.expand([later], "shop", 3, {}, {}, place) == ["0008_more"]


FIRST = '[command]\nexpand = ["./migrate", "CREATE TABLE IF NOT EXISTS users (id int PRIMARY KEY, last_name text)"]\nunjudged = "a test"\n'
LATER = '[command]\nexpand = ["./migrate", "ALTER TABLE users ADD COLUMN IF NOT EXISTS more text"]\nrevert = ["true"]\nunjudged = "a test"\n'


def three() -> list[Migration]:
    """What makes the table; what has a contract; and one whose expand would run that."""
    first = parse("0001_users", {"migration.toml": FIRST, "revert.sql": "-- bleen: irreversible it is the first\n"}, "0001_users")
    return [first, migration(), parse("0008_more", {"migration.toml": LATER}, "0008_more")]


def test_on_a_database_that_is_bare_a_contract_does_not_wait_for_versions_that_were_never_there(base: Base, tmp_path: Path) -> None:
    """On a database that held no table, nobody has ever needed the old shape: what a later expand would run is contracted before it, wherever it was killed."""
    script(tmp_path, MIGRATE.replace("exec ", 'case "$1" in *more*) [ -e go ] || exit 1;; esac\nexec '))
    schema, place = Schema(base.open()), at(tmp_path, base.url)
    ships = {"blue-1": frozenset(m.name for m in three())}
    allowed(schema, "1.2", three(), place)
    with pytest.raises(Refused, match="ended with 1"):
        schema.expand(three(), "shop", 1, ships, {}, place)
    assert schema.contracted() == [NAME]
    (tmp_path / "go").touch()
    allowed(schema, "1.2", three(), place)
    assert schema.expand(three(), "shop", 1, ships, {}, place) == ["0008_more"]
    assert columns(base) == ["id", "note", "more"]


@pytest.mark.parametrize("there", ["a table", "a version that lacks it", "one that came first"])
def test_a_contract_waits_where_somebody_may_need_the_old_shape(base: Base, tmp_path: Path, there: str) -> None:
    script(tmp_path, MIGRATE)
    schema, place, ships = Schema(base.open()), at(tmp_path, base.url), frozenset(m.name for m in three())
    old = {"green-1": frozenset({"0001_users"})} if there == "a version that lacks it" else {}
    if there == "a table":
        schema.server.rows("CREATE TABLE users (id int)")
    if there == "one that came first":
        schema.expand(three()[:1], "shop", 1, {"blue-1": frozenset({"0001_users"})}, {}, place)
        with pytest.raises(UserError, match="release a version first that ships 0007_note and not 0008_more, and contract it, or say branched"):
            allowed(schema, "1.2", three(), place)
    with pytest.raises(Refused, match="the contract of 0007_note is pending"):
        schema.expand(three(), "shop", 2, {**old, "blue-2": ships}, {}, place)
    assert schema.contracted() == []


@pytest.mark.parametrize(
    ("expand", "service", "refused"),
    [
        ('["./migrate", "ALTER TABLE users ADD COLUMN more text"]', "shop", True),
        ('["./migrate", "ALTER TABLE users ADD COLUMN more text"]', "blog", False),
        ('["sh", "-c", "./migrate \'SELECT 1\'"]', "shop", False),
    ],
)
def test_a_command_does_not_go_back_past_a_later_one_of_the_same_tool(users: Base, place: Home, expand: str, service: str, refused: bool) -> None:
    """`revert` refuses while a later migration builds on it: `alembic downgrade REVISION` takes back all that is behind it in its line."""
    schema = Schema(users.open())
    toml = f'[command]\nexpand = {expand}\nrevert = ["./migrate", "SELECT 1"]\nunjudged = "a test"\n'
    schema.expand([migration(HALVES["migration.toml"].replace("contract", "# contract"))], "shop", 2, {}, {}, place)
    schema.expand([parse("0008_more", {"migration.toml": toml}, "0008_more")], service, 3, {}, {}, place)
    if refused:
        with pytest.raises(Refused, match="0007_note made what 0008_more builds on: `bleen migrate revert 0008_more` first"):
            schema.revert(NAME, place)
        schema.revert("0008_more", place)
    schema.revert(NAME, place)
    assert "note" not in columns(users)


def test_new_writes_a_template_for_any_other_command(users: Base, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`bleen migrate new NAME --command`: what is filled in, is read."""
    assert main(["migrate", "new", "note", "--command", "--to", str(tmp_path)]) == 0
    text = (tmp_path / "0001_note" / "migration.toml").read_text()
    written = "\n".join(line.removeprefix("# ") for line in text.splitlines() if not line.startswith(("# The tool", "# unjudged")))
    assert parse(NAME, {"migration.toml": written}, NAME).command.contract == ("./migrate", "up", "8")
    with pytest.raises(UserError, match=r"nothing is written in it yet: fill in 0007_note/migration\.toml"):
        allowed(Schema(users.open()), "1.1", [parse(NAME, {"migration.toml": text}, NAME)])


@pytest.mark.parametrize("words", [["--alembic=1a"], ["--alembic=1a::2b"], ["--django=shop:1"], ["--command", "--alembic=1a:2b"]])
def test_new_refuses_what_it_cannot_write(tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["migrate", "new", "note", *words, "--to", str(tmp_path / "to")]) == 2
    assert not (tmp_path / "to").exists()
