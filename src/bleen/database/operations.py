"""Declarative operations: each is a change in a few words, and becomes the SQL of its phases, to be read, edited and committed.

``OPERATIONS`` are the words that `bleen migrate new` and its TOML files know; the fields of each class are what can be said of it.
"""

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, get_origin, get_type_hints

from bleen.database import reverting
from bleen.database.importing import Imported, lint
from bleen.database.migration import Locks, Pace
from bleen.database.statements import Dialect
from bleen.database.wording import Wording, wording
from bleen.database.written import pair_toml, revert_sql, settings
from bleen.errors import UserError


class Steps(NamedTuple):
    """What an operation does, phase by phase: SQL with semicolons, and lines of comment."""

    expand: Sequence[str] = ()
    backfill: str = ""
    contract: Sequence[str] = ()
    pair: str = ""
    """A [[sync]] of migration.toml."""


class Operation(Protocol):
    """A NamedTuple whose fields are what can be given."""

    def steps(self, say: Wording) -> Steps:
        """Raises UserError for what the dialect cannot do without stopping somebody."""
        ...


class CreateTable(NamedTuple):
    """A new table; nobody uses it yet."""

    table: str
    columns: str
    """As in CREATE TABLE: "id bigint PRIMARY KEY, note text"."""

    def steps(self, say: Wording) -> Steps:
        return Steps([f"CREATE TABLE {say.name(self.table)} ({self.columns});"])


class DropTable(NamedTuple):
    """A table goes, in contract."""

    table: str

    def steps(self, say: Wording) -> Steps:
        return Steps(contract=[f"DROP TABLE {say.name(self.table)};"])


class AddColumn(NamedTuple):
    """A new column. It is NULL until ``fill``, or the new version, says more, or ``default`` does; only with a default, and no ``fill``, is ``not_null`` not
    for contract.
    """

    table: str
    column: str
    type: str
    default: str = ""
    fill: str = ""
    """An expression for the rows that are there."""
    not_null: bool = False

    def steps(self, say: Wording) -> Steps:
        at_once = bool(self.default and not self.fill)  # rows that had the default already could not be told from those that somebody wrote
        later = self.not_null and not at_once
        name = say.name(self.column)
        added = say.add_column(self.table, self.column, self.type, self.default if at_once else "", self.not_null and at_once)
        return Steps(
            added if at_once or not self.default else [*added, *say.default(self.table, self.column, self.default)],
            f"UPDATE {say.name(self.table)} SET {name} = {self.fill} WHERE {name} IS NULL;" if self.fill else "",
            say.require(self.table, self.column, self.type, self.default) if later else [],
        )


class DropColumn(NamedTuple):
    """A column goes, in contract."""

    table: str
    column: str

    def steps(self, say: Wording) -> Steps:
        return Steps(contract=say.drop_column(self.table, self.column))


class _Moved(NamedTuple):
    """Old columns whose place new ones take, with two-way sync until contract. What is not known of ``backward`` is empty."""

    table: str
    old: Sequence[str]
    new: Mapping[str, str]
    """Name to type."""
    forward: Mapping[str, str]
    backward: Mapping[str, str]
    default: str = ""
    not_null: bool = False

    def steps(self, say: Wording) -> Steps:
        at_once = self.not_null and say.at_once(self.default)
        forward = {column: f"coalesce({made}, {self.default})" if at_once else made for column, made in self.forward.items()}
        sets = ", ".join(f"{say.name(column)} = {forward[column]}" for column in self.new)
        later = self.not_null and not at_once
        if later and say.dialect == "sqlite":
            way = "leave not_null out, or say a default where the operation takes one"
            raise UserError(f"SQLite makes no column NOT NULL that is there, as {', '.join(self.new)} is by then: {way}")
        required = [line for column, type in self.new.items() if later for line in say.require(self.table, column, type, self.default)]
        old, new = ", ".join(self.old), ", ".join(self.new)
        rules = [
            f"-- What is of {old} (UNIQUE, CHECK, indexes, a default) is not of {new}, and goes with contract: say here what is to hold on.",
            "-- `bleen migrate plan` tells which, and how.",
        ]
        early = ["-- NOT NULL from the beginning, as SQLite makes no column so later: what is NULL for the old version is the default here."] * at_once
        return Steps(
            [*early, *(line for column, type in self.new.items() for line in say.add_column(self.table, column, type, self.default, at_once)), *rules],
            f"UPDATE {say.name(self.table)} SET {sets};",
            [*required, *(line for column in self.old for line in say.drop_column(self.table, column))],
            pair_toml(say.name(self.table), tuple(self.old), tuple(self.new), forward, self.backward),
        )


class RenameColumn(NamedTuple):
    """A column gets another name: a new one beside it, kept equal while both versions run; the old one goes in contract."""

    table: str
    column: str
    to: str
    type: str
    """Of the column as it is."""
    default: str = ""
    not_null: bool = False

    def steps(self, say: Wording) -> Steps:
        forward, backward = {self.to: say.name(self.column)}, {self.column: say.name(self.to)}
        return _Moved(self.table, [self.column], {self.to: self.type}, forward, backward, self.default, self.not_null).steps(say)


class ChangeType(NamedTuple):
    """A column of another type takes the place of one, under a name of its own (``to``; else NAME_new), kept equal while both versions run."""

    table: str
    column: str
    type: str
    to: str = ""
    was: str = ""
    """The type of the old column."""
    forward: str = ""
    """The new value, from the old column; else a cast to ``type``."""
    backward: str = ""
    """The old value, from the new column; else a cast to ``was``."""
    default: str = ""
    not_null: bool = False

    def steps(self, say: Wording) -> Steps:
        new = self.to or f"{self.column}_new"
        forward = {new: self.forward or self.cast(say, self.column, self.type)}
        backward = {self.column: self.backward or (self.cast(say, new, self.was) if self.was else "")}
        made = _Moved(self.table, [self.column], {new: self.type}, forward, backward, self.default, self.not_null).steps(say)
        kept = f"-- The column is {new} now. If it is to be {self.column} again: a later release, with rename_column column={new} to={self.column}."
        return made._replace(contract=[*made.contract, kept])

    def cast(self, say: Wording, column: str, type: str) -> str:
        """MySQL's CAST knows few types; it casts by itself."""
        return say.name(column) if say.dialect == "mysql" else f"CAST({say.name(column)} AS {type})"


class SplitColumn(NamedTuple):
    """One column becomes several, kept equal while both versions run."""

    table: str
    column: str
    to: Mapping[str, str]
    """New column to type: to.first_name=text."""
    forward: Mapping[str, str]
    """New column to an expression over the old one."""
    backward: str = ""
    """The old column, from the new ones."""
    not_null: bool = False

    def steps(self, say: Wording) -> Steps:
        _same(self.to, self.forward, "forward")
        return _Moved(self.table, [self.column], self.to, self.forward, {self.column: self.backward}, "", self.not_null).steps(say)


class MergeColumns(NamedTuple):
    """Several columns become one, kept equal while both versions run."""

    table: str
    columns: tuple[str, ...]
    to: str
    type: str
    forward: str
    """The new column, from the old ones."""
    backward: Mapping[str, str] = {}
    """Old column to an expression over the new one: backward.first_name=..."""
    not_null: bool = False

    def steps(self, say: Wording) -> Steps:
        if self.backward:
            _same(dict.fromkeys(self.columns, ""), self.backward, "backward")
        backward = {column: self.backward.get(column, "") for column in self.columns}
        return _Moved(self.table, self.columns, {self.to: self.type}, {self.to: self.forward}, backward, "", self.not_null).steps(say)


class AddConstraint(NamedTuple):
    """A constraint, of one kind. ``check`` and ``unique`` hold for the old version's writes too, from expand on; ``not_null`` comes in contract, and
    ``unique`` on SQLite.
    """

    table: str
    name: str = ""
    check: str = ""
    """An expression."""
    unique: tuple[str, ...] = ()
    """Columns."""
    not_null: str = ""
    """A column."""
    type: str = ""
    """Of that column; MySQL needs it."""

    def steps(self, say: Wording) -> Steps:
        kinds = [kind for kind in (self.check, self.unique, self.not_null) if kind]
        if len(kinds) != 1:
            raise UserError("say one of check, unique and not_null")
        if self.check:
            if not self.name:
                raise UserError("name is missing")
            return Steps(say.check(self.table, self.name, self.check))
        if self.unique:
            return _refusing(say, say.unique(self.table, self.name or say.called(self.table, *self.unique, "key"), self.unique))
        if say.dialect == "sqlite":
            raise UserError(f"SQLite makes no column NOT NULL that is there: refuse NULL in {self.not_null} in the application, or with a trigger")
        if say.dialect == "mysql" and not self.type:
            raise UserError("type is missing: MySQL says it again with NOT NULL")
        again = "-- MODIFY says all of the column again: put behind NOT NULL what else SHOW CREATE TABLE says of it, such as its DEFAULT."
        return Steps(contract=[*[again] * (say.dialect == "mysql"), *say.require(self.table, self.not_null, self.type)])


class DropConstraint(NamedTuple):
    """A constraint goes, in contract."""

    table: str
    name: str

    def steps(self, say: Wording) -> Steps:
        return Steps(contract=say.drop_constraint(self.table, self.name))


class AddForeignKey(NamedTuple):
    """A foreign key, checked without a lock where the dialect can. It holds for the old version's writes too."""

    table: str
    columns: tuple[str, ...]
    references: str
    """The other table."""
    to: tuple[str, ...] = ("id",)
    name: str = ""
    on_delete: str = ""

    def steps(self, say: Wording) -> Steps:
        name = self.name or say.called(self.table, *self.columns, "fkey")
        return Steps(say.foreign_key(self.table, name, self.columns, self.references, self.to, self.on_delete))


class CreateIndex(NamedTuple):
    """An index, built while everybody writes where the dialect can."""

    table: str
    columns: tuple[str, ...]
    name: str = ""
    unique: bool = False
    where: str = ""

    def steps(self, say: Wording) -> Steps:
        made = say.index(self.table, self.name or say.called(self.table, *self.columns, "idx"), self.columns, self.unique, self.where)
        return _refusing(say, made) if self.unique else Steps(made)


class DropIndex(NamedTuple):
    """An index goes, in contract."""

    table: str
    name: str

    def steps(self, say: Wording) -> Steps:
        return Steps(contract=say.drop_index(self.table, self.name))


OPERATIONS: Mapping[str, type[Operation]] = {
    "create_table": CreateTable,
    "drop_table": DropTable,
    "add_column": AddColumn,
    "drop_column": DropColumn,
    "rename_column": RenameColumn,
    "change_type": ChangeType,
    "split_column": SplitColumn,
    "merge_columns": MergeColumns,
    "add_constraint": AddConstraint,
    "drop_constraint": DropConstraint,
    "add_foreign_key": AddForeignKey,
    "create_index": CreateIndex,
    "drop_index": DropIndex,
}


class Asked(NamedTuple):
    """An operation, and where it was asked for."""

    operation: Operation
    where: str


def from_words(words: Sequence[str]) -> list[Asked]:
    """Operations as they stand on a command line: each a name, then its fields as key=value, or key.column=value. Raises UserError."""
    asked: list[tuple[str, dict[str, Any]]] = []
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            asked.append((word, {}))
        elif not asked:
            raise UserError(f"{word}: say first which operation it belongs to: {', '.join(OPERATIONS)}")
        elif "." in key:
            table, _, column = key.partition(".")
            if not isinstance(given := asked[-1][1].setdefault(table, {}), dict):
                raise UserError(f"{word}: {table}={given} was said before")
            given[column] = value
        else:
            asked[-1][1][key] = value
    return [_read(name, given, f"operation {number} ({name})") for number, (name, given) in enumerate(asked, 1)]


def from_toml(text: str, file: str) -> list[Asked]:
    """Operations as they stand in a file: ``[[operation]]`` tables, each with a ``do`` that names it. Raises UserError, with the place."""
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{file}: {error}") from None
    except RecursionError:
        raise UserError(f"{file}: is nested too deeply to be read; nothing in it needs more than three levels") from None
    given = tables.pop("operation", None)
    if tables or not isinstance(given, list) or not given or not all(isinstance(each, dict) for each in given):
        raise UserError(f"{file}: wants [[operation]] tables and nothing else, each with do = one of {', '.join(OPERATIONS)}")
    return [_read(str(each.pop("do", "")), each, f"{file}: [[operation]] {number}") for number, each in enumerate(given, 1)]


def migrations(asked: Sequence[Asked], dialect: Dialect, description: str, spoken: str = "") -> list[Imported]:
    """What operations are as migrations, in their order; more than one where more than one of them fills rows. ``spoken``: the SQL of those before, whose
    names are taken. Raises UserError for what the dialect cannot do, and for what the rules forbid.
    """
    steps = [_steps(each, wording(dialect, spoken)) for each in asked]
    groups: list[list[Steps]] = [[]]
    for each in steps:
        if each.backfill and any(before.backfill for before in groups[-1]):
            groups.append([])
        groups[-1].append(each)
    found = [_migration(group, dialect, description) for group in groups]
    wrong = [each for each in lint([(str(number), each) for number, each in enumerate(found)], dialect) if each.severity == "error"]
    if wrong:
        told = "\n".join(f"  {each.message}" + "".join(f"\n    {line}" for line in each.fix.splitlines()) for each in wrong)
        raise UserError(f"nothing was written, as the rules forbid what this comes to:\n{told}")
    return found


def template(dialect: Dialect) -> Imported:
    """A migration that says nothing yet, and what can be said where."""
    say = wording(dialect)
    example = AddColumn("users", "full_name", "varchar(255)").steps(say).expand[0]
    files = {
        "expand.sql": f"-- What the new version needs; the old one must not notice it. Run while the old version serves.\n-- {example}\n",
        "contract.sql": "-- What only the old version needed. Run later, when nobody can go back to it any more.\n"
        f"-- {say.drop_column('users', 'first_name')[-1]}\n",
        "revert.sql": "-- What undoes expand.sql, until contract. Left as it is, it is derived from expand.sql where that can be.\n"
        f"-- If there is no way back: {reverting.MARK.removeprefix('-- ')} REASON\n",
        "migration.toml": f"""description = ""  # what `plan` and `status` say

# The rows that are there: in batches, while everybody writes. (Or as one UPDATE in a backfill.sql.)
# [backfill]
# table = "users"
# set = {{ full_name = "rtrim(coalesce(first_name, '') || ' ' || coalesce(last_name, ''))" }}
# where = "full_name IS NULL"

{"".join(f"# {line}".rstrip() + chr(10) for line in _EXAMPLE.splitlines())}
# [locks]
# timeout = {Locks().timeout}         # seconds that a statement waits for a lock, and everybody behind it
# patience = {Locks().patience}       # seconds for which it is tried again
# concurrently = {Locks().concurrently} # seconds that CREATE INDEX CONCURRENTLY may take

# [pace]
# target = {Pace().target}        # seconds of a batch
# duty = {Pace().duty}            # the share of the time in which it works
# lag = {Pace().lag}            # seconds that a replica may be behind
""",
    }
    return Imported(files, ())


_EXAMPLE = pair_toml(
    "users",
    ("first_name", "last_name"),
    ("full_name",),
    {"full_name": "rtrim(coalesce(first_name, '') || ' ' || coalesce(last_name, ''))"},
    {"first_name": "split_part(full_name, ' ', 1)", "last_name": "regexp_replace(full_name, '^[^ ]* ?', '')"},
)


def _read(name: str, given: Mapping[str, Any], where: str) -> Asked:
    if name not in OPERATIONS:
        near = difflib.get_close_matches(name, OPERATIONS, 1)
        raise UserError(f"{where}: there is no operation {name!r}" + (f" (did you mean {near[0]}?)" if near else f"; known are {', '.join(OPERATIONS)}"))
    made: Any = OPERATIONS[name]
    kinds = get_type_hints(made)
    if unknown := [field for field in given if field not in kinds]:
        raise UserError(f"{where}: {name} has no {unknown[0]}; it has {', '.join(kinds)}")
    if missing := [field for field in kinds if field not in given and field not in made._field_defaults]:
        raise UserError(f"{where}: {missing[0]} is missing; {name} has {', '.join(kinds)}")
    return Asked(made(**{field: _value(kinds[field], value, f"{where}: {field}") for field, value in given.items()}), where)


def _value(kind: Any, value: Any, where: str) -> Any:
    """A value as its field wants it; a command line has only text."""
    kind = get_origin(kind) or kind
    if kind is tuple:
        names = value.split(",") if isinstance(value, str) else value
        if isinstance(names, list) and names and all(isinstance(each, str) and each.strip() for each in names):
            if called := next((each for each in names if "(" in each), ""):
                raise UserError(f"{where} is a list of names, and {called} is an expression: write the statement yourself, in expand.sql")
            return tuple(each.strip() for each in names)
        raise UserError(f"{where} is a list of names")
    if kind is bool:
        if value in (True, False, "true", "false"):
            return value in (True, "true")
        raise UserError(f"{where} is true or false")
    if kind is str and isinstance(value, str) and value.strip():
        return value
    if kind is not str and isinstance(value, dict) and value and all(isinstance(each, str) and each.strip() for each in value.values()):
        return value
    raise UserError(f"{where} is a text" if kind is str else f"{where} is a table, of one text for each column: {where.rpartition(' ')[2]}.COLUMN=...")


def _refusing(say: Wording, unique: Sequence[str]) -> Steps:
    """A unique index refuses rows of the old version too; SQLite's rules leave it to contract."""
    return Steps(contract=unique) if say.dialect == "sqlite" else Steps(unique)


def _same(columns: Mapping[str, str], expressions: Mapping[str, str], what: str) -> None:
    if set(columns) != set(expressions):
        raise UserError(f"{what} wants one expression for each of {', '.join(columns)}, and has {', '.join(expressions)}")


def _steps(asked: Asked, say: Wording) -> Steps:
    try:
        return asked.operation.steps(say)
    except UserError as error:
        raise UserError(f"{asked.where}: {error}") from None


def _migration(group: Sequence[Steps], dialect: Dialect, description: str) -> Imported:
    files = {
        "expand.sql": "".join(f"{line}\n" for each in group for line in each.expand),
        "backfill.sql": "".join(f"{each.backfill}\n" for each in group if each.backfill),
        "contract.sql": "".join(f"{line}\n" for each in group for line in each.contract),
    }
    pairs = [each.pair for each in group if each.pair]
    files["revert.sql"] = revert_sql(reverting.derived(files["expand.sql"], dialect))
    files["migration.toml"] = settings(pairs, description)
    open_ = ("to be written in migration.toml: what is marked TODO",) if any("# TODO" in pair for pair in pairs) else ()
    return Imported({name: text for name, text in files.items() if text}, open_)
