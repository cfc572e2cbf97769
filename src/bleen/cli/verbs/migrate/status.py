"""Tell what the database has seen: every migration and how far it has come, and what each pending contract waits for."""

import json
from argparse import Namespace

from bleen.cli import exits, migrating, show
from bleen.database.worker import row


def run(args: Namespace) -> int:
    with migrating.opened(args) as opened:
        entries, pending, amiss = opened.schema.ledger.entries(), opened.pending(), opened.amiss()
        if args.json:
            asides = [opened.schema.ledger.aside(e) for e in entries]
            known = [
                {"migration": e.name, "state": e.state, "since": show.stamp(e.at), "service": e.service, "release": e.release, "aside": aside}
                for e, aside in zip(entries, asides, strict=True)
            ]
            print(json.dumps({"migrations": known, "pending": [row(each) for each in pending], "amiss": amiss}))
            return exits.DONE
        width = max((len(e.name) for e in entries), default=0)
        for entry in entries:
            print(f"{entry.name:{width}}  {entry.state:12} {show.stamp(entry.at)}  {entry.migration.description}".rstrip())
            if because := opened.schema.ledger.aside(entry):
                print(f"  set aside, so that what its contract would change stays: {because}")
            if way := migrating.unfinished(entry, opened.service):
                print(f"  not ended, if no release is at it just now: {way}")
        if not entries:
            print("this database has seen no migration of bleen's")
        print("".join(f"{line}\n" for line in amiss), end="")
        print("".join(f"{line}\n" for line in migrating.pending_lines(pending, opened.service)), end="")
    return exits.DONE
