"""Close the rollback window now: the old environment drains and is stopped, or shrinks as `after_window` says.

After it, going back is a new release of the previous version.
"""

from argparse import Namespace

from bleen.cli.asking import command, tell
from bleen.lifecycle import Verb


def run(args: Namespace) -> int:
    return tell(args, command(args, Verb.RETIRE, lambda release: release.ended))
