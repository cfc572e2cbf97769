"""Tell what the database has seen: every migration and how far it has come, and what each pending contract waits for."""

import json
from argparse import Namespace

from bleen.cli import exits, migrating, show
from bleen.database.worker import row


def run(args: Namespace) -> int:
    with migrating.opened(args) as opened:
        entries, pending = opened.schema.ledger.entries(), opened.pending()
        if args.json:
            known = [{"migration": e.name, "state": e.state, "since": show.stamp(e.at), "service": e.service, "release": e.release} for e in entries]
            print(json.dumps({"migrations": known, "pending": [row(each) for each in pending]}))
            return exits.DONE
        width = max((len(e.name) for e in entries), default=0)
        for entry in entries:
            print(f"{entry.name:{width}}  {entry.state:12} {show.stamp(entry.at)}  {entry.migration.description}".rstrip())
            if way := migrating.UNFINISHED.get(entry.state):
                print(f"  not ended, if no release is at it just now: {way}")
        if not entries:
            print("this database has seen no migration of bleen's")
        print("".join(f"{line}\n" for line in migrating.pending_lines(pending)), end="")
    return exits.DONE
