"""What a release does to the database: expand before the switch, contract after the window.

bleen migrate SUBVERB --help     tells all of one
"""

import os
import re
import sys
from argparse import SUPPRESS, ArgumentParser, Namespace
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from bleen.errors import UserError

if TYPE_CHECKING:
    from bleen.database.statements import Dialect

SUBVERBS = {
    "new": "write a migration's folder: templates, or what operations such as split_column come to",
    "import": "split files of SQL by phase, into a migration's folder",
    "lint": "read SQL files as the phases of one release, and find what takes a site down",
    "plan": "show what a version's migrations would do",
    "rehearse": "carry a version's expand out on a clone of the database, and undo it there",
    "expand": "carry a version's migrations out as far as both versions can live with",
    "backfill": "go over the rows of an expanded migration once more",
    "status": "tell what the database has seen, and what each pending contract waits for",
    "contract": "take away what only older versions needed",
    "revert": "undo an expand",
    "forget": "take a service that is gone for good out of the database's books",
}
"""Each sub-verb in a few words, in the order of a migration's life: a module of this package each, like a verb's, loaded when it is asked for."""


def arguments(parser: ArgumentParser) -> None:
    told = "; ".join(f"{subverb}: {words}" for subverb, words in SUBVERBS.items())
    parser.usage = "bleen migrate SUBVERB [options]"
    parser.add_argument("subverb", choices=SUBVERBS, metavar="SUBVERB", help=told)
    parser.add_argument("rest", nargs="*", default=(), help=SUPPRESS)


def run(args: Namespace) -> int:
    raise UserError(f"options come after the sub-verb: bleen migrate {args.subverb} [options]")


def whose(args: Namespace) -> "Dialect":
    """Whose SQL is to be written: as --dialect says, else that of the database in bleen.yaml; PostgreSQL's where that does not say."""
    from bleen import config
    from bleen.cli import migrating
    from bleen.database import dialect

    said: Dialect | None = args.dialect
    if said is None and os.path.exists(file := migrating.file_of(args)):
        with suppress(UserError):  # a file with faults, or a variable that is not set here, keeps nobody from writing SQL
            if shared := config.database(config.load(Path(file)), ""):
                said = dialect(shared.url)
    return said or "postgres"


def place(file: str, to: Path) -> list[str]:
    """What a person has to know of a directory that a deploy does not look into: where ``database.migrations`` of a bleen.yaml is. Nothing without that file.

    Raises Faults for one that is wrong.
    """
    if not os.path.exists(file):
        return []
    from bleen import config
    from bleen.config.fields import filled

    loaded = config.load(Path(file), None)
    database = loaded.file.database
    if database is None:
        return [f"a deploy does not find it yet: {file} names no database; add `database: {{url: ${{DATABASE_URL}}}}`, and put it where its `migrations` says"]
    wanted = str(loaded.beside(filled(database.migrations, {"version": "{version}"})))
    if re.fullmatch("[^/]+".join(map(re.escape, wanted.split("{version}"))), os.path.abspath(to)):
        return []
    return [f"a deploy looks into {os.path.relpath(wanted)} (database.migrations of {file}): move it there, for the version that brings it, or say --to"]


def text(file: str) -> str:
    """The text of a file, or of standard input if it is called ``-``, without a byte order mark, as editors on Windows write it. Raises UserError if it
    cannot be read.
    """
    try:
        data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror}") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(f"{file}:{line}: is not UTF-8 (byte {error.start}); save it as UTF-8") from None
