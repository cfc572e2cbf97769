"""The columns of a table of MySQL or MariaDB, and how values of them are compared and converted."""

import re
from collections.abc import Mapping
from typing import NamedTuple

from bleen.database.mysql.server import MySQL
from bleen.database.tokens import read

INTEGERS = ("tinyint", "smallint", "mediumint", "int", "bigint", "year", "bit")

TEXTS = {"tinytext": 255, "text": 65_535, "mediumtext": 16_777_215, "longtext": 4_294_967_295}
_LENGTH = re.compile(r"(?:(?:n|national +)?(?:varchar|char|character(?: varying)?)) *\( *(\d+) *\)", re.IGNORECASE)


def characters(type: str) -> int:
    """How many characters a column of this type takes, or bytes of a TEXT; 0 where it takes no text, or that is not known."""
    found = _LENGTH.match(type)
    return int(found[1]) if found else TEXTS.get(type.lower(), 0)


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
    cuts: bool
    """Whether the server, without a strict ``sql_mode``, cuts what it does not hold, or makes 0, '' or no date of it: so do our triggers and backfills."""
    definition: str
    """As SHOW CREATE TABLE has it, without its name; MariaDB's JSON, which it shows as LONGTEXT with a CHECK, as it is said to get it again."""
    generated: bool
    """Generated, or counting by itself: not ours to write."""

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

    @property
    def members(self) -> list[str]:
        """What an ENUM or a SET may hold, each as a string of SQL."""
        return [token.text for token in read(self.type, "mysql").sentences[0].tokens if token.kind == "string"]

    def cast(self, value: str) -> str:
        """A value as the column stores it, in a query; CAST makes another one of many. What the server would not take stays as it is."""
        length = re.search(r"\(.*\)", self.type)
        sized = length[0] if length else ""
        if self.base == "year":
            return _YEAR.format(value=value)
        if self.base in INTEGERS:
            kind = "UNSIGNED" if "unsigned" in self.type or self.base == "bit" else "SIGNED"
            if self.base == "bit":
                return f"CAST({value} AS {kind})"
            stored, bits = _INTEGER.format(value=value, kind=kind), BITS[self.base]
            low, high = (0, 2**bits - 1) if kind == "UNSIGNED" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
            return f"CASE WHEN {value} < {low} THEN {low} WHEN {value} > {high} THEN {high} ELSE {stored} END" if self.cuts else stored
        if self.base in ("float", "double") and "," in sized:
            return _ROUNDED.format(value=f"CAST({value} AS double)", digits=sized.strip("()").split(",")[1].strip(), kind=self.base)
        if self.base in ("decimal", "date", "time", "datetime", "float", "double", "uuid", "inet4", "inet6", "json"):
            return self._dated(value, f"{self.base}{sized if self.base in ('decimal', 'time', 'datetime') else ''}")
        if self.base == "timestamp":
            return self._dated(value, f"datetime{sized}")
        if self.base == "binary":
            return f"CAST({value} AS BINARY{sized})"
        if not self.charset:
            return value
        given = f"CONVERT({value} USING {self.charset})"
        unfit = f"IF({given} IS NULL, NULL, '')" if self.cuts else given
        if self.cuts and self.base in ("char", "varchar"):
            given = f"LEFT({given}, {sized.strip('()')})"
        collated = f"{given} COLLATE {self.collation}"
        members = [f"CONVERT({member} USING {self.charset})" for member in self.members] if self.base in ("enum", "set") else []
        if self.base == "enum":
            each = ", ".join(members)
            return f"COALESCE(ELT(FIELD(TRIM(TRAILING ' ' FROM {collated}), {each}), {each}), {unfit})"
        if self.base == "set":
            chosen = ", ".join(f"IF(FIND_IN_SET({member}, {collated}), {member}, NULL)" for member in members)
            return f"COALESCE(NULLIF(CONCAT_WS(',', {chosen}), ''), {unfit})"
        return f"TRIM(TRAILING ' ' FROM {given})" if self.base == "char" else given

    def _dated(self, value: str, type: str) -> str:
        if self.cuts and self.base in ("date", "datetime", "timestamp"):
            # by way of a text: a comparison with what COALESCE makes of dates goes by a date that is none, not by what it gives
            return f"IF({value} IS NULL, NULL, CAST(COALESCE(CAST(CAST({value} AS {type}) AS CHAR), '0000-00-00') AS {type}))"
        return f"CAST({value} AS {type})"


BITS = {"tinyint": 8, "smallint": 16, "mediumint": 24, "int": 32, "bigint": 64}
_INTEGER = "IF(COERCIBILITY({value}) = 5, CAST({value} AS {kind}), CAST(ROUND(CAST({value} AS DECIMAL(65, 30))) AS {kind}))"
"""A string is read as a number with all that it has, ``1e3`` and ``1.5``, and rounded; 5 is what is a number already, or a time."""
_YEAR = (
    "CASE WHEN CAST({value} AS SIGNED) BETWEEN 70 AND 99 THEN CAST({value} AS SIGNED) + 1900"
    " WHEN CAST({value} AS SIGNED) BETWEEN 1 AND 69 THEN CAST({value} AS SIGNED) + 2000"
    " WHEN CAST({value} AS SIGNED) = 0 AND COERCIBILITY({value}) <> 5 AND CHAR_LENGTH({value}) <> 4 THEN 2000 ELSE CAST({value} AS SIGNED) END"
)
_ROUNDED = "CAST(FLOOR({value}) + ROUND(({value} - FLOOR({value})) * 1e{digits}) / 1e{digits} AS {kind})"
"""As the server does it, to the last bit."""


def shapes(mysql: MySQL, written: str) -> Mapping[str, Shape]:
    """The columns of a table, by name, in their order; none if there is no such table."""
    schema, table = mysql.named(written)
    columns = mysql.columns(written)
    if not columns:
        return {}
    facts = mysql.rows(
        "SELECT c.column_name, c.data_type, coalesce(c.character_set_name, ''), coalesce(c.collation_name, ''),"
        " c.column_name IN (SELECT s.column_name FROM information_schema.statistics s WHERE s.table_schema = %s AND s.table_name = %s AND s.non_unique = 0)"
        " FROM information_schema.columns c WHERE c.table_schema = %s AND c.table_name = %s",
        [schema, table] * 2,  # where a subquery goes by what is around it, MariaDB opens every table of the server
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
        held, cuts = bool(unique or checked), not mysql.strict
        found[name] = Shape(column.type, base, column.nullable, column.default, charset, collation, held, cuts, definition, column.generated)
    return found
