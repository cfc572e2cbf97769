"""Let a halted release try again what it halted in. One that is not halted is left as it is."""

from argparse import Namespace

from bleen.cli.asking import command, tell
from bleen.lifecycle import Verb


def run(args: Namespace) -> int:
    return tell(args, command(args, Verb.RESUME, lambda _: True))
