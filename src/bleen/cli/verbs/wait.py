"""Wait for a release (the newest, or number N), with the exit codes of `bleen deploy`.

By default until HOLDING is reached, or the release has ended, or a person is needed. A release that waits for `bleen promote` is waited for.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence

from bleen.cli import exits, show
from bleen.cli.access import open_service
from bleen.cli.arguments import at_least, seconds
from bleen.lifecycle import BEYOND, Event, Phase, Release, ReleaseId


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("number", nargs="?", type=at_least(1), help="the release (default: the newest)")
    parser.add_argument("--until", choices=["holding", "completed"], default="holding", help="what to wait for (default: %(default)s)")
    parser.add_argument("--timeout", type=seconds, metavar="TIME", help="wait no longer than this, 20s or 15m, say; then exit 1")


def run(args: Namespace) -> int:
    access = open_service(args)
    release = access.newest() if args.number is None else access.journal.read(ReleaseId(access.name, args.number))
    deadline = None if args.timeout is None else access.journal.now() + args.timeout

    def over() -> bool:
        return deadline is not None and access.journal.now() >= deadline

    def there(release: Release) -> bool:
        return release.ended or (args.until == "holding" and (release.phase is Phase.HOLDING or release.phase in BEYOND))

    def told(release: Release, events: Sequence[Event]) -> None:
        if (stuck := access.as_it_is(release)) != release:  # no row says so, and nothing goes on until somebody acts
            waiting.told(stuck, events)

    driver, waiting = access.driver(), show.Waiting(args)
    try:
        release = driver.follow(release.id, lambda release: there(release) or over(), told)
    finally:
        access.leave(driver, release)
    if not there(release) and not release.halted:
        why = access.as_it_is(release).why
        waits = f", and waits for {why}" if why else ""
        show.result(args, f"release {release.id.number} is still in {release.phase}{waits}", ok=False, release=show.of_release(release, access.journal.now()))
        return exits.SAID_NO
    code = exits.of(release)
    if not args.json:
        for event in access.journal.events(release.id):
            if event.facts.get("written"):
                print(show.event_line(event, release.plan))
    why = release.halted or release.reason
    show.result(
        args,
        f"release {release.id.number} ({release.plan.version}): {release.phase}{f': {why}' if why else ''}",
        ok=code == 0,
        release=show.of_release(release, access.journal.now()),
    )
    return code
