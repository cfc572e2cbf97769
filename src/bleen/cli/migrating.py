"""What the sub-verbs of `bleen migrate` have in common: the database of a bleen.yaml, and what the service around it does."""

import json
import os
from argparse import ArgumentParser, Namespace
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from bleen import config
from bleen.cli import database, picture, show
from bleen.cli.access import Access, described, open_service
from bleen.config import Config
from bleen.database import connect
from bleen.database.command import revisions
from bleen.database.command.home import Home
from bleen.database.gate import Around
from bleen.database.ledger import Entry
from bleen.database.migration import Migration, read_all
from bleen.database.reading import Pending, Reading
from bleen.database.schema import Schema
from bleen.database.worker import row
from bleen.errors import PortError, Unavailable, UserError
from bleen.host import clock, state
from bleen.lifecycle import Release
from bleen.model import Environment
from bleen.ports import Shipping
from bleen.shipping import shipping

_UNFINISHED = {
    "expanding": "`bleen deploy` of a version that ships it goes on, `bleen migrate revert` undoes it",
    "contracting": "`bleen migrate contract` goes on",
    "reverting": "`bleen migrate revert` goes on",
}
"""What becomes of a migration that somebody was killed at, by its state in the ledger."""


class Opened(NamedTuple):
    """A database to migrate."""

    schema: Reading
    config: Config
    access: Access | None
    """The service that releases on it; None if it has never been up."""

    @property
    def service(self) -> str:
        return self.config.service

    def migrations(self, version: str) -> list[Migration]:
        """Those that a version ships. Raises UserError for one that is wrong, or if the version has none."""
        shared = config.database(self.config, config.check_version(version))
        assert shared is not None, "it was opened"
        found = read_all(Path(shared.folder))
        if not found:
            raise UserError(f"version {version} has no migrations: {shared.folder} is empty or no directory")
        return found

    @property
    def apart(self) -> Collection[str]:
        """The services of whose migrations a version need ship none, as bleen.yaml says today."""
        shared = config.database(self.config, "")
        return shared.apart if shared else ()

    def around(self) -> Around:
        """What the service does now, as its router and its platform say; where no release of it is known, what the database remembers of it."""
        newest = self.access.journal.latest(self.access.name) if self.access else None
        if self.access is None or newest is None:
            told = [known for known in self.schema.ledger.environments() if known.service == self.service]
            return Around(self.service, tuple(Shipping(Environment.parse(k.environment), k.version, k.migrations, 0, 0) for k in told), known=False)
        return Around(self.service, tuple(_shipping(self.access, newest)), picture.window(self.access, newest))

    def ships(self) -> dict[str, frozenset[str]]:
        """Every version of the service that exists, or serves again with the next `up`, and what it ships, as this host knows it without the database."""
        newest = self.access.journal.latest(self.access.name) if self.access else None
        if self.access is None or newest is None:
            return {}
        there = {*self.access.providers(newest).platform.running(), self.access.service.active}
        plans = [release.plan for environment in there if environment and (release := self.access.release_of(environment))]
        return {plan.version: frozenset(plan.database.get("migrations", ())) for plan in plans}

    def home(self, migration: str) -> Home | None:
        """Where a migration's commands run: in the newest version that ships it, else in the one whose expand it was, else, where Alembic has gone further
        than that one's files, in the one that brought it there; None if it has no commands.
        """
        version, entry = self.schema.version(migration), self.schema.ledger.entry(migration)
        ships = [e for e in self.around().environments if migration in e.migrations]
        newest = max(ships, key=lambda e: e.environment.release).version if ships else version
        if not version or entry is None:
            return None
        homes = [database.home(self.config, each) for each in dict.fromkeys([newest, *self.schema.versions()])]
        return revisions.fitting(self.schema.server, entry.migration, homes)

    def amiss(self) -> list[str]:
        """Why requests fail by this database as it is: what versions that are here ship, and it has not, and what nobody can write; a line each."""
        lacking = dict.fromkeys(each.obstacles[0].why for each in self.schema.lacking(self.ships()))
        return [*lacking, *filter(None, [self.schema.jammed()])]

    def pending(self, as_if_aside: str = "") -> list[Pending]:
        """The contracts that are pending, which `bleen status` knows from now on, with what is lacking; whether the way back is open it looks up itself, each
        time. ``as_if_aside``: as they are for who sets this one aside, which nobody has to know.

        Raises UserError if the ledger is gone.
        """
        if lost := self.schema.lost(self.ships()):
            raise UserError(lost)
        around = self.around()
        failed = {each["migration"]: each.get("failed", "") for each in self.access.service.pending} if self.access else {}
        found = [each._replace(failed=failed.get(each.migration, "")) for each in self.schema.pending(around, as_if_aside)]
        if self.access and not as_if_aside:
            lasting = [each._replace(obstacles=tuple(o for o in each.obstacles if o.why != around.window)) for each in found]
            self.access.journal.pend(self.access.name, [row(each) for each in (*self.schema.lacking(self.ships()), *lasting)])
        return found

    def noted(self, *done: str) -> None:
        """Has `bleen status` know what is pending now that something was done, ``done`` contracts at the least: what else cannot be told, it learns later."""
        if self.access and done:
            left = [each for each in self.access.service.pending if each["since"] is None or each["migration"] not in done]
            self.access.journal.pend(self.access.name, left)
        with suppress(PortError, UserError):
            self.pending()

    def failed(self, migration: str, why: str) -> None:
        """Remembers what a contract failed on: its gate is open as before, which says nothing of that."""
        if self.access:
            rows = [each | {"failed": why} if each["migration"] == migration else each for each in self.access.service.pending]
            self.access.journal.pend(self.access.name, rows)


@contextmanager
def opened(args: Namespace) -> Iterator[Opened]:
    """The database of the bleen.yaml that is meant. Raises UserError if the file names none, or for what the database does not take."""
    with _connected(args) as (found, _):
        yield found


@contextmanager
def _connected(args: Namespace) -> Iterator[tuple[Opened, Schema]]:
    file = file_of(args)
    loaded = config.load(Path(file))
    shared = config.database(loaded, "")
    if shared is None:
        raise UserError(f"{file} names no database; add `database: {{url: ${{DATABASE_URL}}}}`")
    try:
        known = _known(args, loaded)
        told, identity = (lambda text: None if args.json else print(text, flush=True)), known.place.identity if known else ""
        schema = Schema(connect(shared.url, f"bleen migrate {loaded.service}"), told, identity)
        try:
            with schema.server.lookout(database.tell):
                yield Opened(schema, loaded, known), schema
        finally:
            schema.server.close()
    except PortError as error:
        raise UserError(str(error)) from None


@contextmanager
def acting(args: Namespace) -> Iterator[tuple[Opened, Schema]]:
    """As ``opened``, with what changes the database. Raises UserError if the service that releases on it belongs to another user."""
    with _connected(args) as (found, schema):
        state.Place(found.service).must_be_ours()
        yield found, schema


def file_of(args: Namespace) -> str:
    """``args.file``; where there is none, that which the service of ``--service`` was last brought up or released from."""
    return (state.named(args.service).came_from(Path(args.file)) if args.service and not os.path.exists(args.file) else "") or str(args.file)


def _shipping(access: Access, newest: Release) -> list[Shipping]:
    providers = access.providers(newest)
    shares: Mapping[Environment, int] = {}
    with suppress(Unavailable):  # the router may be down; what exists keeps a gate shut whatever its share is
        shares = providers.router.routing().shares
    return shipping(access.service, access.release_of, providers.platform.running(), shares)


def agreed(args: Namespace, would: str) -> bool:
    """Whether a person at a terminal says yes to what the verb would do; --yes says it before. Raises UserError where nobody can be asked."""
    import sys

    if args.yes:
        return True
    if not sys.stdin.isatty():
        raise UserError(f"nothing was changed: nobody is there to ask. This would {would}; --yes says that it may")
    try:
        return input(f"This would {would}. Go on? [y/N] ").strip().lower() == "y"
    except EOFError:
        return False


def asks(parser: ArgumentParser) -> None:
    parser.add_argument("--yes", action="store_true", help="do not ask")


def foreign(owner: str, service: str, verb: str) -> str:
    """Why a migration is another service's to contract or to revert; empty if it is the service's own."""
    if owner in ("", service):
        return ""
    way = f"{verb} it with the bleen.yaml of {owner}, or, if that is gone for good, name it with --because REASON"
    return f"it is a migration of {owner}, which is on this database too: {way}"


def answer(args: Namespace, ok: bool, text: str, **more: Any) -> None:
    print(json.dumps({"ok": ok, "text": text, **more}) if args.json else text)


def unfinished(entry: Entry, service: str) -> str:
    """What becomes of a migration that somebody was killed at, for the service that asks; empty if it is none."""
    way = _UNFINISHED.get(entry.state, "")
    return f"it is of {entry.service}, with whose bleen.yaml {way}" if way and entry.service not in ("", service) else way


def pending_lines(found: list[Pending], service: str) -> list[str]:
    """Each pending contract, its age, and what it waits for; of another service's, whose it is: ``service`` is the one that asks."""
    lines = []
    for each in found:
        assert each.since is not None, "a contract is of what was expanded"
        owner = "" if each.service in ("", service) else each.service
        lines.append(f"{each.migration}: contract pending{f' of {owner}' if owner else ''}, expanded {show.span(clock.wall() - each.since)} ago")
        lines += [f"  waits: {o.told}" for o in each.obstacles]
        if owner:
            lines.append(f"  it is for {owner} to contract, with its bleen.yaml")
        elif not each.obstacles:
            lines.append(f"  its gate is open: {picture.DOES}")
        if each.failed:
            lines.append(f"  the last time it failed: {each.failed}")
    return lines


def _known(args: Namespace, loaded: Config) -> Access | None:
    service = described(args, loaded.service)
    return open_service(Namespace(service=service, file=args.file)) if state.Place(service).known else None
