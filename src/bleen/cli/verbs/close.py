"""End a halted release where it is. What the router serves now is taken as the truth, and the next deploy starts from there."""

from argparse import Namespace

from bleen.cli.asking import command, tell
from bleen.lifecycle import Verb


def run(args: Namespace) -> int:
    return tell(args, command(args, Verb.CLOSE, lambda release: release.ended))
