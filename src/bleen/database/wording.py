"""How each dialect says a change of the schema that stops nobody: what the rules name as the safe way, written out.

Names are given as the catalogue has them, ``schema.table`` with a dot. What a dialect cannot do without stopping somebody is a UserError that says so.
"""

from collections.abc import Sequence
from itertools import count
from typing import Protocol

from bleen.database.migration import speaks_of
from bleen.database.rules.mysql_adding import INSTANT, ONLINE
from bleen.database.statements import Dialect
from bleen.errors import UserError


class Wording(Protocol):
    """Every method gives statements, each with its semicolon."""

    dialect: Dialect

    def name(self, name: str) -> str:
        """A name as it has to be written. Raises UserError for one that is written so already."""
        ...

    def called(self, *parts: str) -> str:
        """A name for something, from names of other things, no longer than the dialect lets it be."""
        ...

    def add_column(self, table: str, column: str, type: str, default: str, not_null: bool) -> list[str]: ...
    def drop_column(self, table: str, column: str) -> list[str]: ...

    def default(self, table: str, column: str, default: str) -> list[str]:
        """For the rows to come, of a column that was added without."""
        ...

    def require(self, table: str, column: str, type: str, default: str = "") -> list[str]:
        """NOT NULL, for a column that was added without; ``default`` is the one that it has."""
        ...

    def at_once(self, default: str) -> bool:
        """Whether a column that is to be NOT NULL, and has this default, has to be so from the beginning."""
        ...

    def check(self, table: str, name: str, expression: str) -> list[str]: ...
    def unique(self, table: str, name: str, columns: Sequence[str]) -> list[str]: ...
    def foreign_key(self, table: str, name: str, columns: Sequence[str], references: str, to: Sequence[str], on_delete: str) -> list[str]: ...
    def drop_constraint(self, table: str, name: str) -> list[str]: ...
    def index(self, table: str, name: str, columns: Sequence[str], unique: bool, where: str) -> list[str]: ...
    def over(self, table: str, name: str, over: str, unique: bool) -> list[str]:
        """An index by what stands behind its name and its table, as the catalogue says it."""
        ...

    def drop_index(self, table: str, name: str) -> list[str]: ...


def wording(dialect: Dialect, spoken: str = "") -> Wording:
    """``spoken``: SQL whose names are taken: ``called`` gives none of them."""
    if dialect == "postgres":
        return _Postgres(spoken)
    return _Mysql(spoken) if dialect == "mysql" else _Sqlite(spoken)


class _Common:
    """What the dialects say alike."""

    mark = '"'

    def __init__(self, spoken: str) -> None:
        self._spoken = spoken

    def name(self, name: str) -> str:
        if self.mark in name:
            raise UserError(f"{name} has quotes, which are put where they are needed: say {name.replace(self.mark, '')}")
        return ".".join(map(self.quoted, name.split(".")))

    def quoted(self, part: str) -> str:
        return f"{self.mark}{part}{self.mark}"

    def called(self, *parts: str) -> str:
        *first, last = (part.rpartition(".")[2] for part in parts)
        free = (name for n in count() if not speaks_of(self._spoken, name := self.fit(*first, f"{last}{n or ''}")))
        return next(free)

    def fit(self, *parts: str) -> str:
        """A name of no more characters than the dialect lets it have."""
        *first, last = parts
        return f"{'_'.join(first)[: 63 - len(last)]}_{last}"

    def at_once(self, default: str) -> bool:
        return False

    def list(self, columns: Sequence[str]) -> str:
        return ", ".join(map(self.name, columns))

    def definition(self, column: str, type: str, default: str, not_null: bool) -> str:
        words = [self.name(column), type, "NOT NULL" if not_null else "", f"DEFAULT {default}" if default else ""]
        return " ".join(word for word in words if word)

    def references(self, columns: Sequence[str], references: str, to: Sequence[str], on_delete: str) -> str:
        key = f"FOREIGN KEY ({self.list(columns)}) REFERENCES {self.name(references)} ({self.list(to)})"
        return f"{key} ON DELETE {on_delete}" if on_delete else key


class _Postgres(_Common):
    """PostgreSQL: NOT VALID and VALIDATE, CONCURRENTLY (manual, "ALTER TABLE", Notes; "CREATE INDEX", "Building Indexes Concurrently")."""

    dialect: Dialect = "postgres"

    def quoted(self, part: str) -> str:
        from bleen.database.grammar.postgres import quoted

        return quoted(part)

    def fit(self, *parts: str) -> str:
        from bleen.database.rules.postgres_look import called

        return called(*parts)

    def add_column(self, table: str, column: str, type: str, default: str, not_null: bool) -> list[str]:
        return [f"ALTER TABLE {self.name(table)} ADD COLUMN {self.definition(column, type, default, not_null)};"]

    def drop_column(self, table: str, column: str) -> list[str]:
        return [f"ALTER TABLE {self.name(table)} DROP COLUMN {self.name(column)};"]

    def require(self, table: str, column: str, type: str, default: str = "") -> list[str]:
        from bleen.database.rules.postgres_columns import required

        return required(tuple(table.split(".")), column)

    def default(self, table: str, column: str, default: str) -> list[str]:
        return [f"ALTER TABLE {self.name(table)} ALTER COLUMN {self.name(column)} SET DEFAULT {default};"]

    def check(self, table: str, name: str, expression: str) -> list[str]:
        return self.validated(table, name, f"CHECK ({expression})")

    def unique(self, table: str, name: str, columns: Sequence[str]) -> list[str]:
        made = self.name(name)
        return [*self.index(table, name, columns, True, ""), f"ALTER TABLE {self.name(table)} ADD CONSTRAINT {made} UNIQUE USING INDEX {made};"]

    def foreign_key(self, table: str, name: str, columns: Sequence[str], references: str, to: Sequence[str], on_delete: str) -> list[str]:
        return self.validated(table, name, self.references(columns, references, to, on_delete))

    def validated(self, table: str, name: str, constraint: str) -> list[str]:
        told, made = self.name(table), self.name(name)
        return [f"ALTER TABLE {told} ADD CONSTRAINT {made} {constraint} NOT VALID;", f"ALTER TABLE {told} VALIDATE CONSTRAINT {made};"]

    def drop_constraint(self, table: str, name: str) -> list[str]:
        return [f"ALTER TABLE {self.name(table)} DROP CONSTRAINT {self.name(name)};"]

    def index(self, table: str, name: str, columns: Sequence[str], unique: bool, where: str) -> list[str]:
        return self.over(table, name, f"({self.list(columns)})" + (f" WHERE {where}" if where else ""), unique)

    def over(self, table: str, name: str, over: str, unique: bool) -> list[str]:
        return [f"CREATE {'UNIQUE INDEX' if unique else 'INDEX'} CONCURRENTLY {self.name(name)} ON {self.name(table)} {over};"]

    def drop_index(self, table: str, name: str) -> list[str]:
        schema = table.rpartition(".")[0]
        return [f"DROP INDEX CONCURRENTLY {self.name(f'{schema}.{name}' if schema else name)};"]


class _Mysql(_Common):
    """MySQL and MariaDB: ALGORITHM and LOCK are named, so that a server that would copy or lock refuses (MySQL manual, "Online DDL Operations")."""

    dialect: Dialect = "mysql"
    mark = "`"

    def alter(self, table: str, change: str, how: str = ONLINE) -> list[str]:
        return [f"ALTER TABLE {self.name(table)} {change}, {how};"]

    def add_column(self, table: str, column: str, type: str, default: str, not_null: bool) -> list[str]:
        return self.alter(table, f"ADD COLUMN {self.definition(column, type, default, not_null)}", INSTANT)

    def drop_column(self, table: str, column: str) -> list[str]:
        return self.alter(table, f"DROP COLUMN {self.name(column)}")

    def require(self, table: str, column: str, type: str, default: str = "") -> list[str]:
        return self.alter(table, f"MODIFY COLUMN {self.definition(column, type, default, True)}")

    def default(self, table: str, column: str, default: str) -> list[str]:
        return self.alter(table, f"ALTER COLUMN {self.name(column)} SET DEFAULT {default}", INSTANT)

    def check(self, table: str, name: str, expression: str) -> list[str]:
        raise UserError(f"MySQL copies {table} to check all of its rows, and nobody writes meanwhile: check it in the application")

    def unique(self, table: str, name: str, columns: Sequence[str]) -> list[str]:
        return self.index(table, name, columns, True, "")

    def foreign_key(self, table: str, name: str, columns: Sequence[str], references: str, to: Sequence[str], on_delete: str) -> list[str]:
        """InnoDB makes an index for it if there is none, which stays when the key goes: with one that has a name, there is none to be made."""
        index = self.index(table, self.called(table, *columns, "idx"), columns, False, "")
        added = self.alter(table, f"ADD CONSTRAINT {self.name(name)} {self.references(columns, references, to, on_delete)}")
        return [*index, "SET foreign_key_checks = 0;", *added, "SET foreign_key_checks = 1;"]

    def drop_constraint(self, table: str, name: str) -> list[str]:
        return self.alter(table, f"DROP CONSTRAINT {self.name(name)}")

    def index(self, table: str, name: str, columns: Sequence[str], unique: bool, where: str) -> list[str]:
        if where:
            raise UserError("MySQL has no index of a part of the rows: leave where out")
        return self.over(table, name, f"({self.list(columns)})", unique)

    def over(self, table: str, name: str, over: str, unique: bool) -> list[str]:
        return self.alter(table, f"ADD {'UNIQUE INDEX' if unique else 'INDEX'} {self.name(name)} {over}")

    def drop_index(self, table: str, name: str) -> list[str]:
        return self.alter(table, f"DROP INDEX {self.name(name)}")


class _Sqlite(_Common):
    """SQLite, 3.35 and later (DROP COLUMN): it has one writer at a time, and changes no constraint of a table that is there ("ALTER TABLE")."""

    dialect: Dialect = "sqlite"

    def add_column(self, table: str, column: str, type: str, default: str, not_null: bool) -> list[str]:
        return [f"ALTER TABLE {self.name(table)} ADD COLUMN {self.definition(column, type, default, not_null)};"]

    def drop_column(self, table: str, column: str) -> list[str]:
        drop = f"ALTER TABLE {self.name(table)} DROP COLUMN {self.name(column)};"
        return [f"-- SQLite drops no column that an index names: DROP INDEX before this, if there is one of {column}.", drop]

    def require(self, table: str, column: str, type: str, default: str = "") -> list[str]:
        raise UserError(f"SQLite makes no column NOT NULL that is there, and adds {column} so with a default alone: give one, or leave NULL to the application")

    def at_once(self, default: str) -> bool:
        return bool(default)

    def default(self, table: str, column: str, default: str) -> list[str]:
        raise UserError(f"SQLite gives {default} to every row that is there, and then nothing tells which to fill: leave out default, or fill")

    def check(self, table: str, name: str, expression: str) -> list[str]:
        raise UserError(f"SQLite adds no constraint to a table that is there: check {name} in the application, or with a trigger")

    def unique(self, table: str, name: str, columns: Sequence[str]) -> list[str]:
        return self.index(table, name, columns, True, "")

    def foreign_key(self, table: str, name: str, columns: Sequence[str], references: str, to: Sequence[str], on_delete: str) -> list[str]:
        raise UserError(f"SQLite adds a foreign key with a new column only: add_column with type='INTEGER REFERENCES {references}'")

    def drop_constraint(self, table: str, name: str) -> list[str]:
        raise UserError(f"SQLite drops no constraint of a table that is there; {name} stays")

    def index(self, table: str, name: str, columns: Sequence[str], unique: bool, where: str) -> list[str]:
        return self.over(table, name, f"({self.list(columns)})" + (f" WHERE {where}" if where else ""), unique)

    def over(self, table: str, name: str, over: str, unique: bool) -> list[str]:
        return [f"CREATE {'UNIQUE INDEX' if unique else 'INDEX'} {self.name(name)} ON {self.name(table)} {over};"]

    def drop_index(self, table: str, name: str) -> list[str]:
        return [f"DROP INDEX {self.name(name)};"]
