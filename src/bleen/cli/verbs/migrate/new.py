"""Write a migration's folder: templates to be filled in, or the SQL that operations come to. Nothing is overwritten, and nothing is carried out.

An operation is its name, and then what it is about, as key=value; the next name begins the next operation:

  bleen migrate new full_name merge_columns table=users columns=first_name,last_name to=full_name type='varchar(255)' \\
      forward="rtrim(coalesce(first_name, '') || ' ' || coalesce(last_name, ''))" \\
      backward.first_name="split_part(full_name, ' ', 1)" backward.last_name="regexp_replace(full_name, '^[^ ]* ?', '')"

or, in a file for --from, a [[operation]] table with do = "merge_columns" and the same keys. --operations lists them all. Names are given without quotes:
'table=Sales.Order Items'. What they write is yours: read it, change it, commit it. --alembic, --django and --command write how another tool carries the
migration out.
"""

import json
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_type_hints

from bleen.cli import exits
from bleen.cli.verbs.migrate import place, text, whose
from bleen.database import folder, operations
from bleen.database.command import adapters
from bleen.database.importing import Imported
from bleen.database.statements import DIALECTS
from bleen.errors import UserError


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", help="the migration's name, such as full_name; its number is the next free one")
    parser.add_argument("operations", nargs="*", metavar="OPERATION", help="a name, then key=value for each thing to be said of it")
    parser.add_argument("--from", dest="toml", metavar="FILE", help="read operations from a TOML file; - is standard input")
    parser.add_argument("--alembic", metavar="BEFORE:EXPAND:CONTRACT", help="have Alembic carry it out, between these revisions")
    parser.add_argument("--django", metavar="APP:BEFORE:EXPAND:CONTRACT", help="have Django carry it out, between these migrations of an app")
    parser.add_argument("--command", action="store_true", help="have any other command carry it out, to be filled in")
    parser.add_argument("--to", default="migrations", metavar="DIR", help="where migrations lie (default: %(default)s)")
    parser.add_argument("--dialect", choices=DIALECTS, help="whose SQL it is; mysql is MariaDB too (default: of the database in bleen.yaml, else postgres)")
    parser.add_argument("--operations", dest="listed", action="store_true", help="list the operations and what can be said of each, and write nothing")


def run(args: Namespace) -> int:
    if args.listed:
        print(json.dumps(_fields()) if args.json else "\n".join(_listed()))
        return exits.DONE
    if not args.name:
        raise UserError("what is it called? bleen migrate new NAME")
    if args.toml and args.operations:
        raise UserError("operations come from --from or from the command line, not from both")
    if sum(map(bool, (args.toml or args.operations, args.alembic, args.django, args.command))) > 1:
        raise UserError("operations, --alembic, --django and --command each say what is to be written; say one of them")
    name, to = folder.slug(args.name), Path(args.to)
    args.dialect = whose(args)
    found = _asked(args, name)
    first, placed = folder.next_number(to), place(args.file, to)
    written = [folder.write(to, first + at, folder.nth(name, at + 1), each.files) for at, each in enumerate(found)]
    notes = [*(f"{where}: {note}" for where, each in zip(written, found, strict=True) for note in each.notes), *placed]
    if args.json:
        print(json.dumps({"migrations": [str(each) for each in written], "notes": notes}))
    else:
        said = [f"{where}/{file}" for where, each in zip(written, found, strict=True) for file in each.files]
        print("\n".join([*said, *notes]))
    return exits.DONE


def _asked(args: Namespace, name: str) -> Sequence[Imported]:
    """The migrations that are to be written."""
    if args.alembic:
        return [adapters.alembic(args.alembic)]
    if args.django:
        return [adapters.django(args.django)]
    if args.command:
        return [adapters.template()]
    asked = operations.from_toml(text(args.toml), args.toml) if args.toml else operations.from_words(args.operations)
    return operations.migrations(asked, args.dialect, name.replace("_", " "), folder.spoken(Path(args.to))) if asked else [operations.template(args.dialect)]


def _fields() -> Mapping[str, Any]:
    """Every operation, what it does, and its fields: those that must be given, and the others."""
    found = {}
    for name, made in operations.OPERATIONS.items():
        defaults: Mapping[str, Any] = getattr(made, "_field_defaults")  # noqa: B009 - a NamedTuple's own, whose name is public
        fields = get_type_hints(made)
        found[name] = {
            "does": " ".join((made.__doc__ or "").replace("``", "").split()),
            "needs": [each for each in fields if each not in defaults],
            "may": [each for each in fields if each in defaults],
        }
    return found


def _listed() -> list[str]:
    lines = []
    for name, told in _fields().items():
        lines += [name, f"  {told['does']}", f"  needs {', '.join(told['needs'])}" + (f"; may have {', '.join(told['may'])}" if told["may"] else "")]
    return lines
