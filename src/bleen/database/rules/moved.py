"""What has to be said where a second column takes the place of a first one: the [[sync]] that keeps both equal while two versions write, and the default.

Without them what the old version writes after the backfill is in the old column alone, and lost when contract drops it.
"""

import json
import re


def kept_equal(table: str, old: str, new: str, forward: str, backward: str, default: str) -> str:
    """Lines of comment, for a fix: ``table`` and the expressions as SQL writes them, ``old`` and ``new`` as names; ``default`` says how that moves along."""
    lines = [
        f"in migration.toml, or what is written to {old} after the backfill is lost at contract:",
        "  [[sync]]",
        f"  table = {_quoted(table)}",
        f"  old = [{_quoted(old)}]",
        f"  new = [{_quoted(new)}]",
        f"  forward = {{ {_key(new)} = {_quoted(forward)} }}",
        f"  backward = {{ {_key(old)} = {_quoted(backward)} }}",
        '  on_conflict = "new"',
        default,
    ]
    return "\n".join("-- " + " ".join(line.splitlines()) for line in lines if line)


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _quoted(name)


def _quoted(text: str) -> str:
    """A string of TOML."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
