"""The texts of a migration's folder that are written for somebody: its migration.toml, and a revert.sql."""

import json
import re
import textwrap
from collections.abc import Mapping, Sequence

from bleen.database import reverting


def revert_sql(back: reverting.Revert) -> str:
    """The text of a revert.sql, from what is derived."""
    if back.stays:
        open_ = "".join(f"-- expand.sql:{at.line}: {why}\n" for at, why in back.stays)
        rest = f"-- beside what is known, newest first, a comment until then:\n{textwrap.indent(back.text, '-- ')}" if back.statements else ""
        way = f"-- or, if there is no way back: {reverting.MARK.removeprefix('-- ')} REASON\n"
        return f"-- Undoes expand.sql, until contract. To be written:\n{open_}{rest}{way}"
    return (
        f"-- Undoes expand.sql, until contract.\n{back.text}"
        if back.statements
        else "-- There is nothing to undo but a [[sync]] of migration.toml, if there is one.\n"
    )


def settings(pairs: Sequence[str], description: str = "") -> str:
    """The text of a migration.toml."""
    return f"description = {quoted(description)}  # what `plan` and `status` say\n" + "".join(f"\n{pair}" for pair in pairs)


def pair_toml(table: str, old: Sequence[str], new: Sequence[str], forward: Mapping[str, str], backward: Mapping[str, str]) -> str:
    """A [[sync]]; an expression that is empty is to be written by a person, and until then the migration is refused."""
    told = ", ".join(new)
    todo = f"# TODO: an expression over {told} for each. Without it, neither the old version nor a rollback can read what the new one writes.\n"
    open_ = "" if all(backward.values()) else todo
    return f"""\
# While both versions run, {", ".join(old)} and {told} say the same, whoever writes: until contract.
[[sync]]
table = {quoted(table)}
old = [{", ".join(map(quoted, old))}]
new = [{", ".join(map(quoted, new))}]
# forward: {told} from {", ".join(old)}
forward = {_inline(forward)}
# backward: {", ".join(old)} from {told}
{open_}backward = {_inline(backward)}
on_conflict = "new"  # who writes both sides at once, and names no environment: "new" or "old" counts, or "error"
# lossy = true       # declares that old -> new -> old may give another value; undeclared, `migrate expand` counts such rows and refuses
"""


def _inline(expressions: Mapping[str, str]) -> str:
    keys = {name: name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else quoted(name) for name in expressions}
    return "{ " + ", ".join(f"{keys[name]} = {quoted(text)}" for name, text in expressions.items()) + " }"


def quoted(text: str) -> str:
    """A string of TOML."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
