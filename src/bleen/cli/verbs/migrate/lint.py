"""Read SQL files as the phases of one release, and find what takes a site down: what the old version cannot live with, what locks, what cannot be undone.

A directory that is a migration stands for its files; one that holds migrations for each of them, as a release of its own.
No bleen.yaml and no database are needed: without --dialect, a bleen.yaml tells whose SQL it is, if there is one.
All files are one release, in the order given: what one of them makes, the next is free to change.
What cannot be parsed or understood is an error. A comment before a statement, or behind it on its line, allows one rule there, and says why:

  -- bleen: allow RULE reason

A migration.toml is read too, and its [backfill] judged as the UPDATE that it stands for.
An expand.sql is looked at together with the revert.sql that lies beside it: there is a way back, or a reason why there is none.
A revert.sql may take what its expand.sql makes; all else in it is judged as in expand, as it runs while the old version serves.
Exit 1 if there is an error; warnings alone exit 0. Columns count characters, from 1.
"""

import json
import os
import re
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

from bleen.cli import exits, migrating
from bleen.cli.verbs.migrate import text
from bleen.database import connect, dialect, migration, reverting, trace
from bleen.database.rehearsal import must_be_another
from bleen.database.reverting import way_back
from bleen.database.rules import Finding, Script, lint_release, rules
from bleen.database.server import Server
from bleen.database.statements import DIALECTS, Dialect, Unreadable, whole
from bleen.errors import PortError, Unavailable, UserError


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("files", nargs="*", metavar="SQL", help="files of one release, in order, or directories of migrations; - is standard input")
    parser.add_argument("--dialect", choices=DIALECTS, help="whose SQL it is; mysql is MariaDB too (default: that of the database in bleen.yaml)")
    parser.add_argument(
        "--phase", choices=migration.PHASES, help="which phase runs the files (default: told by their names, expand.sql, backfill.sql and contract.sql)"
    )
    parser.add_argument("--format", choices=("text", "json", "sarif"), help="text is the default, and --json the same as --format json")
    parser.add_argument(
        "--trace", metavar="URL", help="run the files on this scratch database too (PostgreSQL), and tell the locks taken and the tables written again"
    )
    parser.add_argument("--rules", action="store_true", help="list the rules of the dialect, and read nothing")


def run(args: Namespace) -> int:
    args.dialect = args.dialect or (dialect(args.trace) if args.trace else _shared(Path(migrating.file_of(args))))
    for whose in (args.dialect, dialect(args.trace)) if args.trace else ():
        if whose != "postgres":
            raise UserError(f"--trace reads the locks of PostgreSQL; for {whose} there is only the text")
    if args.json and args.format not in (None, "json"):
        raise UserError(f"--json and --format {args.format} are two formats; say one of them")
    known = rules(args.dialect)
    if args.rules:
        width = max(map(len, known))
        print(json.dumps(dict(known)) if args.json or args.format == "json" else "\n".join(f"{name:{width}}  {told}" for name, told in known.items()))
        return exits.DONE
    if not args.files:
        raise UserError("there is no file to read; name some, or - for standard input")
    releases = _releases(args.files, args.phase)
    args.files = [file for release in releases for file in release]
    if args.files.count("-") > 1:
        raise UserError("standard input can be read once; name - once")
    settings = [file for file in args.files if Path(file).name == "migration.toml"]
    read = [[_script(file, args.phase) for file in release if file not in settings and (args.phase or Path(file).name != "revert.sql")] for release in releases]
    scripts = [script for release in read for script in release]
    for release in [] if args.phase else read:
        release += [Script("", str(folder / "expand.sql"), "expand") for script in release if _adds_nothing(folder := Path(script.file).parent)]
    traced = _traced(args, scripts) if args.trace else None
    found = [each for release in read for each in lint_release(release, args.dialect, traced)]
    found += [each for file in settings for each in _settings(file, args.dialect)]
    found += [each for script in scripts if not args.phase and Path(script.file).name == "expand.sql" for each in _reversible(script, args.dialect)]
    if args.format == "sarif":
        from bleen.database.rules import sarif

        print(json.dumps(sarif.log(found, known), indent=2))
    elif args.json or args.format == "json":
        print(json.dumps([finding._asdict() for finding in found]))
    else:
        print("\n".join(lines(found)))
    return exits.SAID_NO if any(finding.severity == "error" for finding in found) else exits.DONE


def _releases(named: Sequence[str], phase: migration.Phase | None) -> list[list[str]]:
    """What is named, as one release, and each migration of a directory of them as one more: which of those are released together, nobody knows here.

    Raises UserError for a directory that has nothing to read.
    """
    together: list[str] = []
    alone: list[list[str]] = []
    for file in named:
        if not os.path.isdir(file):
            together.append(file)
        elif found := _files(Path(file), phase):
            together += found
        elif each := [files for folder in migration.folders(Path(file)) if (files := _files(folder, phase))]:
            alone += each
        else:
            raise UserError(f"{file}: neither is it a migration nor does it hold one: there is no {phase or 'expand'}.sql")
    return [together, *alone] if together else alone


def _files(folder: Path, phase: migration.Phase | None) -> list[str]:
    """The files of a migration, in the order in which they are run; those of one phase, if one is named."""
    names = [f"{each}.sql" for each in migration.PHASES if phase in (None, each)] + ["migration.toml"] * (phase in (None, "backfill"))
    return [str(folder / name) for name in names if (folder / name).is_file()]


def _shared(file: Path) -> Dialect:
    """The dialect of the database of a bleen.yaml. Raises UserError if that is not there, or does not say."""
    from bleen import config

    wanted = f"whose SQL is it? say --dialect {'|'.join(DIALECTS)}"
    if not os.path.exists(file):
        raise UserError(f"{wanted}; or name with -f the bleen.yaml that has the database (there is no {file})")
    try:
        shared = config.database(config.load(file), "")
    except UserError as error:
        raise UserError(f"{wanted}; {file} does not tell:\n{error}") from None
    if shared is None:
        raise UserError(f"{wanted}; {file} names no database")
    return dialect(shared.url)


def _traced(args: Namespace, scripts: Sequence[Script]) -> dict[str, list[Finding]]:
    """What the files really do to a scratch database, by file."""
    found: dict[str, list[Finding]] = {}
    try:
        server = connect(args.trace)
        try:
            _must_be_scratch(Path(migrating.file_of(args)), server)
            for script in scripts:
                for each in trace.trace(server, server.split(script.text)):
                    found.setdefault(script.file, []).extend(each.findings(script.file))
                    if args.format == "text" or not (args.json or args.format):
                        print(f"{script.file}, {each.line()}")
        finally:
            server.close()
    except Unreadable as error:
        raise UserError(f"{error.at.line}:{error.at.column}: {error}") from None
    except PortError as error:
        raise UserError(str(error)) from None
    return found


def _must_be_scratch(file: Path, scratch: Server) -> None:
    """Raises Refused if the scratch database is that of a bleen.yaml, if there is one that says which that is: what is traced stays there."""
    from bleen import config

    try:
        shared = config.database(config.load(file), "") if file.exists() else None
        if shared is None or dialect(shared.url) != scratch.dialect:
            return
        database = connect(shared.url)
    except (UserError, Unavailable):
        return  # whoever knows no url of it, or cannot reach it, does not trace there either
    try:
        must_be_another(database, scratch, f"what is traced is really run, and {file} names this database: give --trace the url of a scratch one")
    finally:
        database.close()


def _adds_nothing(folder: Path) -> bool:
    """Whether it is a migration, and nothing expands it: else nobody knows what is new when its backfill runs."""
    return folder.name.partition("_")[0].isdecimal() and not any((folder / name).exists() for name in ("expand.sql", "migration.toml"))


def _reversible(expand: Script, dialect: Dialect) -> list[Finding]:
    """What is wrong with the way back from an expand.sql."""
    beside = Path(expand.file).with_name("revert.sql")
    revert = text(str(beside)) if beside.exists() else ""
    folder = str(beside.parent)
    return [*reverting.lint(expand.text, revert, folder, dialect), *way_back.lint(expand.text, revert, folder, dialect)]


def _settings(file: str, dialect: Dialect) -> list[Finding]:
    """What is wrong with a migration.toml as it is written; its [backfill] is judged as the UPDATE that it stands for. A pair is judged by the database that
    it is for: `bleen plan` and `bleen migrate plan` ask it.
    """
    given, folder = text(file), Path(file).parent
    beside = {each.name: text(str(each)) for each in [folder / "backfill.sql"] if each.exists()}
    try:
        made = migration.parse(folder.name, {"migration.toml": given, **beside}, str(folder))
    except UserError as error:
        at = re.search(r"\(at line (\d+), column (\d+)\)$", str(error))
        line, column = (int(at[1]), int(at[2])) if at else (1, 1)
        return [Finding(file, line, column, "not-understood", "error", str(error).removeprefix(f"{file}: ").removeprefix(f"{folder}: "))]
    if made.backfill is None:
        return []
    line = next((number for number, each in enumerate(given.splitlines(), 1) if each.lstrip().startswith("[backfill")), 1)
    said = {**made.backfill.set, **({"where": made.backfill.where} if made.backfill.where.strip() else {})}
    if wrong := [each for each, expression in said.items() if not whole(expression, dialect)]:
        why = f"{wrong[0]} = {said[wrong[0]]!r}: this is not one expression: its parentheses have to match, with no comma between two"
        return [Finding(file, line, 1, "not-understood", "error", why)]
    quote = "`" if dialect == "mysql" else '"'
    sets = ", ".join(f"{quote}{column}{quote} = (\n{expression}\n)" for column, expression in made.backfill.set.items())
    where = f" WHERE (\n{made.backfill.where}\n)" if made.backfill.where else ""
    expand = [Script(text(str(each)), str(each), "expand") for each in [folder / "expand.sql"] if each.exists()]
    found = lint_release([*expand, Script(f"UPDATE {made.backfill.table} SET {sets}{where};", file, "backfill")], dialect)
    return [each._replace(line=line, column=1, fix="") for each in found if each.file == file]


def _script(file: str, phase: migration.Phase | None) -> Script:
    """A file and the phase that it belongs to; every fault of it is told with the way out."""
    named = {f"{each}.sql": each for each in migration.PHASES}.get(Path(file).name)
    told, read = phase or named, text(file)
    if told is None:
        raise UserError(f"{file}: which phase runs it? say --phase {'|'.join(migration.PHASES)}, or call it expand.sql")
    return Script(read, file, told)


def lines(found: Sequence[Finding]) -> list[str]:
    """For people: a fix that was just told is not told again."""
    if not found:
        return ["nothing found: 0 errors, 0 warnings"]
    said, told = [], ""
    for each in found:
        said.append(f"{each.file}:{each.line}:{each.column}: {each.severity} [{each.rule}] {each.message}")
        if each.fix and each.fix != told:
            said += [f"    {line}" for line in each.fix.splitlines()]
        told = each.fix or told
    errors = sum(each.severity == "error" for each in found)
    return [*said, f"{_count(errors, 'error')}, {_count(len(found) - errors, 'warning')}"]


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
