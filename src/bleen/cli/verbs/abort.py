"""Give up a release before it is promoted: its environment is stopped, users saw nothing of it.

From PROMOTING on it changes nothing and exits 2: `bleen rollback` is for that.
"""

from argparse import Namespace

from bleen.cli.asking import command, tell
from bleen.lifecycle import Verb


def run(args: Namespace) -> int:
    return tell(args, command(args, Verb.ABORT, lambda release: release.ended))
