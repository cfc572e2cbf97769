"""The article's example as its users have it, two files of SQL, imported and released with users on both versions."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_migrating import Registry

import databases
import people
from bleen.cli import main
from bleen.testing.site import until

ADDS = """\
-- Add new column, keep old one
ALTER TABLE people ADD COLUMN full_name VARCHAR(255);
-- Backfill new column
UPDATE people SET full_name = first_name || ' ' || last_name;
"""
DROPS = """\
-- Now safe to remove old columns
ALTER TABLE people DROP COLUMN first_name;
ALTER TABLE people DROP COLUMN last_name;
"""


@pytest.fixture
def shop(tmp_path: Path, oldest: databases.Postgres) -> Iterator[Registry]:
    """Version 1.0 is up and serves; 1.1 is there, without its migrations."""
    with oldest.database() as name:
        with oldest.connect(name) as db:
            db.execute(people.TABLE)
            db.execute("INSERT INTO people (first_name, last_name) SELECT 'A' || n, 'B' || n FROM generate_series(1, 200) n")
        with Registry(tmp_path, "haproxy", oldest.url(name)) as shop:
            shop.settings["platform"]["process"]["command"] = [sys.executable, "app.py", "--port", "{port}", "--version", "{version}"]
            shop.configure()
            shop.put("1.0", "old")
            shop.put("1.1", "new")
            shop.bleen("up")
            shop.bleen("deploy", "1.0")
            yield shop


def test_two_files_of_sql_are_imported_completed_released_and_contracted(shop: Registry, tmp_path: Path) -> None:
    """The article's own example, ADD COLUMN and a whole-table UPDATE in one file and the DROPs in another, works."""
    (tmp_path / "adds.sql").write_text(ADDS)
    (tmp_path / "drops.sql").write_text(DROPS)
    to = shop.releases / "1.1" / "migrations"
    assert main(["migrate", "import", "--to", str(to), "--name", "full_name", str(tmp_path / "adds.sql"), str(tmp_path / "drops.sql")]) == 0
    said = shop.bleen("plan", "1.1", code=2)
    assert "backward of first_name is not written yet" in said.err
    toml = to / "0001_full_name" / "migration.toml"
    backward = """{ first_name = "split_part(full_name, ' ', 1)", last_name = "split_part(full_name, ' ', 2)" }"""
    toml.write_text(toml.read_text().replace('{ first_name = "", last_name = "" }', backward))
    with people.Users(shop.listen) as users:
        until("1.0 is used", users.seen("1.0"))
        shop.bleen("deploy", "1.1")
        until("1.1 is used", users.seen("1.1"))
        shop.bleen("retire")
        shop.bleen("wait", "--until", "completed")
        assert shop.bleen("migrate", "contract", "--yes", "--json").json["contracted"] == ["0001_full_name"]
        until("1.1 is used after the contract", users.seen("1.1"))
    assert users.failed == []
