"""Show what `bleen deploy` of a version would do. What is printed is what deploy runs; nothing is touched."""

import json
from argparse import ArgumentParser, Namespace

from bleen import config
from bleen.cli import exits, planning
from bleen.plan import lines


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("version", help="the version")


def run(args: Namespace) -> int:
    planned = planning.make(args)
    if refused := planning.in_the_way(planned.access, planned.access.journal.latest(planned.access.name)):
        warnings = (*planned.plan.warnings, f"`deploy` would be refused now (exit 6): {refused}")
        planned = planned._replace(plan=planned.plan._replace(warnings=warnings))
    if args.json:
        print(json.dumps({**planned.plan.to_json(), "unchanged": planning.unchanged(planned)}))
    elif planning.unchanged(planned):
        print(f"{planned.plan.version} with the same plan serves already: nothing to do")
    else:
        print("\n".join(lines(planned.plan)))
        if program := config.program(planned.config, planned.plan):  # of the PATH of whoever deploys, which need not be the one that is meant
            print(f"  program    {planned.plan.platform['command'][0]} is {program}")
    return exits.DONE
