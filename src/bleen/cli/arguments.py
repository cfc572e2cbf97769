"""One parser for one verb: what is common to all of them, and what the verb adds. Its ``--help`` is its manual."""

import argparse
import os
from types import ModuleType


class Manual(argparse.RawDescriptionHelpFormatter):
    """As wide as the terminal, like argparse's own; which loads shutil and all its archive formats to learn that, for every option that is added."""

    def __init__(self, prog: str) -> None:
        try:
            columns = int(os.environ.get("COLUMNS") or os.get_terminal_size().columns)
        except (OSError, ValueError):
            columns = 100
        super().__init__(prog, width=max(columns, 40) - 2)


def parser(verb: str, module: ModuleType) -> argparse.ArgumentParser:
    """The parser of a verb, from its module: the docstring is the manual, ``arguments(parser)`` adds its own."""
    summary, _, manual = (module.__doc__ or "").strip().partition("\n")
    made = argparse.ArgumentParser(
        prog=f"bleen {verb}", description=summary, epilog=manual.strip() or None, formatter_class=Manual
    )
    add = getattr(module, "arguments", None)
    if add is not None:
        add(made)
    common = made.add_argument_group("common options")
    common.add_argument("-f", "--file", default="bleen.yaml", metavar="FILE", help="the service's bleen.yaml (default: %(default)s)")
    common.add_argument("--service", metavar="NAME", help="the service by its name, where its bleen.yaml is gone or elsewhere")
    common.add_argument("--json", action="store_true", help="print JSON")
    return made
