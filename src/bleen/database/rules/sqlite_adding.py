"""How a column comes to a table with rows in SQLite, for a fix: with all that is said of it that SQLite takes, and a comment about the rest.

Sources: SQLite, "ALTER TABLE ADD COLUMN" (what is refused), "CREATE TABLE" (DEFAULT), "Determination Of Column Affinity".
"""

from collections.abc import Sequence

from bleen.database.grammar.conditions import Value, truth, value
from bleen.database.grammar.sqlite import Column, is_constant
from bleen.database.tokens import Token, read


def added(column: Column, table: Sequence[Token]) -> str:
    """The column in as many steps as it takes; empty where what is left of it would be another column."""
    name, on = column.name.text, ".".join(token.text for token in table)
    written = dict(column.parts)
    left: tuple[str, ...] = ()
    filled = ""
    default: Value = value(column.default) if column.default else None
    unique = written.pop("UNIQUE", "")
    if column.key and default is not None and (is_constant(column.default) or len(column.default) == 1):
        return ""  # the same in each row, or the same time
    if column.stored:
        written["AS"] = f"GENERATED ALWAYS AS {column.expression} VIRTUAL"
    elif not is_constant(column.default) or (column.references and default is not None):
        filled = f"UPDATE {on} SET {name} = {column.default_text} WHERE {name} IS NULL;"
        left, default = ("NOT", "DEFAULT"), None
    elif column.not_null and not column.expression and default is None:
        zero = _zero(column)
        given = value(read(zero, "sqlite").sentences[0].tokens)
        if column.references or column.key or not all(_said(column, check, given) is True for check in column.checks):
            left = ("NOT",)
        else:
            written.pop("DEFAULT", None)
            written["NOT"], default = f"{written['NOT']} DEFAULT {zero}", given
    if not column.expression and any(_said(column, check, default) is False for check in column.checks):
        return ""
    told = " ".join(filter(None, (*(written.pop(part, "") for part in left), _conflict(unique))))
    lines = [f"ALTER TABLE {on} ADD COLUMN {' '.join(filter(None, (name, column.type, *written.values())))};"]
    if told:
        lines.insert(0, f"-- left out, since SQLite adds it to no table with rows, so that the application sees to it: {' '.join(told.splitlines())}")
    if column.key:
        index = f"{table[-1].identifier}_{column.name.identifier}_unique".replace('"', '""')
        of = ".".join((*(token.text for token in table[:-1]), f'"{index}"'))
        index = f"CREATE UNIQUE INDEX {of} ON {table[-1].text} ({name});"
        lines += ["-- contract.sql", index] if column.expression else [index]
    return "\n".join([*lines, "-- backfill.sql", filled] if filled else lines)


def _conflict(unique: str) -> str:
    """What a UNIQUE says of rows that it refuses, which no index says."""
    said = [token.text for sentence in read(unique, "sqlite").sentences for token in sentence.tokens[-3:]]
    return " ".join(said) if said[:1] and said[0].upper() == "ON" else ""


def _said(column: Column, check: Sequence[Token], default: Value) -> object:
    """What a CHECK says of the column's default."""
    return truth(value(check, {column.name.identifier.lower(): default}))


def _zero(column: Column) -> str:
    """A value that a column of this type takes for a default."""
    numeric = ("INT", "REAL", "FLOA", "DOUB", "NUM", "DEC", "BOOL")
    return "0" if any(part in column.type.upper() for part in numeric) else "''"
