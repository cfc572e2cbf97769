"""What holds the old version too, though nobody is locked out: from expand on its writes are refused, and neither abort nor rollback takes that away.

Source: PostgreSQL 18, "ALTER TABLE", NOT VALID: "the constraint will still be enforced against subsequent inserts or updates"; what was there before the
release is what the old version writes.
"""

from collections.abc import Iterable, Iterator

from postgast import walk

from bleen.database.rules.findings import Finding
from bleen.database.rules.postgres_look import Look, Message, kind, quoted
from bleen.database.rules.sentences import HELD
from bleen.database.statements import Place


def held(look: Look, table: tuple[str, ...], parts: Iterable[Message], fix: str, at: Place | None = None) -> Iterator[Finding]:
    """The warning about a constraint or a unique index, unless it is only over columns that this expand has added; ``fix`` is the same in contract."""
    columns = [name for part in parts for name in _columns(part)]
    before = [name for name in dict.fromkeys(columns) if not look.known.made("column", *table, name)]
    if look.expanding and (before or not columns):
        over = ", ".join(quoted(name) for name in before) or "its rows"
        yield look.warning("holds-the-old-version", f"{quoted(*table)}: {HELD.format(over=over)}", f"-- contract.sql\n{fix}" if fix else "", at=at)


def _columns(part: Message) -> Iterator[str]:
    """The columns that a part of a constraint or of an index names; of ``a.b`` the last."""
    if kind(part) == "Node" and part.WhichOneof("node") == "string":
        yield part.string.sval
    for _, node in walk(part):
        if kind(node) == "ColumnRef":
            yield node.fields[-1].string.sval or "*"
        elif kind(node) == "IndexElem" and node.name:
            yield node.name
