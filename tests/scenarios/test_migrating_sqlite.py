"""A whole release that changes the schema of a SQLite file, with users on both versions and a real proxy."""

import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import people
import people_sqlite
from bleen.testing.site import until
from shop import Shop


@pytest.fixture(params=["wal", "delete"])
def registry(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    """Version 1.0 is up, with a thousand people; 1.1, which brings the migration, is there to be deployed."""
    file = tmp_path / "people.db"
    with sqlite3.connect(file) as db:
        db.execute(f"PRAGMA journal_mode = {request.param}")
        db.execute(people_sqlite.TABLE)
        db.executemany("INSERT INTO people (first_name, last_name) VALUES (?, ?)", [(f"A{n}", f"B{n}") for n in range(1, 1001)])
    db.close()
    command = [sys.executable, "app.py", "--port", "{port}", "--version", "{version}"]
    settings = {
        "process": {"command": command, "env": {"DATABASE_URL": "${DATABASE_URL}"}},
        "database": {"url": "${DATABASE_URL}", "migrations": "releases/{version}/migrations"},
        "drain": "10s",
    }
    with Shop(tmp_path, **settings) as shop:  # type: ignore[arg-type]
        shop.environ["DATABASE_URL"] = f"sqlite:///{file}"
        shop.configure()
        for version, shape in (("1.0", "old"), ("1.1", "new")):
            (shop.releases / version).mkdir()
            app = f"import runpy, sys\nsys.path.insert(0, {str(Path(people.__file__).parent)!r})\nsys.argv[1:] += ['--shape', '{shape}']\n"
            (shop.releases / version / "app.py").write_text(f"{app}runpy.run_module('people_sqlite', run_name='__main__')\n")
        folder = shop.releases / "1.1" / "migrations" / "0007_full_name"
        folder.mkdir(parents=True)
        for name, text in people_sqlite.FULL_NAME.items():
            (folder / name).write_text(text)
        shop.bleen("up")
        shop.bleen("deploy", "1.0")
        yield shop


def test_a_release_changes_a_sqlite_file_goes_back_and_forth_and_contracts_and_nobody_notices(registry: Shop) -> None:
    """The issue: "0 failed statements, 0 failed requests, 0 rows lost or diverged, on PostgreSQL; the same on MariaDB and SQLite as far as plan says"."""
    with people.Users(registry.listen) as users:
        until("1.0 is used", users.seen("1.0"))
        registry.bleen("deploy", "1.1")
        until("1.1 is used", users.seen("1.1"))
        registry.bleen("rollback")
        until("1.0 is used again", users.seen("1.0"))
        registry.bleen("wait", code=4)
        registry.bleen("deploy", "1.1")
        until("1.1 is used again", users.seen("1.1"))
        registry.bleen("migrate", "contract", code=1)
        assert "ago, waits for: the rollback window of release 3 (1.1) is open, for " in registry.bleen("status").out
        registry.bleen("retire")
        registry.bleen("wait", "--until", "completed")
        assert "the rollback window of" not in registry.bleen("status").out, "what is past keeps nothing waiting"
        (pending,) = registry.status()["pending"]
        assert pending["migration"] == "0007_full_name"
        assert registry.bleen("migrate", "contract", "--yes", "--json").json["contracted"] == ["0007_full_name"]
        until("1.1 is used after the contract", users.seen("1.1"))
    assert users.failed == []
    with sqlite3.connect(registry.environ["DATABASE_URL"].removeprefix("sqlite:///")) as db:
        kept = {id: tuple(name.split(" ")) for id, name in db.execute("SELECT id, full_name FROM people")}
    db.close()
    assert {id: kept[id] for id in users.known} == users.known
    assert all(kept[n] == (f"A{n}", f"B{n}") for n in range(1, 1001))
    assert registry.status()["pending"] == []
