"""Move traffic to the version that waits in AWAITING_PROMOTION; follow it until it holds, with the exit codes of `bleen deploy`."""

from argparse import Namespace

from bleen.cli import exits
from bleen.cli.asking import command, tell
from bleen.cli.show import headline
from bleen.lifecycle import Verb


def run(args: Namespace) -> int:
    commanded = command(args, Verb.PROMOTE, exits.arrived)
    release, said = commanded.release, commanded.answer.text
    code, version = exits.of(release), release.plan.version
    done = said if commanded.before.moved else f"{version} is promoted"
    gone_back = f"rolled back to {release.plan.old_words}: {headline(release.reason)}" if code == exits.ROLLED_BACK else ""
    return tell(args, commanded, done if code == exits.DONE else gone_back or f"{version}: {release.reason or said}", code)
