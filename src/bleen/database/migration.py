"""A migration: a folder of SQL files, each for its phase, and what makes it this one and no other."""

import hashlib
import json
import os
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, NamedTuple

from bleen.errors import UserError

FILES = ("expand.sql", "backfill.sql", "contract.sql", "revert.sql", "migration.toml")
"""What a migration's folder may hold; other files in it are none of ours."""

Phase = Literal["expand", "backfill", "contract"]

PHASES: tuple[Phase, ...] = ("expand", "backfill", "contract")
"""In the order of a release."""

_NAME = re.compile(r"(\d{1,18})_[a-z0-9][a-z0-9_]{0,99}")

_HOUR, _DAY = 3600.0, 86400.0

OnConflict = Literal["old", "new", "error"]


class Locks(NamedTuple):
    """How a change waits for its locks: ``timeout`` seconds at a time, as whoever comes after it waits too; again with jitter, ``patience`` seconds in all."""

    timeout: float = 0.1
    patience: float = 60.0
    concurrently: float = 3600.0
    """Seconds that a statement may take which takes no such lock: CREATE INDEX CONCURRENTLY."""


class Pace(NamedTuple):
    """How a backfill goes: batches that take ``target`` seconds, at work for ``duty`` of the time, not while a replica is more than ``lag`` seconds behind.

    Short batches hold rows, the processor and the disk for no longer than a client's own transaction does: what clients feel of one is how long it takes.
    """

    batch: int = 1000
    """Rows of the first batch."""
    target: float = 0.001
    duty: float = 0.5
    lag: float = 10.0


class Backfill(NamedTuple):
    """One UPDATE of one table, to be done in batches along a key."""

    table: str
    """As it was written, perhaps with a schema and quotes."""
    set: Mapping[str, str]
    """Column (without quotes) to SQL expression."""
    where: str = ""
    key: tuple[str, ...] = ()
    """The columns to go along; empty: the table's primary key."""


class Pair(NamedTuple):
    """Columns of one table that say the same in the old and in the new shape, kept equal whoever writes, from expand until contract."""

    table: str
    """As it was written, perhaps with a schema and quotes."""
    old: tuple[str, ...]
    new: tuple[str, ...]
    forward: Mapping[str, str]
    """New column to a SQL expression over the old ones."""
    backward: Mapping[str, str]
    """Old column to a SQL expression over the new ones."""
    on_conflict: OnConflict | None = None
    """Which side counts where nothing tells which one a writer meant; None where that cannot happen."""
    lossy: bool = False
    """Declared: old -> new -> old does not always give the same value."""

    @property
    def said(self) -> str:
        """All of its expressions."""
        return "\n".join((*self.forward.values(), *self.backward.values()))


class Command(NamedTuple):
    """What another tool does of a migration (Alembic, Django, Flyway ...): a command each, as a list of words; empty if it has none.

    Each can be run again wherever it was killed, as the tool knows what it has done.
    """

    expand: tuple[str, ...] = ()
    """Run before expand.sql."""
    contract: tuple[str, ...] = ()
    """Run behind contract.sql."""
    revert: tuple[str, ...] = ()
    """Undoes ``expand``; run behind revert.sql."""
    sql: tuple[str, ...] = ()
    """Prints the SQL of ``expand``, and changes nothing."""
    unjudged: str = ""
    """Why nobody has to see that SQL."""
    allow: Mapping[str, str] = {}
    """Rules that it may break, and why."""
    branched: bool = False
    """Whether ``expand`` leaves alone what an earlier contract is still to do, as two branches of revisions do, and one line does not."""


class Migration(NamedTuple):
    """What is to happen to the schema, as the files say; the SQL of each phase is text until a dialect reads it."""

    name: str
    sources: Mapping[str, str]
    """File name to text. Kept in the ledger: a contract may be due when the version's directory has long gone."""
    description: str
    backfill: Backfill | None
    """From migration.toml; a backfill.sql is read by the dialect."""
    pairs: tuple[Pair, ...]
    locks: Locks
    pace: Pace
    command: Command = Command()

    @property
    def number(self) -> int:
        return int(self.name.partition("_")[0])

    @property
    def checksum(self) -> str:
        """The same for the same files, whatever their line ends."""
        return hashlib.sha256(json.dumps(self.sources, sort_keys=True).encode()).hexdigest()[:16]

    def sql(self, part: str) -> str:
        """The text of expand, backfill, contract or revert; empty if the migration has none."""
        return self.sources.get(f"{part}.sql", "")

    def holds(self, part: str) -> bool:
        """Whether a part says anything but comments: a template that was left as it is says nothing."""
        return says(self.sql(part))


def speaks_of(text: str, name: str) -> bool:
    """Whether a name stands somewhere in a text of SQL: one that does not, nothing in it makes."""
    return bool(re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text, re.IGNORECASE))


_SILENT = re.compile(r"(?:[\s;]|(?:--|\#)[^\n]*)*+")
_MARK = re.compile(r"/\*|\*/")


def says(text: str) -> bool:
    """Whether a file of SQL says anything but comments, whatever its dialect; one that has no end, or that MySQL carries out, says something."""
    at, end = -1, 0
    while at < end:
        at = next(_SILENT.finditer(text, end)).end()
        end = _behind(text, at)
    return at < len(text)


def _behind(text: str, at: int) -> int:
    """The end of the comment between /* and */ that begins here; if none does, where it was. With all that are nested in it, as PostgreSQL reads it; where
    those do not end, the first mark ends it.
    """
    if not text.startswith("/*", at) or text.startswith(("/*!", "/*M!", "/*+"), at):
        return at
    depth = 0
    for mark in _MARK.finditer(text, at):
        depth += 1 if mark[0] == "/*" else -1
        if not depth:
            return mark.end()
    return max(at, text.find("*/", at + 2) + 2)


def read_all(folder: Path) -> list[Migration]:
    """Every migration of a directory, in their order. No directory is no migrations. Raises UserError, located, for the first that is wrong."""
    if not os.path.isdir(folder):
        return []
    found = [read(each) for each in folders(folder)]
    for before, after in pairwise(found):
        if before.number == after.number:
            raise UserError(f"{folder}: {before.name} and {after.name} have the same number; give one of them another")
    return found


def folders(folder: Path) -> list[Path]:
    """Those of the migrations of a directory, in their order; what begins with a dot or an underscore is none."""
    found = (each for each in folder.iterdir() if each.is_dir() and not each.name.startswith((".", "_")))
    return sorted(found, key=lambda each: (int(number) if (number := each.name.partition("_")[0]).isdecimal() else 0, each.name))


def read(folder: Path) -> Migration:
    """The migration of a folder; a byte order mark, as editors on Windows write it, is no part of a file. Raises UserError, located, for what is wrong
    with it.
    """
    if not _NAME.fullmatch(folder.name):
        raise UserError(f"{folder}: a migration is called by a number and a name: 0007_full_name")
    sources = {}
    for file in FILES:
        try:
            with open(folder / file, encoding="utf-8-sig", newline="") as given:  # a CR alone is no line end, but part of a string, say
                sources[file] = given.read().replace("\r\n", "\n")
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{folder / file}: cannot be read: {error}") from None
    return parse(folder.name, sources, str(folder))


def parse(name: str, sources: Mapping[str, str], where: str) -> Migration:
    """A migration from the text of its files; ``where`` is said in errors. Raises UserError."""
    if not any(text.strip() for file, text in sources.items() if file.endswith(".sql")) and "migration.toml" not in sources:
        raise UserError(f"{where}: there is nothing in it; it wants at least an expand.sql")
    try:
        settings = tomllib.loads(sources.get("migration.toml", ""))
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{where}/migration.toml: {error}") from None
    except RecursionError:
        raise UserError(f"{where}/migration.toml: is nested too deeply to be read; nothing in it needs more than three levels") from None
    table = _Table(settings, f"{where}/migration.toml")
    description = table.take("description", str, "")
    locks, pace = table.sub("locks"), table.sub("pace")
    made = Migration(
        name,
        dict(sources),
        description,
        _backfill(table.sub("backfill")) if "backfill" in settings else None,
        tuple(_pair(each) for each in table.subs("sync")),
        Locks(*(locks.take(field, float, default) for field, default in Locks()._asdict().items())),
        Pace(pace.take("batch", int, Pace().batch), *(pace.take(field, float, getattr(Pace(), field)) for field in ("target", "duty", "lag"))),
        _command(table.sub("command")) if "command" in settings else Command(),
    )
    table.done("backfill", "command")
    for each in (locks, pace):
        each.done()
    if made.backfill and made.holds("backfill"):
        raise UserError(f"{where}: both backfill.sql and [backfill] in migration.toml; one of them is enough")
    if not 0.01 <= made.pace.duty <= 1 or made.pace.batch < 1 or not 0 < made.pace.target <= _HOUR or not 0 <= made.pace.lag <= _DAY:
        raise UserError(f"{where}/migration.toml: [pace] wants batch of at least 1, duty from 0.01 to 1, and seconds: target above 0, lag of at most a day")
    if not 0.001 <= made.locks.timeout <= _HOUR or not all(0 <= each <= 7 * _DAY for each in made.locks):
        raise UserError(f"{where}/migration.toml: [locks] wants seconds: timeout from 0.001 to an hour, patience and concurrently of at most a week")
    return made


def _backfill(table: "_Table") -> Backfill:
    made = Backfill(table.need("table", str), table.mapping("set"), table.take("where", str, ""), table.names("key"))
    table.unquoted("set", made.set)
    if not made.set:
        table.wrong('set names no column; say set = { column = "expression" }')
    table.done()
    return made


def _command(table: "_Table") -> Command:
    expand, contract, revert, sql = (table.words(name) for name in ("expand", "contract", "revert", "sql"))
    made = Command(expand, contract, revert, sql, table.take("unjudged", str, ""), table.reasons("allow"), table.take("branched", bool, False))
    table.done()
    if not made.expand and not made.contract:
        table.wrong('names no command; say expand = ["alembic", "upgrade", "1a2b"], say, or contract, or both')
    if not made.expand and (made.revert or made.sql):
        table.wrong("revert and sql are about the expand command, and there is none")
    if made.expand and bool(made.sql) == bool(made.unjudged.strip()):
        table.wrong('expand wants sql, the command that prints its SQL for the rules to judge, or unjudged = "why nobody has to"; and not both')
    return made


def _pair(table: "_Table") -> Pair:
    choice = table.take("on_conflict", str, "")
    if choice not in ("", "old", "new", "error"):
        table.wrong("on_conflict is old, new or error")
    made = Pair(
        table.need("table", str),
        table.names("old"),
        table.names("new"),
        table.mapping("forward"),
        table.mapping("backward"),
        choice or None,
        table.take("lossy", bool, False),
    )
    table.done()
    for side, columns, expressions, of in (("new", made.new, made.forward, "forward"), ("old", made.old, made.backward, "backward")):
        if not columns:
            table.wrong(f"{side} names no column")
        table.unquoted(side, columns)
        if len({*columns}) < len(columns):
            table.wrong(f"{side} names a column twice")
        if set(columns) != set(expressions):
            table.wrong(f"{of} wants one expression for each of {', '.join(columns)}, and has {', '.join(expressions) or 'none'}")
    if set(made.old) & set(made.new):
        table.wrong("a column is on both sides")
    return made


class _Table:
    """A table of a TOML file that complains of what it does not know."""

    def __init__(self, values: Mapping[str, Any], where: str) -> None:
        self._values, self._where, self._taken = values, where, set[str]()

    def take(self, name: str, kind: type, default: Any) -> Any:
        self._taken.add(name)
        value = self._values.get(name, default)
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            self.wrong(f"{name} is {value!r}; it should be a {kind.__name__}")
        return value

    def need(self, name: str, kind: type) -> Any:
        if name not in self._values:
            self.wrong(f"{name} is missing")
        return self.take(name, kind, None)

    def names(self, name: str) -> tuple[str, ...]:
        value = self._values.get(name, [])
        self._taken.add(name)
        names: Sequence[Any] = [value] if isinstance(value, str) else value
        if not isinstance(names, list) or not all(isinstance(each, str) and each for each in names):
            self.wrong(f"{name} is a list of column names")
        return tuple(names)

    def unquoted(self, name: str, columns: Iterable[str]) -> None:
        """Complains of a column that is written as SQL writes it, where the catalogue's name is meant."""
        if quoted := [each for each in columns if each[:1] + each[-1:] in ('""', "``", "[]")]:
            self.wrong(f"{name} names a column as the catalogue does, without quotes: {quoted[0][1:-1]}; a table, and an expression, are written as in SQL")

    def words(self, name: str) -> tuple[str, ...]:
        value = self.take(name, list, [])
        if not all(isinstance(each, str) and each for each in value):
            self.wrong(f'{name} is a command as a list of words: ["alembic", "upgrade", "1a2b"]')
        return tuple(value)

    def reasons(self, name: str) -> Mapping[str, str]:
        value = self.take(name, dict, {})
        if not all(isinstance(each, str) and each.strip() for each in value.values()):
            self.wrong(f'{name} gives each rule a reason: {{ rule = "why it may be broken here" }}')
        return dict(value)

    def mapping(self, name: str) -> Mapping[str, str]:
        value = self.take(name, dict, {})
        if empty := [column for column, expression in value.items() if isinstance(expression, str) and not expression.strip()]:
            self.wrong(f"{name} of {empty[0]} is not written yet: say by which SQL expression it is made")
        if not all(isinstance(each, str) and each.strip() for each in value.values()):
            self.wrong(f'{name} is a table of SQL expressions: {{ column = "expression" }}')
        return dict(value)

    def sub(self, name: str) -> "_Table":
        return _Table(self.take(name, dict, {}), f"{self._where}: [{name}]")

    def subs(self, name: str) -> "list[_Table]":
        values = self.take(name, list, [])
        if not all(isinstance(each, dict) for each in values):
            self.wrong(f"{name} is a list of tables, each under a [[{name}]] of its own")
        return [_Table(each, f"{self._where}: [[{name}]] {number}") for number, each in enumerate(values, 1)]

    def wrong(self, text: str) -> None:
        raise UserError(f"{self._where}: {text}")

    def done(self, *also: str) -> None:
        """Complains of what nobody has taken; ``also``: what is taken only where it is."""
        known = {*self._taken, *also}
        if unknown := sorted(set(self._values) - known):
            self.wrong(f"there is no {', '.join(unknown)}; known are {', '.join(sorted(known))}")
