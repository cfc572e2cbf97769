"""What statements really do to a scratch database."""

import json
from pathlib import Path

import pytest

from bleen.cli import main
from bleen.database.parser import split
from bleen.database.trace import Traced, trace
from bleen.errors import Refused
from bleen.testing.site import until
from databases import Base

USERS = "CREATE TABLE users (id int PRIMARY KEY, name text); INSERT INTO users SELECT n, 'n' FROM generate_series(1, 100) n"


def traced(base: Base, sql: str) -> list[Traced]:
    with base.connect() as db:
        db.execute(USERS)
    server = base.open()
    until("nobody else is connected", lambda: not server.sessions())
    try:
        return list(trace(server, split(sql)))
    finally:
        server.close()


def test_it_tells_the_strongest_lock_on_each_table_that_was_there(end_base: Base) -> None:
    """`lint --trace` reads the locks really taken."""
    column, key = traced(end_base, "ALTER TABLE users ADD COLUMN note text; CREATE TABLE visits (user_id int REFERENCES users)")
    assert column.locks == {"users": "AccessExclusiveLock"}
    assert (column.rewritten, column.scanned) == ((), ())
    assert key.locks == {"users": "ShareRowExclusiveLock"}
    assert column.findings("f") == key.findings("f") == []


def test_a_table_that_is_written_again_is_found(end_base: Base) -> None:
    """And the tables really rewritten."""
    (each,) = traced(end_base, "ALTER TABLE users ALTER id TYPE bigint")
    assert each.rewritten == ("users",)
    assert [(f.rule, f.line, f.severity) for f in each.findings("expand.sql")] == [("traced-rewrite", 1, "error")]


def test_a_table_that_is_read_under_a_lock_is_found_and_a_validation_is_not(end_base: Base) -> None:
    _, validated, not_null = traced(
        end_base,
        "ALTER TABLE users ADD CONSTRAINT c CHECK (id > 0) NOT VALID; ALTER TABLE users VALIDATE CONSTRAINT c; ALTER TABLE users ALTER name SET NOT NULL",
    )
    assert validated.scanned == ("users",)
    assert validated.findings("f") == []
    assert [f.rule for f in not_null.findings("f")] == ["traced-scan"]


def test_what_the_release_makes_itself_is_free_to_be_read_and_written_again(end_base: Base) -> None:
    """ "A table created in the same release is free to change." """
    made = "CREATE TABLE visits (at int, page text); CREATE INDEX visits_at ON visits (at); ALTER TABLE visits ADD COLUMN c int DEFAULT random() * 3"
    assert [(each.locks, each.findings("f")) for each in traced(end_base, made)] == [({}, [])] * 3


def test_what_the_release_gives_another_name_was_there_before(end_base: Base) -> None:
    _, scan, _, made = traced(end_base, "ALTER TABLE users RENAME TO people; CREATE INDEX i ON people (id); DROP TABLE people; CREATE TABLE users (id int)")
    assert [(each.rule, each.message.split(":")[0]) for each in scan.findings("f")] == [("traced-scan", "reads all of people under ShareLock")]
    assert made.locks == {}


SAFE = """
    CREATE INDEX CONCURRENTLY i ON users (id);
    ALTER TABLE users ADD COLUMN note text;
    ALTER TABLE users ADD CONSTRAINT c CHECK (name IS NOT NULL) NOT VALID;
    ALTER TABLE users VALIDATE CONSTRAINT c;
    ALTER TABLE users ALTER name SET NOT NULL;
    ALTER TABLE users DROP CONSTRAINT c
"""


def test_a_statement_is_not_told_of_what_those_before_it_have_read(end_base: Base) -> None:
    """ "the tables really rewritten": the server counts scans of earlier transactions for up to a second more. The safe way to NOT NULL passes."""
    each = traced(end_base, SAFE)
    assert [(e.scanned, e.findings("f")) for e in each] == [((), []), ((), []), ((), []), (("users",), []), ((), []), ((), [])]


def test_after_a_statement_that_fails_no_other_is_run(end_base: Base) -> None:
    (failed,) = traced(end_base, "ALTER TABLE nobody ADD COLUMN a int; ALTER TABLE users ADD COLUMN a int")
    assert 'relation "nobody" does not exist' in failed.failure
    assert [f.rule for f in failed.findings("f")] == ["traced-failure"]


def test_an_index_that_is_built_concurrently_is_run_too(end_base: Base) -> None:
    (each,) = traced(end_base, "CREATE INDEX CONCURRENTLY i ON users (name)")
    assert each.findings("f") == []
    with end_base.connect() as db:
        assert db.execute("SELECT to_regclass('i') IS NOT NULL").fetchall() == [(True,)]


def test_a_database_that_somebody_uses_is_no_scratch_database(base: Base) -> None:
    server = base.open()
    with base.connect(application_name="shop"), pytest.raises(Refused, match="shop is connected to it"):
        list(trace(server, split("CREATE TABLE a ()")))
    server.close()


def test_the_verb_tells_both_what_the_text_says_and_what_the_server_did(base: Base, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with base.connect() as db:
        db.execute(USERS)
    server = base.open()
    until("nobody else is connected", lambda: not server.sessions())
    server.close()
    (tmp_path / "expand.sql").write_text("ALTER TABLE users ADD COLUMN note text;\nALTER TABLE users ALTER id TYPE bigint;\n")
    assert main(["migrate", "lint", "--trace", base.url, "--json", str(tmp_path / "expand.sql"), "--phase", "expand"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert ("traced-rewrite", 2) in {(each["rule"], each["line"]) for each in found}
    assert any(each["line"] == 2 and not each["rule"].startswith("traced") for each in found)


def test_what_a_trace_finds_is_allowed_like_all_else_and_no_override_of_it_is_unused_without_one(
    base: Base, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """ "Overridable by a comment that names the rule and a reason" """
    with base.connect() as db:
        db.execute(USERS)
    server = base.open()
    until("nobody else is connected", lambda: not server.sessions())
    server.close()
    allowed = "".join(f"-- bleen: allow {rule} it is tiny\n" for rule in ("index-without-concurrently", "traced-scan"))
    (tmp_path / "expand.sql").write_text(
        f"{allowed}CREATE INDEX i ON users (name);\n-- bleen: allow traced-rewrite it is tiny\nALTER TABLE users ADD COLUMN a int;"
    )
    lint = ["migrate", "lint", "--dialect", "postgres", "--phase", "expand", "--json", str(tmp_path / "expand.sql")]
    assert main([*lint, "--trace", base.url]) == 0
    assert [(each["rule"], each["line"]) for each in json.loads(capsys.readouterr().out)] == [("unused-override", 4)]
    assert main(lint) == 0
    assert json.loads(capsys.readouterr().out) == []


@pytest.mark.parametrize("more", [(), ("--dialect", "postgres")])
def test_a_server_of_another_dialect_is_told_before_it_is_asked_anything(more: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "expand.sql").write_text("SELECT 1")
    assert main(["migrate", "lint", *more, "--trace", f"sqlite:///{tmp_path}/a.db", str(tmp_path / "expand.sql")]) == 2
    assert "--trace reads the locks of PostgreSQL; for sqlite there is only the text" in "".join(capsys.readouterr())


def test_the_database_of_a_bleen_yaml_is_no_scratch_database(
    base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bleen.yaml").write_text(
        "service: shop\nplatform: {process: {command: [./app], directory: app}}\n"
        'router: {envoy: {listen: "127.0.0.1:18080", preview: "127.0.0.1:18081"}}\n'
        f'database: {{url: "{base.url}"}}\n'
    )
    Path("expand.sql").write_text("CREATE TABLE pets (id int);")
    assert main(["migrate", "lint", "--trace", base.url, "expand.sql"]) == 2
    assert "it is the database itself: what is traced is really run, and bleen.yaml names this database" in "".join(capsys.readouterr())
    with base.connect() as db:
        assert db.execute("SELECT to_regclass('pets')").fetchall() == [(None,)]
