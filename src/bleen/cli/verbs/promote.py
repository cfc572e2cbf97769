"""Move traffic to the version that waits in AWAITING_PROMOTION; follow it until it holds, with the exit codes of `bleen deploy`."""

from argparse import Namespace

from bleen.cli import exits
from bleen.cli.asking import command, tell
from bleen.lifecycle import Verb


def run(args: Namespace) -> int:
    commanded = command(args, Verb.PROMOTE, exits.arrived)
    release, said = commanded.release, commanded.answer.text
    code, version = exits.of(release), release.plan.version
    done = said if commanded.before.moved else f"{version} is promoted"
    return tell(args, commanded, done if code == exits.DONE else f"{version}: {release.reason or said}", code)
