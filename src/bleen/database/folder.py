"""A new migration's folder: its number is the next one, nothing is overwritten, and it is there as a whole or not at all."""

import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from bleen.database.migration import PHASES
from bleen.errors import UserError

_NUMBERED = re.compile(r"(\d{1,18})_")
_NAME = re.compile(r"[a-z0-9][a-z0-9_]{0,99}")
_LONGEST = 100


def slug(text: str) -> str:
    """A name as a migration's folder has it: ``V12__Full-Name`` is ``full_name``. Raises UserError if nothing is left."""
    words = re.sub(r"^[vV]?[\d._]+(?=[_-])", "", text)
    found = re.sub(r"[^a-z0-9]+", "_", words.lower()).strip("_")[:_LONGEST]
    if not _NAME.fullmatch(found):
        raise UserError(f"{text!r} is no name for a migration; say one of letters, digits and underscores: full_name")
    return found


def nth(name: str, number: int) -> str:
    """What the first, second ... of several migrations is called that were asked for by one name."""
    behind = "" if number == 1 else f"_{number}"
    return name[: _LONGEST - len(behind)].rstrip("_") + behind


def next_number(to: Path) -> int:
    """The next free number of a directory of migrations, be it there or not."""
    taken = [int(found[1]) for each in (to.iterdir() if to.is_dir() else ()) if (found := _NUMBERED.match(each.name))]
    return max(taken, default=0) + 1


def same(to: Path, files: Mapping[str, str]) -> Path | None:
    """The migration of a directory whose phases have the very same SQL; its other files a person may have gone on with."""
    for each in sorted(to.iterdir()) if to.is_dir() else ():
        if all(_text(each / f"{phase}.sql") == files.get(f"{phase}.sql", "") for phase in PHASES):
            return each
    return None


def spoken(to: Path) -> str:
    """The SQL of every migration of a directory, be it there or not."""
    return "\n".join(_text(file) for file in sorted(to.glob("*/*.sql")))


def write(to: Path, number: int, name: str, files: Mapping[str, str]) -> Path:
    """Writes a migration; its folder. Raises UserError if it cannot be written."""
    folder = to / f"{number:04d}_{name}"
    part = folder.with_name(f".{folder.name}.part")
    if folder.exists():
        raise UserError(f"{folder} is there already; nothing was overwritten")
    try:
        to.mkdir(parents=True, exist_ok=True)
        part.mkdir()
        for file, text in files.items():
            (part / file).write_text(text, encoding="utf-8")
        part.rename(folder)
    except OSError as error:
        shutil.rmtree(part, ignore_errors=True)
        raise UserError(f"{folder}: cannot be written: {error.strerror}") from None
    return folder


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig") if file.is_file() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: cannot be read: {error}") from None
