"""What test_alembic and test_django share: a version with the tool's migrations in it, and a table that the tool itself has made before bleen came."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

import databases
from bleen.cli import main
from bleen.database.command.home import Home, home_of
from bleen.database.ledger import State
from bleen.database.migration import Migration, parse, read
from bleen.database.schema import Schema
from bleen.errors import Refused
from bleen.testing.interrupt import fork
from bleen.testing.site import until
from databases import Base

NAME = "0007_note"
BIN = str(Path(sys.executable).parent)
OLD, BOTH, NEW = ["id", "name", "surname"], ["id", "name", "surname", "note"], ["id", "name", "note"]


EXPANDED = pytest.mark.parametrize("base", [True], indirect=True, ids=["expanded"])
"""Where the migration is expanded as the test begins."""


class Project(NamedTuple):
    """A version's directory with another tool's migrations in it, and how bleen is told of them."""

    home: Home
    migration: Migration
    expand: Path
    """The file of the expand half."""


def toml(**words: list[str]) -> str:
    return "[command]\n" + "".join(f"{name} = {argv!r}\n".replace("'", '"') for name, argv in words.items())


def home(directory: Path, url: str, programs: str = BIN) -> Home:
    """Of a version whose tool is in a directory of programs: for real, or that of the fixture ``quick``."""
    secrets = {"base": {"PATH": f"{programs}:{os.environ['PATH']}", "HOME": str(directory), "PYTHONDONTWRITEBYTECODE": "1"}, "values": {}}
    return home_of("1.1", {"directory": str(directory), "env": {}, "user": ""}, secrets, url)


def by_hand(home: Home, *words: str) -> None:
    """A tool is run without bleen."""
    program = shutil.which(words[0], path=home.env["PATH"])
    assert program is not None
    subprocess.run([program, *words[1:]], cwd=home.directory, env=dict(home.env), check=True, capture_output=True)


@contextmanager
def templates(oldest: databases.Postgres, directory: Path, programs: str, made: Callable[[Path, Home], Project], *words: str) -> Iterator[Mapping[bool, str]]:
    """The names of two databases: one that a tool has made itself, by these words, and one in which the migration is expanded; to be copied, as a tool takes
    its time.
    """
    toml_of_first = {"migration.toml": toml(expand=[*words]) + 'unjudged = "the first"\n', "revert.sql": "-- bleen: irreversible it is the first\n"}
    with oldest.database() as first:
        base = Base(oldest, first)
        project = made(directory, home(directory, base.url, programs))
        _expand(base, parse("0001_first", toml_of_first, ""), 1, project.home)
        with base.connect() as db:
            db.execute("INSERT INTO shop_user VALUES (1, 'Ada', 'Lovelace')")
        with oldest.database(first) as expanded:
            base = Base(oldest, expanded)
            _expand(base, project.migration, 2, home(directory, base.url, programs))
            yield {False: first, True: expanded}


def _expand(base: Base, migration: Migration, release: int, place: Home) -> None:
    with closing(base.open()) as server:
        Schema(server).expand([migration], "shop", release, {}, {}, place)


def columns(base: Base) -> list[str]:
    with base.connect() as db:
        found = db.execute("SELECT column_name FROM information_schema.columns WHERE table_name = 'shop_user' ORDER BY ordinal_position")
        return [str(name) for (name,) in found]


def there_and_back(base: Base, project: Project) -> None:
    """All that a migration goes through."""
    schema = Schema(base.open())
    schema.expand([project.migration], "shop", 2, {}, {}, project.home)
    assert columns(base) == BOTH
    schema.revert(NAME, project.home)
    assert columns(base) == OLD
    schema.expand([project.migration], "shop", 3, {}, {}, project.home)
    assert columns(base) == BOTH
    schema.contract(NAME, home=project.home)
    assert columns(base) == NEW
    with base.connect() as db:
        assert db.execute("SELECT name, note FROM shop_user").fetchall() == [("Ada", None)]


def what_was_there_stays(base: Base, home: Home, by_hand: str, whole: bool) -> None:
    """Where a migration that brings ``more`` is reverted, and somebody had brought this before, which is a part of it or the whole."""
    told: list[str] = []
    schema = Schema(base.open(), told.append)
    if whole:
        schema.revert(NAME, home)
        assert any("its expand has brought nothing of that: it is not run, and what was there before stays" in line for line in told)
        assert schema.ledger.entry(NAME) is None
    else:
        with pytest.raises(Refused, match=f"0007_note: revert, .* would take back {by_hand} too, and what they hold: take only its own back"):
            schema.revert(NAME, home)
        assert schema.ledger.entries()[-1].state is State.EXPANDED
    assert columns(base) == [*BOTH, "more"]


def as_new_writes(directory: Path, option: str, mine: Migration, owners: Mapping[str, str]) -> None:
    """`bleen migrate new NAME` writes what the tests carry out, but for what only its owner knows."""
    try:
        assert main(["migrate", "new", "note", option, "--to", str(directory / "to")]) == 0
        wrote = read(directory / "to" / "0001_note").command
    finally:
        shutil.rmtree(directory / "to", ignore_errors=True)
    for half in ("expand", "contract", "revert", "sql"):
        assert getattr(wrote, half) == tuple(owners.get(word, word) for word in getattr(mine.command, half))


def killed_as_it_waits(base: Base, work: Callable[[Schema], object]) -> None:
    """Its tool has come to a table that somebody reads, and has done nothing."""
    with base.connect() as reader, base.connect() as watcher, reader.transaction():
        reader.execute("SELECT FROM shop_user")
        pid = fork(lambda: work(Schema(base.open())))
        waiting = "SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE NOT granted AND application_name = 'bleen migrate 0007_note'"
        until("the tool waits for its lock", lambda: watcher.execute(waiting).fetchone() != (0,))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        # the lock is not given while it is being killed: Django commits a migration that it takes back before it notes that in its book
        until("the tool has ended", lambda: watcher.execute(waiting).fetchone() == (0,))
