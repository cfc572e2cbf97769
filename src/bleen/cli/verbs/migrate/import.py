"""Split files of SQL by phase, into a migration's folder: what adds is expand, an UPDATE is a backfill, what takes away is contract.

All files are one release. Comments stay with their statements, revert.sql is derived, and where the UPDATE makes new columns from old ones that are dropped,
migration.toml gets a [[sync]], so that both versions can write. What bleen cannot know is left open there, marked TODO, and refused until it is written.
More than one UPDATE makes more than one migration. Nothing is overwritten, and nothing is carried out; exit 1 if the rules forbid what was written.
"""

import json
from argparse import ArgumentParser, Namespace
from pathlib import Path

from bleen.cli import exits
from bleen.cli.verbs.migrate import place, text, whose
from bleen.cli.verbs.migrate.lint import lines
from bleen.database import folder, importing
from bleen.database.statements import DIALECTS
from bleen.errors import UserError


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", metavar="FILE", help="files of SQL; - is standard input")
    parser.add_argument("--to", default="migrations", metavar="DIR", help="where migrations lie (default: %(default)s)")
    parser.add_argument("--name", help="the migration's name, such as full_name (default: from the first file's)")
    parser.add_argument("--dialect", choices=DIALECTS, help="whose SQL it is; mysql is MariaDB too (default: of the database in bleen.yaml, else postgres)")


def run(args: Namespace) -> int:
    args.dialect = whose(args)
    name, to = folder.slug(args.name or Path(args.files[0]).stem), Path(args.to)
    found = importing.split([(file, text(file)) for file in args.files], args.dialect)
    for each in found:
        if there := folder.same(to, each.files):
            raise UserError(f"{there} has the same SQL already, so nothing was written; remove it to import {', '.join(args.files)} anew")
    first, placed = folder.next_number(to), place(args.file, to)
    written = [folder.write(to, first + at, folder.nth(name, at + 1), each.files) for at, each in enumerate(found)]
    judged = importing.lint([(str(where), each) for where, each in zip(written, found, strict=True)], args.dialect)
    notes = [*(note for each in found for note in each.notes), *placed]
    if args.json:
        print(json.dumps({"migrations": [str(each) for each in written], "notes": notes, "findings": [each._asdict() for each in judged]}))
    else:
        said = [f"{where}/{file}" for where, each in zip(written, found, strict=True) for file in each.files]
        print("\n".join([*said, *notes, *(lines(judged) if judged else [])]))
    return exits.SAID_NO if any(each.severity == "error" for each in judged) else exits.DONE
