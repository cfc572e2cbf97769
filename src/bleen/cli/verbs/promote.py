"""Move traffic to the version that waits in AWAITING_PROMOTION; follow it until it holds, with the exit codes of `bleen deploy`."""

from argparse import Namespace

from bleen.cli import exits
from bleen.cli.asking import command, tell
from bleen.lifecycle import Verb


def run(args: Namespace) -> int:
    _, answer, release = command(args, Verb.PROMOTE, exits.arrived)
    code = exits.of(release)
    return tell(args, answer, release, f"{release.plan.version} is promoted" if code == exits.DONE else f"{release.plan.version}: {release.reason}", code)
