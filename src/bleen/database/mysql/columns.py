"""The columns of a table of MySQL or MariaDB, and how values of them are compared and converted."""

import re
from collections.abc import Mapping
from typing import NamedTuple

from bleen.database.mysql.server import MySQL

INTEGERS = ("tinyint", "smallint", "mediumint", "int", "bigint", "year", "bit")


class Shape(NamedTuple):
    """A column as the catalogue has it."""

    type: str
    """With its length and such: ``decimal(10,2) unsigned``."""
    base: str
    """Without: ``decimal``."""
    nullable: bool
    default: str
    """The expression; empty if there is none."""
    charset: str
    """Empty if it has none."""
    collation: str
    held: bool
    """A unique index or a CHECK is over it: no one value is right for every row."""
    definition: str
    """As SHOW CREATE TABLE has it, without its name; MariaDB's JSON, which it shows as LONGTEXT with a CHECK, as it is said to get it again."""

    @property
    def document(self) -> bool:
        """Whether it is JSON."""
        return self.definition.startswith("json")

    @property
    def declared(self) -> str:
        """The type for a local variable that takes what the column takes."""
        return f"{self.type} CHARACTER SET {self.charset} COLLATE {self.collation}" if self.charset else self.type

    @property
    def demanded(self) -> bool:
        """An INSERT has to give it."""
        return not self.nullable and not self.default

    def same(self, one: str, other: str) -> str:
        """Whether two values of it are the same, byte for byte."""
        if self.charset or self.base in ("binary", "varbinary") or self.base.endswith("blob"):
            return f"CAST({one} AS BINARY) <=> CAST({other} AS BINARY)"
        return f"{one} <=> {other}"

    def cast(self, value: str) -> str:
        """A value as it would be in the column, in a query. A string that is too long stays as it is."""
        length = re.search(r"\(.*\)", self.type)
        sized = length[0] if length else ""
        if self.base in INTEGERS:
            return f"CAST({value} AS {'UNSIGNED' if 'unsigned' in self.type or self.base == 'bit' else 'SIGNED'})"
        if self.base in ("decimal", "date", "time", "datetime", "float", "double", "uuid", "inet4", "inet6", "json"):
            return f"CAST({value} AS {self.base}{sized if self.base in ('decimal', 'time', 'datetime') else ''})"
        if self.base == "timestamp":
            return f"CAST({value} AS datetime{sized})"
        if self.base == "binary":
            return f"CAST({value} AS BINARY{sized})"
        if self.charset:
            given = f"CONVERT({value} USING {self.charset})"
            return f"TRIM(TRAILING ' ' FROM {given})" if self.base == "char" else given
        return value


def shapes(mysql: MySQL, written: str) -> Mapping[str, Shape]:
    """The columns of a table, by name, in their order; none if there is no such table."""
    schema, table = mysql.named(written)
    columns = mysql.columns(written)
    if not columns:
        return {}
    facts = mysql.rows(
        "SELECT c.column_name, c.data_type, coalesce(c.character_set_name, ''), coalesce(c.collation_name, ''),"
        " EXISTS (SELECT 1 FROM information_schema.statistics s WHERE s.table_schema = c.table_schema AND s.table_name = c.table_name"
        " AND s.column_name = c.column_name AND s.non_unique = 0) FROM information_schema.columns c WHERE c.table_schema = %s AND c.table_name = %s",
        [schema, table],
    )
    shown = str(mysql.rows(f"SHOW CREATE TABLE {mysql.quoted(schema)}.{mysql.quoted(table)}")[0][1]).splitlines()
    found = {}
    for name, base, charset, collation, unique in facts:
        column, quoted = columns[name], mysql.quoted(name)
        line = next((line.strip() for line in shown if line.strip().startswith(f"{quoted} ")), "")
        definition = line.removeprefix(f"{quoted} ").removesuffix(",")
        valid = f" CHECK (json_valid({quoted}))"
        document = collation == "utf8mb4_bin" and definition.startswith("longtext") and definition.endswith(valid)
        others = [each for each in shown if not (document and each.strip() == line)]
        checked = any("CHECK (" in each and quoted in each[each.index("CHECK (") :] for each in others)
        if document:
            definition = re.sub(r"^longtext( CHARACTER SET utf8mb4)?( COLLATE utf8mb4_bin)?", "json", definition.removesuffix(valid))
        found[name] = Shape(column.type, base, column.nullable, column.default, charset, collation, bool(unique or checked), definition)
    return found
