"""What a version's migrations mean for a plan: read, judged by the rules, and compared with what the database has seen."""

import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bleen import config
from bleen.config import Config
from bleen.config.fields import filled
from bleen.database import connect, dialect, reverting
from bleen.database.command import judging, revisions
from bleen.database.command.home import Home, home_of
from bleen.database.foresight import Foresight
from bleen.database.gate import lives_with, named, saying, ways
from bleen.database.ledger import Entry, State, check
from bleen.database.migration import PHASES, Command, Migration, Pair, read_all
from bleen.database.parts import contracts, final, words
from bleen.database.reading import Reading
from bleen.database.reverting import way_back
from bleen.database.rules import Finding, Script, lint_release
from bleen.database.schema import Schema
from bleen.database.server import Server
from bleen.database.statements import Dialect
from bleen.errors import PortError, Refused, UserError
from bleen.model import apart_from
from bleen.plan import Plan


class _Seen(NamedTuple):
    """What a database says of the migrations of a version."""

    new: list[Migration]
    """Those that it has not, or not wholly."""
    due: list[str]
    """Those whose contract has not been done."""
    bare: bool
    missed: list[str]
    """What should be there, and is not."""
    risks: list[str]


def add(plan: Plan, loaded: Config, before: Plan | None) -> Plan:
    """The plan with what its version's migrations need; as it is, if there is no database. ``before``: the plan of the version that serves.

    Raises UserError for migrations that are wrong, that the rules forbid, or that were changed after they had been applied; for a database that does not
    answer; and for a version that needs a shape which was contracted.
    """
    shared = config.database(loaded, plan.version)
    if shared is None:
        return plan
    migrations = read_all(Path(shared.folder))
    try:
        schema = Schema(connect(shared.url))
        try:
            with schema.server.lookout(tell):
                seen = _seen(schema, plan, migrations, home(loaded, plan.version), before, shared.apart)
        finally:
            schema.server.close()
    except PortError as error:
        raise UserError(str(error)) from None
    kind = dialect(shared.url)
    if seen.new and shared.clone:
        _must_answer(shared.clone, kind)
    wanted = {
        "dialect": kind,
        "folder": shared.folder,
        "contract": shared.contract,
        "migrations": {m.name: m.checksum for m in migrations},
        "expands": [m.name for m in seen.new],
        "final": [m.name for m in seen.new if final(m)],
        "contracts": seen.due,
        "clone": bool(shared.clone) and not seen.bare,  # nobody minds what would fail there
        "home": _settings(loaded, plan.version) if _commanded(migrations) else None,
        "before": sorted(before.ships) if before else [],
        **({"apart": dict(shared.apart)} if shared.apart else {}),
        "smoke": list(before.smoke) if before else [],
        "secrets": before.platform.get("secrets", "") if before else "",
    }
    signed, stars = _signed(plan, loaded, kind), _stars(seen.new, before) if before and kind == "postgres" else []
    warnings = (*plan.warnings, *_unpooled(signed, before), *seen.missed, *_warned(seen.new, kind), *_unjudged(seen.new), *seen.risks, *stars)
    return plan._replace(database=wanted, platform=signed, warnings=warnings)


def _seen(schema: Reading, plan: Plan, migrations: Sequence[Migration], home: Home, before: Plan | None, apart: Collection[str]) -> _Seen:
    """Raises UserError as ``allowed`` does."""
    entries = {entry.name: entry for entry in schema.ledger.entries()}
    there = {before.version: frozenset[str](before.database.get("migrations", ()))} if before else {}
    if lost := schema.lost(there):
        missed = [f"{lost}; without them, all that {plan.version} ships is expanded anew"]
    else:
        missed = list(dict.fromkeys(each.obstacles[0].why for each in schema.lacking(there)))
    allowed(schema, plan.version, migrations, home, plan.service, there, apart)
    new = [m for m in migrations if m.name not in entries or entries[m.name].state is State.EXPANDING]
    due = [m.name for m in migrations if contracts(m) and not (m.name in entries and entries[m.name].state is State.CONTRACTED)]
    unsheltered = schema.ledger.unsheltered() if _commanded(migrations) else ""
    foreseen = [each for n, m in enumerate(new) for each in Foresight(schema).risks(m, new[:n], new[n + 1 :])]
    others = [*_held(schema, plan.service, migrations), *_strangers(schema, apart)]
    return _Seen(new, due, schema.server.bare(), missed, [*filter(None, [schema.ledger.strands(), unsheltered]), *foreseen, *others])


def _commanded(migrations: Sequence[Migration]) -> bool:
    return any(m.command != Command() for m in migrations)


def _unjudged(migrations: Sequence[Migration]) -> list[str]:
    return [f"{m.name} is expanded by a command whose SQL nobody has judged: {m.command.unjudged}" for m in migrations if m.command.unjudged]


def tell(text: str) -> None:
    """What somebody at a terminal waits for."""
    print(f"bleen: {text}", file=sys.stderr, flush=True)


def _held(schema: Reading, service: str, migrations: Sequence[Migration]) -> Iterator[str]:
    """By which other services contracts will be held up, unless those say something."""
    done = {entry.name for entry in schema.ledger.entries() if entry.service != service or entry.state is State.CONTRACTED}
    due = [m.name for m in migrations if contracts(m) and m.name not in done]
    waits: dict[str, set[str]] = {}
    for known in schema.ledger.environments():
        if known.service != service and (lacks := {name for name in due if not lives_with(known.migrations, name, service)}):
            waits.setdefault(known.service, set()).update(lacks)
    for other, names in sorted(waits.items()):
        yield f"{other} shares this database, and does not ship {', '.join(sorted(names))}, whose contract waits for that; {ways(other, service)}"


def _strangers(schema: Reading, apart: Collection[str]) -> Iterator[str]:
    """Services that this one says it is apart from, of which the database knows nothing: misspelt, nothing else tells."""
    known = {each.service for each in schema.ledger.entries()} | {each.service for each in schema.ledger.environments()}
    for name in sorted({*apart} - known):
        yield f"database.apart names {name}, and no service of that name has been on this database yet: is it written as in its bleen.yaml?"


def _must_answer(clone: str, kind: Dialect) -> None:
    """Raises UserError for a clone that no expand could be rehearsed on."""
    if dialect(clone) != kind:
        raise UserError(f"database.clone is of another kind ({dialect(clone)}) than the database ({kind})")
    try:
        connect(clone).close()
    except PortError as error:
        raise UserError(f"on the clone: {error}") from None


def _warned(migrations: Sequence[Migration], kind: Dialect) -> list[str]:
    """What the rules say of migrations that they do not forbid: whom a new constraint holds, say."""
    alone = {m.name for m in migrations if m.command == Command()}  # only its expand.sql says what is new, be it empty
    said = [(m, phase) for m in migrations for phase in PHASES if m.holds(phase) or (phase == "expand" and m.name in alone)]
    scripts = [Script(m.sql(phase), f"{m.name}/{phase}.sql", phase) for m, phase in said]
    found = [f for f in (*lint_release(scripts, kind), *_way_back(migrations, kind)) if f.severity == "warn"]
    return [f"{f.file}:{f.line}: {f.message}" for f in found if f.rule != "domain-column"]  # of which the catalogue knows more


def _way_back(migrations: Sequence[Migration], kind: Dialect) -> list[Finding]:
    """What the rules say of every revert.sql; what a command's expand makes, and so what undoes it, is not known."""
    return [f for m in migrations if m.command == Command() for f in way_back.lint(m.sql("expand"), m.sql("revert"), m.name, kind)]


def _stars(migrations: Sequence[Migration], before: Plan) -> list[str]:
    """What becomes of a `SELECT *` that a warm connection has prepared."""
    from bleen.database.parser import STALE, reshaped

    return [
        f"{m.name} adds a column to {table}: a `SELECT *` from it that {before.version} has prepared on an open connection {STALE}"
        for m in migrations
        for table in reshaped(m.sql("expand"))
    ]


def home(loaded: Config, version: str, url: str = "") -> Home:
    """Where the commands of a version run, as bleen.yaml says today; ``url``: on another database. Raises UserError for a reference without a value."""
    shared = config.database(loaded, version)
    assert shared is not None, "who has no database has no commands"
    try:
        return home_of(version, _settings(loaded, version), config.secrets(loaded), url or shared.url)
    except Refused as error:
        raise UserError(str(error)) from None


def _settings(loaded: Config, version: str) -> dict[str, Any]:
    process = loaded.file.platform.process
    directory = str(loaded.beside(filled(process.directory, {"version": version})))
    return {"version": version, "directory": directory, "env": dict(process.env), "user": process.user or ""}


def allowed(
    schema: Reading,
    version: str,
    migrations: Sequence[Migration],
    home: Home | None = None,
    service: str = "",
    there: Mapping[str, frozenset[str]] = {},
    apart: Collection[str] = (),
) -> None:
    """Raises UserError if a version must not come onto this database: it does not know a contract that was done, brings a migration that was changed after
    it had been applied, or one that the rules forbid or that could never be kept in step or filled. What a command prints of its SQL is judged too; ``home``,
    where it runs, is needed where there is one; ``service``: whose version it is; ``there``: its versions that exist, and what each ships, which tell what the
    ledger no longer can; ``apart``: other services of whose migrations it need ship none.
    """
    lacks = {each: ships - {m.name for m in migrations} for each, ships in there.items()}
    if lost := schema.lost({each: names for each, names in lacks.items() if names}):
        raise UserError(f"version {version} does not ship all that was: {lost}, or release a version that ships it all")
    try:
        _fits(schema, version, migrations, home, service, apart)
    except UserError as error:
        if lost := schema.lost(there):  # what is to be expanded anew may be there
            raise UserError(f"{error}; {lost}") from None
        raise


def _fits(schema: Reading, version: str, migrations: Sequence[Migration], home: Home | None, service: str, apart: Collection[str]) -> None:
    """Implements ``allowed``, as the ledger tells it."""
    entries = {entry.name: entry for entry in schema.ledger.entries()}
    ships = {*(m.name for m in migrations), *map(apart_from, apart)}
    if missing := schema.outdated(ships):
        owners = sorted({each.service for each in schema.missing(ships)} - {service, ""}) if service else []
        way = "".join(f", or, {saying(service, owner)}" for owner in owners)
        raise UserError(f"version {version} does not ship {missing}; the way on is a version that does{way}")
    try:
        for migration in migrations:
            if migration.name in entries:
                check(entries[migration.name], migration, service)
    except Refused as error:
        raise UserError(str(error)) from None
    if half := [m.name for m in migrations if m.name in entries and entries[m.name].state is State.REVERTING]:
        raise UserError("\n".join(f"{name} is half reverted: `bleen migrate revert {name}` ends that, then try again" for name in half))
    new = [m for m in migrations if m.name not in entries]
    begun = [m for m in migrations if m in new or entries[m.name].state is State.EXPANDING]
    near = [each for each in entries.values() if each.service not in apart]
    behind = [_same_number(m.name, each, service) for m in new for each in near if each.migration.number == m.number]
    try:
        revisions.placed(schema.server, begun, home, [entry.migration for entry in entries.values()])
    except Refused as error:
        behind.append(str(error))
    if behind:  # of a hotfix after a rollback often both, and one revert is the way out of both
        raise UserError("\n".join(behind))
    if empty := [m for m in new if not (any(map(m.holds, PHASES)) or m.backfill or m.pairs or m.command != Command())]:
        raise UserError("\n".join(f"{m.name}: nothing is written in it yet: fill in {m.name}/{_first(m)}, or take the folder away" for m in empty))
    names, together = {m.name for m in new}, schema.together(new)
    others = [*(each.migration for each in near if each.state is not State.CONTRACTED), *new]
    waits = [(m, [each for each in revisions.overtaken(m, others) if not {m.name, each} <= together]) for m in new]
    if early := [revisions.overtakes(m, earlier, names, {each.name for each in migrations}) for m, earlier in waits if earlier]:
        raise UserError("\n".join(early))
    if wrong := _forbidden(new, schema.server, home, together):
        piped = "; for what a command prints, `COMMAND | bleen migrate lint --phase expand -` does" if any(m.command.sql for m in new) else ""
        raise UserError("\n".join([*wrong, f"the rules forbid this; `bleen migrate lint` shows the safe way for each statement{piped}"]))
    if wrong := [*_claimed(new), *(f"{m.name}: {why}" for n, m in enumerate(new) for why in Foresight(schema).foreseen(m, new[:n]))]:
        raise UserError("\n".join(wrong))


def _same_number(name: str, entry: Entry, service: str) -> str:
    """Once both are on a database, no version can ship both, and so no contract of either can ever be done, but of services that are apart."""
    whose = f" ({entry.service} brought it)" if entry.service else ""
    said = f"{name} has the number of {entry.name}, which is on this database already{whose}: give it another number, or"
    if service and entry.service not in ("", service):
        return f"{said}, {saying(service, entry.service)}"
    return f"{said} `bleen migrate revert {entry.name}` first"


def _first(migration: Migration) -> str:
    """The file that is filled in first: in the template for a command there is no other."""
    return "expand.sql" if "expand.sql" in migration.sources else "migration.toml"


def _claimed(migrations: Sequence[Migration]) -> list[str]:
    """Columns of more than one pair, a line each: only one pair can keep a column in step, and the second would be refused when the first is installed."""
    said: list[str] = []
    claims: dict[tuple[str, str], tuple[str, Pair]] = {}
    for m, pair in [(each, pair) for each in migrations for pair in each.pairs]:
        for column in (*pair.old, *pair.new):
            name, first = claims.setdefault((pair.table, column), (m.name, pair))
            if first is not pair and {*first.old, *first.new} != {*pair.old, *pair.new}:
                way = "make them one pair" if name == m.name else f"ship {m.name} in a release after {name} is contracted"
                said.append(f"{m.name}: {words(pair)} cannot be kept in step: {column} is in {words(first)} of {name} already; {way}")
    return said


def _forbidden(migrations: Sequence[Migration], server: Server, home: Home | None, together: Collection[str]) -> list[str]:
    """What the rules find wrong with migrations, a line each."""
    printing = judging.Printing(server, home, together)
    printed = [printing.of(m) for m in migrations]
    may = {script.file: m.command.allow for m, own in zip(migrations, printed, strict=True) for script in own}
    scripts: list[Script] = []
    for m, own in zip(migrations, printed, strict=True):
        scripts += own
        scripts += [Script(m.sql(phase), f"{m.name}/{phase}.sql", phase) for phase in PHASES if m.holds(phase)]
    found = [f for f in lint_release(scripts, server.dialect) if f.rule not in may.get(f.file, ())]
    for m in migrations:
        found += reverting.lint(m.sql("expand"), m.sql("revert"), m.name, server.dialect)
    found += _way_back(migrations, server.dialect)
    said = [f"{f.file}:{f.line}:{f.column}: [{f.rule}] {f.message}" for f in found if f.severity == "error"]
    said += [line for m in migrations for line in printing.ledger(m)]
    return said + [line for m in migrations for line in judging.judge(server, m)]


def _signed(plan: Plan, loaded: Config, kind: str) -> dict[str, object]:
    """The platform's settings, with what tells which environment a session is of: libpq reads the first two; SQLite's gate looks at who has the file open.
    What the file sets itself stays.
    """
    name = named(plan.service, "{environment}")
    signs = {"postgres": {"PGAPPNAME": name, "PGOPTIONS": "-c bleen.environment={environment}"}, "sqlite": {"BLEEN_APPLICATION": name}}
    mine = {name: value for name, value in signs.get(kind, {}).items() if name not in loaded.variables}
    return {**plan.platform, "env": {**mine, **plan.platform["env"]}}


def _unpooled(signed: Mapping[str, Any], before: Plan | None) -> list[str]:
    """What a pooler in front of the application makes of its first release with a database: whoever was served without would be so no more."""
    if before is None or before.database or not signed["env"].get("PGOPTIONS"):
        return []
    why = "PGOPTIONS comes into the environment of its processes: pgbouncer refuses connections that have it (unsupported startup parameter: options)"
    return [f"{why}; if they connect through one, `env: {{PGOPTIONS: ''}}`, or ignore_startup_parameters = options there (docs/guide/database.md)"]
