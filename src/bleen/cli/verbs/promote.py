"""Move traffic to the version that waits in AWAITING_PROMOTION; follow it until it holds, with the exit codes of `bleen deploy`."""

from argparse import Namespace

from bleen.cli import exits
from bleen.cli.asking import command, tell
from bleen.lifecycle import Verb


def run(args: Namespace) -> int:
    _, answer, release = command(args, Verb.PROMOTE, exits.arrived)
    code, version = exits.of(release), release.plan.version
    done = answer.text if answer.text.endswith("already") else f"{version} is promoted"
    return tell(args, answer, release, done if code == exits.DONE else f"{version}: {release.reason or answer.text}", code)
