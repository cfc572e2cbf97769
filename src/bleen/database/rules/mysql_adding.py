"""How a column comes to a table in use in MySQL and MariaDB, for a fix: all that is said of it, in the steps that neither copy nor stop anybody.

Sources: as in ``mysql_alter``. What only one of the two servers does so is said in a comment.
"""

from collections.abc import Mapping, Sequence

from bleen.database.grammar.conditions import Value, truth, value
from bleen.database.grammar.mysql_column import Column, is_constant
from bleen.database.tokens import Token, read

ONLINE = "ALGORITHM=INPLACE, LOCK=NONE"
INSTANT = "ALGORITHM=INSTANT"
_ZEROS = {
    "DATE": "'1970-01-01'",
    "DATETIME": "'1970-01-01 00:00:00'",
    "TIME": "'00:00:00'",
    "JSON": "'{}'",
    "UUID": "'00000000-0000-0000-0000-000000000000'",
    "INET4": "'0.0.0.0'",
    "INET6": "'::'",
}
_TEXTS = ("CHAR", "VARCHAR", "NCHAR", "NVARCHAR", "NATIONAL", "TEXT", "BLOB", "BINARY", "VARBINARY", "TINY", "MEDIUM", "LONG", "SET")
_NUMERIC = ("TINYINT", "SMALLINT", "MEDIUMINT", "INT", "BIGINT", "DEC", "NUMERIC", "FIXED", "FLOAT", "DOUBLE", "REAL", "BIT", "BOOL", "NUMBER", "YEAR")


def added(column: Column, table: Sequence[Token], perhaps: str = "") -> str:
    """The column, what its rows are filled with, and what waits for contract; empty where what can be had of it would be another column."""
    name, on = column.name.text, ".".join(token.text for token in table)
    written = column.written()
    default: Value = value(column.default) if column.default else None
    volatile = not is_constant(column.default)
    alone = not (written.pop("KEY", "") or column.references)
    references = written.pop("REFERENCES", "")
    expand, backfill, contract = [], [], []
    if column.generated:
        if references:
            return ""
        if column.generated == "STORED":
            written["AS"] = f"GENERATED ALWAYS AS {column.expression} VIRTUAL"
    elif column.not_null and column.timestamp and alone and default is None:  # MariaDB copies the table to make one NOT NULL
        written = {**written, "NULL": "NOT NULL DEFAULT CURRENT_TIMESTAMP" + column.type[len("TIMESTAMP") :], "DEFAULT": ""}
    elif volatile or (column.not_null and default is None):
        set_to = column.bare_default if volatile else _zero(column, alone)
        strict = {**written, "NULL": "NOT NULL", "DEFAULT": written.get("DEFAULT", "") if volatile else ""}
        written, default = {"NULL": "NULL", **nullable(written)}, None
        expand = [_alter(on, f"ALTER COLUMN {name} SET DEFAULT ({set_to})")] if volatile else []
        backfill = [f"UPDATE {on} SET {name} = {set_to} WHERE {name} IS NULL;"]
        contract = required(column, on, strict) if column.not_null else []
    if column.no_json or any(truth(value(check, {column.name.identifier.lower(): default})) is False for check in column.checks if not column.generated):
        return ""
    if column.key:
        if column.endless or (default is not None and not column.generated):
            return ""  # MariaDB copies the table for it; the same in each row
        index = (f"{table[-1].identifier}_{column.name.identifier}"[:57] + "_unique").replace("`", "``")  # 64 characters are a name
        (contract if column.generated else expand).append(_alter(on, f"ADD UNIQUE INDEX `{index}` ({name})", ONLINE))
    if references:
        key = ["SET foreign_key_checks = 0;", _alter(on, f"ADD FOREIGN KEY ({name}) {references}", ONLINE), "SET foreign_key_checks = 1;"]
        expand, contract = (expand, [*contract, *key]) if column.default and value(column.default) is not None else ([*expand, *key], contract)
    expand.insert(0, _alter(on, f"{defined(f'ADD COLUMN {perhaps}'.rstrip(), column, written)} {column.position}".rstrip(), INSTANT))
    if column.checks:
        expand.insert(0, f"-- MySQL, other than MariaDB, refuses {INSTANT} with a CHECK: there, leave the CHECK out and check in the application")
    files = (("-- backfill.sql", backfill), ("-- contract.sql", contract))
    return "\n".join([*expand, *(line for file, lines in files if lines for line in (file, *lines))])


def required(column: Column, table: str, written: Mapping[str, str]) -> list[str]:
    """NOT NULL, and what else is said of a column, once it has a value in each row."""
    if column.timestamp or (column.checks and column.type.upper() == "JSON"):
        return [f"-- left out, since MariaDB copies {table} for it: NOT NULL at {column.name.text}".replace("\n", " ")]
    return [_alter(table, defined("MODIFY COLUMN", column, written), ONLINE)]


def nullable(written: Mapping[str, str]) -> dict[str, str]:
    """What is said of a column besides whether it may be NULL, and its default."""
    return {part: text for part, text in written.items() if part not in ("NULL", "DEFAULT")}


def defined(verb: str, column: Column, written: Mapping[str, str]) -> str:
    """A definition of a column from its parts."""
    return " ".join(filter(None, (verb, column.name.text, column.type, *written.values())))


def _alter(table: str, spec: str, how: str = "") -> str:
    return f"ALTER TABLE {table} {spec}{', ' + how if how else ''};"


def _zero(column: Column, alone: bool) -> str:
    """A value that a column of this type takes; where there is none that is nothing to everybody, a name that no column has."""
    tokens = read(column.type, "mysql").sentences[0].tokens
    kind = tokens[0].word
    if kind == "ENUM" and len(tokens) > 2:
        zero = tokens[2].text
    else:
        zero = _ZEROS.get(kind) or ("0" if kind.startswith(_NUMERIC) else "''" if kind.startswith(_TEXTS) else "")
    given = value(read(zero or "NULL", "mysql").sentences[0].tokens)
    met = all(truth(value(check, {column.name.identifier.lower(): given})) is True for check in column.checks)
    return zero if alone and met and zero else f"`a {kind} for every row`" if alone else f"`another {kind} for each row`"
