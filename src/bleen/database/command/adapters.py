"""A migration's folder for what another tool already has: migration.toml with the commands of its halves, which ``bleen migrate new`` writes."""

import json
from collections.abc import Mapping, Sequence

from bleen.database.importing import Imported
from bleen.errors import UserError


def alembic(given: str) -> Imported:
    """From ``BEFORE:EXPAND`` or ``BEFORE:EXPAND:CONTRACT``, revisions of Alembic. Raises UserError for anything else."""
    before, expand, contract = _revisions(given, "--alembic", "BEFORE:EXPAND:CONTRACT, the revisions of Alembic")
    tool = ".venv/bin/alembic"
    commands = {
        "expand": [tool, "upgrade", expand],
        "contract": [tool, "upgrade", contract] if contract else [],
        "revert": [tool, "downgrade", before],
        "sql": [tool, "upgrade", f"{before}:{expand}", "--sql"],
    }
    program = f"# {tool}: as Alembic is called in that directory.\n"
    back = f"`downgrade {expand}@{before}`"
    branches = f"# In two branches, one of them for what contracts, revert is {back}, and the next expand need not wait for this contract:\n"
    return Imported({"migration.toml": _toml("Alembic", commands) + program + branches + "# branched = true\n"}, ())


def django(given: str) -> Imported:
    """From ``APP:BEFORE:EXPAND`` or ``APP:BEFORE:EXPAND:CONTRACT``, migrations of a Django app. Raises UserError for anything else."""
    app, _, names = given.partition(":")
    before, expand, contract = _revisions(names, "--django", "APP:BEFORE:EXPAND:CONTRACT, migrations of an app: shop:0006:0007:0008")
    manage = [".venv/bin/python", "manage.py"]
    migrate = [*manage, "migrate", app]
    commands = {
        "expand": [*migrate, expand],
        "contract": [*migrate, contract] if contract else [],
        "revert": [*migrate, before],
        "sql": [*manage, "sqlmigrate", app, expand],
    }
    python = "# .venv/bin/python: the Python that has Django, as it is called in that directory.\n"
    return Imported({"migration.toml": _toml("Django", commands) + python}, ())


def template() -> Imported:
    """For any other command, to be filled in."""
    return Imported({"migration.toml": _HEAD.format(tool="The tool") + _TEMPLATE}, ())


_HEAD = """\
description = ""  # what `plan` and `status` say

# {tool} runs in the directory of the version, with the application's environment and DATABASE_URL. It may be killed and run again.
"""
_TEMPLATE = """\
# [command]
# expand = ["./migrate", "up", "7"]        # run while the old version serves, before expand.sql; the old version must not notice it
# contract = ["./migrate", "up", "8"]      # run when nobody can go back any more, behind contract.sql
# revert = ["./migrate", "down", "6"]      # undoes expand, until contract
# sql = ["./migrate", "show", "7"]         # prints the SQL of expand, which the rules judge; or, where it cannot:
# unjudged = "why nobody has to judge it"
# allow = { change-type = "why it may be broken here" }
# branched = true                          # expand leaves alone what an earlier contract is still to do
"""


def _toml(tool: str, commands: Mapping[str, Sequence[str]]) -> str:
    return _HEAD.format(tool=tool) + "[command]\n" + "".join(f"{name} = {json.dumps(argv)}\n" for name, argv in commands.items() if argv)


def _revisions(given: str, option: str, what: str) -> tuple[str, str, str]:
    parts = given.split(":")
    if len(parts) not in (2, 3) or not all(parts):
        raise UserError(f"{option} wants {what}; the last one may be left out")
    return parts[0], parts[1], parts[2] if len(parts) == 3 else ""
