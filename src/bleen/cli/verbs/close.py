"""End a halted release where it is. What the router serves now is taken as the truth, and the next deploy starts from there."""

from argparse import Namespace

from bleen.cli import picture
from bleen.cli.asking import command, tell
from bleen.lifecycle import Verb


def run(args: Namespace) -> int:
    commanded = command(args, Verb.CLOSE, lambda release: release.ended)
    seen = picture.of(commanded.access)
    idle = seen["idle"]
    runs_on = f"; {idle['version']} ({idle['environment']}) runs on, until the next deploy takes its place" if idle["running"] else ""
    return tell(args, commanded, f"{commanded.answer.text}; {commanded.access.name}{picture.serving(seen)}{runs_on}")
