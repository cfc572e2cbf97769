"""Show what `bleen deploy` of a version would do. What is printed is what deploy runs; nothing is touched.

A service that nobody knows on this host, before the first `bleen up` or in CI, gets the plan of a first release. Where the router is to be another one, which
`bleen up --apply` has to say first, the plan says so, and the exit code is 2; so it is where the version serves already and no copy of it is well.
"""

import json
from argparse import ArgumentParser, Namespace

from bleen import config
from bleen.cli import exits, planning
from bleen.host import state
from bleen.lifecycle import Phase
from bleen.plan import lines


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("version", help="the version")


def run(args: Namespace) -> int:
    loaded = planning.read(args)
    access, changed, already, well = planning.known(args, loaded), "", "", True
    if access is None:
        config.router(loaded)  # its faults
        plan, unchanged = planning.first(loaded, args.version), False
        elsewhere, refused = state.elsewhere(loaded.service), dict[int, str]()
        way = "`bleen up` comes before its first `deploy`"
        notes = [f"{loaded.service} is not known on this host yet: {way}{f'; or {elsewhere}' if elsewhere else ''}"]
    else:
        planned, changed = planning.over(access, loaded, args.version), planning.another_router(access, loaded)
        plan, unchanged = planned.plan, planning.unchanged(planned)
        if unchanged:
            already, well = planning.serves_already(planned)
        notes = [] if well else [already]
        newest = access.journal.latest(access.name)
        busy, code = planning.in_the_way(access, newest, args.version), exits.BUSY
        if unchanged and newest and newest.phase is Phase.HOLDING:  # what serves already waits for no window
            busy, code = (busy, exits.HALTED) if newest.halted else ("", code)
        if unchanged and busy:
            already = f"`deploy` would be refused now (exit {code}): {busy}"
        refused = {exits.USAGE: changed, code: busy}
    refusals = [f"`deploy` would be refused now (exit {code}): {why}" for code, why in refused.items() if why]
    plan = plan._replace(warnings=(*plan.warnings, *refusals, *notes))
    if args.json:
        print(json.dumps({**plan.to_json(), "unchanged": unchanged}))
    elif unchanged and not changed:
        print(already)
    else:
        print("\n".join(lines(plan)))
        if program := config.program(loaded, plan):  # of the PATH of whoever deploys, which need not be the one that is meant
            print(f"  program    {plan.platform['command'][0]} is {program}")
    return exits.DONE if well and not changed else exits.USAGE
