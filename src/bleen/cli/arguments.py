"""One parser for one verb: what is common to all of them, and what the verb adds. Its ``--help`` is its manual."""

import argparse
import math
import os
from collections.abc import Callable
from types import ModuleType
from typing import NoReturn

from bleen.errors import UserError
from bleen.host import clock

_MOST = (1 << 63) - 1
"""What the journal can hold."""


class Manual(argparse.RawDescriptionHelpFormatter):
    """As wide as the terminal, like argparse's own; which loads shutil and all its archive formats to learn that, for every option that is added."""

    def __init__(self, prog: str) -> None:
        try:
            columns = int(os.environ.get("COLUMNS") or os.get_terminal_size().columns)
        except (OSError, ValueError):
            columns = 100
        super().__init__(prog, width=max(columns, 40) - 2)


class Parser(argparse.ArgumentParser):
    """Tells what is wrong with a command line as everything else is told: in a line, or as JSON where that is asked for."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; `{self.prog} --help` says what is right")

    def read(self, words: list[str]) -> argparse.Namespace:
        """A command line. Options may stand between files, or between operations; what comes behind ``--`` is no option."""
        return self.parse_args(words) if "--" in words else self.parse_intermixed_args(words)


def at_least(least: int) -> Callable[[str], int]:
    """What reads a number that counts something."""

    def number(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number from {least} on")
        if int(text) > _MOST:
            raise argparse.ArgumentTypeError(f"{text} is larger than any number here")
        return int(text)

    return number


def seconds(text: str) -> float:
    """A length of time, as bleen.yaml has it, or a bare number of seconds."""
    length = clock.duration(text)
    try:
        length = float(text) if length is None else length
    except ValueError:
        length = math.nan
    if not 0 <= length < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no length of time: write 20s, 15m or 2h")
    return length


def parser(verb: str, module: ModuleType) -> Parser:
    """The parser of a verb, from its module: the docstring is the manual, ``arguments(parser)`` adds its own."""
    summary, _, manual = (module.__doc__ or "").strip().partition("\n")
    made = Parser(prog=f"bleen {verb}", description=summary, epilog=manual.strip() or None, formatter_class=Manual)
    add = getattr(module, "arguments", None)
    if add is not None:
        add(made)
    common = made.add_argument_group("common options")
    common.add_argument("-f", "--file", default="bleen.yaml", metavar="FILE", help="the service's bleen.yaml (default: %(default)s)")
    common.add_argument("--service", metavar="NAME", help="the service by its name, where its bleen.yaml is gone or elsewhere")
    common.add_argument("--json", action="store_true", help="print JSON")
    return made
