"""What a release does to the database: expand before the switch, contract after the window.

bleen migrate SUBVERB --help     tells all of one
"""

from argparse import ArgumentParser, Namespace

from bleen.errors import UserError

SUBVERBS = {
    "lint": "read SQL files as the phases of one release, and find what takes a site down",
    "plan": "show what a version's migrations would do",
    "expand": "carry a version's migrations out as far as both versions can live with",
    "backfill": "go over the rows of an expanded migration once more",
    "status": "tell what the database has seen, and what each pending contract waits for",
    "contract": "take away what only older versions needed",
    "revert": "undo an expand",
}
"""Each sub-verb in a few words, in the order of a migration's life: a module of this package each, like a verb's, loaded when it is asked for."""


def arguments(parser: ArgumentParser) -> None:
    told = "; ".join(f"{subverb}: {words}" for subverb, words in SUBVERBS.items())
    parser.add_argument("subverb", choices=SUBVERBS, metavar="SUBVERB", help=told)


def run(args: Namespace) -> int:
    raise UserError(f"options come after the sub-verb: bleen migrate {args.subverb} [options]")
