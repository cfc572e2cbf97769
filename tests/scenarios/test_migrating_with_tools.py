"""A whole release whose schema another tool changes: real Alembic, a real proxy, a real PostgreSQL, and users on both versions."""

import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_migrating import Registry

import databases
import people
from bleen.host import processes
from bleen.testing.site import until

ENV = """
import os, time
from alembic import context
from sqlalchemy import create_engine, make_url

url = make_url(os.environ["DATABASE_URL"]).set(drivername="postgresql+psycopg")
if context.is_offline_mode():
    context.configure(url=url, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()
else:
    print("MOOD is", os.environ["MOOD"], "and it is", os.getpid(), flush=True)
    with create_engine(url).connect() as connection:
        context.configure(connection=connection)
        with context.begin_transaction():
            context.run_migrations()
"""
REVISION = """
from alembic import op
revision, down_revision, branch_labels = {revision!r}, None, ({label!r},)

def upgrade():
    op.execute({up!r})

def downgrade():
    op.execute({down!r})
"""
ALEMBIC = [sys.executable, "-m", "alembic"]
COMMAND = f"""
[command]
expand = {json.dumps([*ALEMBIC, "upgrade", "e1"])}
contract = {json.dumps([*ALEMBIC, "upgrade", "c1"])}
revert = {json.dumps([*ALEMBIC, "downgrade", "expand@base"])}
sql = {json.dumps([*ALEMBIC, "upgrade", "e1", "--sql"])}
branched = true
"""
FILES = {
    "backfill.sql": people.FULL_NAME["backfill.sql"],
    "contract.sql": people.FULL_NAME["contract.sql"],
    "migration.toml": people.FULL_NAME["migration.toml"] + COMMAND,
}
ADD, DROP = "ALTER TABLE people ADD COLUMN full_name text", "ALTER TABLE people DROP COLUMN IF EXISTS full_name"


@pytest.fixture
def registry(tmp_path: Path, oldest: databases.Postgres) -> Iterator[Registry]:
    """Version 1.0 is up; 1.1 is there, with its revisions of Alembic."""
    with oldest.database() as name:
        with oldest.connect(name) as db:
            db.execute(people.TABLE)
            db.execute("INSERT INTO people (first_name, last_name) SELECT 'A' || n, 'B' || n FROM generate_series(1, 1000) n")
        with Registry(tmp_path, "haproxy", oldest.url(name)) as shop:
            process = shop.settings["platform"]["process"]
            process["command"] = [sys.executable, "app.py", "--port", "{port}", "--version", "{version}"]
            process["env"] = {"DATABASE_URL": "postgresql://nobody", "MOOD": "${MOOD}", **process["env"]}
            shop.environ["MOOD"] = "s3cr3t-serenity"
            shop.configure()
            shop.put("1.0", "old")
            shop.put("1.1", "new", {"0007_full_name": FILES})
            revisions = shop.releases / "1.1" / "revisions"
            (revisions / "versions").mkdir(parents=True)
            (shop.releases / "1.1" / "alembic.ini").write_text("[alembic]\nscript_location = revisions\n")
            (revisions / "env.py").write_text(ENV)
            write(shop, ADD)
            shop.bleen("up")
            shop.bleen("deploy", "1.0")
            yield shop


def write(shop: Registry, expand: str) -> None:
    for revision, label, up, down in (("e1", "expand", expand, DROP), ("c1", "contract", "SELECT 1", "SELECT 1")):
        text = REVISION.format(revision=revision, label=label, up=up, down=down)
        (shop.releases / "1.1" / "revisions" / "versions" / f"{revision}.py").write_text(text)


def tools() -> list[int]:
    """The processes of the migration's command."""
    return [pid for pid, name in processes.variables("PGAPPNAME").items() if name == "bleen migrate 0007_full_name"]


def test_a_release_by_alembic_goes_there_and_back_and_contracts_and_nobody_notices(registry: Registry, oldest: databases.Postgres) -> None:
    """Adapters for what people already have: Alembic, with its expand and contract half, as part of `bleen deploy`."""
    assert "`" in registry.bleen("migrate", "plan", "1.1").out
    with people.Users(registry.listen) as users:
        until("1.0 is used", users.seen("1.0"))
        registry.bleen("deploy", "1.1")
        until("1.1 is used", users.seen("1.1"))
        (log,) = registry.place.releases.rglob("expand.log")
        assert "MOOD is [redacted] and it is" in log.read_text()
        assert "s3cr3t" not in log.read_text()
        registry.bleen("rollback")
        until("1.0 is used again", users.seen("1.0"))
        registry.bleen("wait", code=4)
        registry.bleen("deploy", "1.1")
        until("1.1 is used again", users.seen("1.1"))
        registry.bleen("retire")
        registry.bleen("wait", "--until", "completed")
        assert registry.bleen("migrate", "contract", "--yes", "--json").json["contracted"] == ["0007_full_name"]
        until("1.1 is used after the contract", users.seen("1.1"))
    assert users.failed == []
    with oldest.connect(registry.environ["DATABASE_URL"].rpartition("/")[2]) as db:
        kept = {id: tuple(name.split(" ")) for id, name in db.execute("SELECT id, full_name FROM people")}  # type: ignore[attr-defined]
        assert sorted(db.execute("SELECT version_num FROM alembic_version").fetchall()) == [("c1",), ("e1",)]
    assert {id: kept[id] for id in users.known} == users.known


def test_a_release_is_aborted_while_its_command_runs_and_nothing_of_it_goes_on(registry: Registry, oldest: databases.Postgres) -> None:
    """A process group that is killed when the errand is cancelled."""
    name = registry.environ["DATABASE_URL"].rpartition("/")[2]
    asked = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'bleen migrate 0007_full_name' AND wait_event_type = 'Lock'"
    with oldest.connect(name) as reader, oldest.connect(name) as watcher, reader.transaction():
        reader.execute("SELECT FROM people")
        deploy = registry.start("deploy", "1.1")
        until("Alembic waits for a lock", lambda: watcher.execute(asked).fetchall() and tools())
        deploy.signal(signal.SIGTERM)
        deploy.ended(3)
        assert tools() == []
    assert registry.status()["active"]["version"] == "1.0"
    registry.bleen("deploy", "1.1")
    assert registry.status()["active"]["version"] == "1.1"


def test_a_command_that_fails_aborts_the_release_and_the_report_holds_its_last_words(registry: Registry) -> None:
    write(registry, "ALTER TABLE nobody ADD COLUMN note text")
    said = registry.bleen("deploy", "1.1", code=3)
    assert "0007_full_name: expand, `" in said.text
    assert 'relation "nobody" does not exist' in said.text
    assert "s3cr3t" not in said.text


def test_what_the_rules_forbid_in_a_revision_is_refused_before_anything_is_touched(registry: Registry) -> None:
    write(registry, "ALTER TABLE people RENAME COLUMN first_name TO given_name")
    said = registry.bleen("deploy", "1.1", code=2)
    assert "[rename]" in said.err
    assert [each["version"] for each in registry.status()["environments"].values()] == ["1.0"]
