"""Where Alembic is, by its own ``current``: it can go nowhere from a revision whose file is not there."""

import re
from collections.abc import Sequence

_UNKNOWN = re.compile(r"Can't locate revision identified by '([^']*)'")


def goal(argv: Sequence[str]) -> str:
    """The revision to which a command goes; empty if it is no ``upgrade`` or ``downgrade`` of Alembic's."""
    behind = iter(argv[at + 1 :] if (at := _verb(argv)) else ())
    for word in behind:
        if word == "--tag":
            next(behind, None)
        elif not word.startswith("--"):
            return word
    return ""


def asking(argv: Sequence[str], verb: str) -> list[str]:
    """The command that only asks something, where another one changes something."""
    return [*argv[: _verb(argv)], verb]


def unknown(said: str) -> str:
    """The revision that the directory does not have, as Alembic says when it fails; empty if that is not why."""
    return found[1] if (found := _UNKNOWN.search(said)) else ""


def _verb(argv: Sequence[str]) -> int:
    """Where it says what Alembic is to do; 0 if it is not Alembic, or neither of the two."""
    tool = next((at for at, word in enumerate(argv) if word == "alembic" or word.endswith("/alembic")), len(argv))
    return next((at for at in range(tool + 1, len(argv)) if argv[at] in ("upgrade", "downgrade")), 0)
