"""Commands of other tools (Alembic, Django, Flyway ...) as halves of a migration.

Such a tool keeps a book of its own, so that its command may be run again wherever it was killed; that is asked of every command.
"""

from typing import Literal, get_args

from bleen.database.ledger import Part
from bleen.database.migration import Migration

Half = Literal["expand", "contract", "revert"]
HALVES: tuple[Half, ...] = get_args(Half)
VERSION: tuple[Part, int] = ("command", 0)
"""The step that holds the version whose expand it was."""


def words(migration: Migration, half: Half) -> tuple[str, ...]:
    """The command of a half, empty if it has none."""
    found: tuple[str, ...] = getattr(migration.command, half)
    return found


def step(half: Half) -> tuple[Part, int]:
    """Under which the ledger has it."""
    return "command", HALVES.index(half) + 1
