"""List the releases of a service, newest first; with a number, tell the life of that one, event by event."""

import json
from argparse import ArgumentParser, Namespace

from bleen.cli import exits, show
from bleen.cli.access import open_service
from bleen.cli.arguments import at_least
from bleen.host import clock
from bleen.lifecycle import ReleaseId


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("number", nargs="?", type=at_least(1), help="tell this release's life")
    parser.add_argument("--limit", type=at_least(1), default=20, metavar="N", help="how many releases to list (default: %(default)s)")


def run(args: Namespace) -> int:
    access = open_service(args)
    if args.number is not None:
        release = access.journal.read(ReleaseId(access.name, args.number))
        events = access.journal.events(release.id)
        if args.json:
            print(json.dumps({**show.of_release(release, access.journal.now()), "plan": release.plan.to_json(), "events": [show.of_event(e) for e in events]}))
            return exits.DONE
        for event in events:
            print("\n".join([show.event_line(event, release.plan), *show.failure_lines(event)]))
        return exits.DONE
    releases = access.journal.releases(access.name, args.limit)
    if args.json:
        print(json.dumps([show.of_release(release, access.journal.now()) for release in releases]))
        return exits.DONE
    for release in releases:
        why, since = show.headline(release.halted or release.reason), clock.local(release.since)
        print(f"{release.id.number:4}  {release.plan.version:14} {release.plan.environment:6} {release.phase!s:18} {since}  {why}".rstrip())
    return exits.DONE
