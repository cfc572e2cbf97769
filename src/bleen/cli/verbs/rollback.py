"""Return to the version that was active before this release, at once.

Works from PROMOTING to the end of HOLDING: while a deploy runs elsewhere, after the engine died, without a readable bleen.yaml, with a full disk.
Returns once the old version is served; stopping the new one goes on behind. Before PROMOTING it is `bleen abort`. Given twice it equals once.
An old version that is not healthy is not given traffic: exit 5, and --force moves traffic to it all the same.
"""

from argparse import ArgumentParser, Namespace

from bleen.cli import exits
from bleen.cli.asking import command, tell
from bleen.lifecycle import Phase, Release, Verb

_BACK = (Phase.UNDOING, Phase.ROLLED_BACK)


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--force", action="store_true", help="move traffic back even to an environment that is not healthy")


def run(args: Namespace) -> int:
    commanded = command(args, Verb.ROLLBACK, _back, {"force": True} if args.force else {})
    access, before, answer, release = commanded
    if release.moved and release.phase in _BACK and before.phase not in _BACK:
        forced = f", by force: whether {release.plan.old_version} is well was not asked" if release.forced else ""
        return tell(args, commanded, f"{release.plan.old_words} serves again, {release.plan.new_words} is being stopped{forced}")
    nothing_to_do = answer.obeyed and (before.ended or _back(before))
    if nothing_to_do and not release.halted:
        from bleen.cli import picture  # not on the way of a rollback that has something to do

        if trouble := picture.unserved(access, release):
            return tell(args, commanded, f"{answer.text}, but {trouble}", exits.USAGE)
    return tell(args, commanded, code=exits.DONE)


def _back(release: Release) -> bool:
    return release.phase is Phase.UNDOING
