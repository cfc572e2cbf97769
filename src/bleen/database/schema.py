"""The schema of one database: expand, contract and revert as the ledger allows, each resumable from wherever it was killed."""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from typing import NamedTuple

from bleen.database import backfill, command, parts, reverting
from bleen.database.command import HALVES, Half, revisions
from bleen.database.command.home import Home
from bleen.database.command.revisions import Standing
from bleen.database.gate import Around, Obstacle, lives_with, named, obstacles
from bleen.database.ledger import Entry, Known, Ledger, State
from bleen.database.migration import Backfill, Locks, Migration
from bleen.database.pairs import Pairs
from bleen.database.retracing import CLEARING, Gone, Retracing
from bleen.database.server import NotGiven, Server, Told, TookTooLong
from bleen.database.statements import Statement, in_a_line
from bleen.database.steps import BY_HAND, Steps, mend
from bleen.errors import PortError, Refused, Unavailable
from bleen.model import Environment, apart_from

_TIDYING = Locks(patience=60.0)
"""How long what was aborted is tidied up: a dump that reads the table for so long is no reason to leave it."""
_UNFILLED = re.compile(r"is violated by some row|contains null values|Data truncated|NOT NULL constraint failed")
"""What servers say of rows that have NULL where a contract wants none."""
_UNDONE = "nothing was done of it this time: try again"


class Pending(NamedTuple):
    """A contract that has not been done, and what it waits for; with no obstacles it could be done now. Or an expand that has: see ``Schema.lacking``."""

    migration: str
    description: str
    since: float | None
    """When the migration was expanded, in seconds since the epoch; None if it is not."""
    service: str
    """Whose release brought it."""
    obstacles: tuple[Obstacle, ...]
    failed: str = ""
    """What it failed on when it was last tried, as far as that is known."""


class Schema:
    """What migrations do to one database. Every method that changes it holds the database's lock, and raises ``server.Taken`` if another of us does."""

    def __init__(self, server: Server, told: Told = lambda _: None, identity: str = "") -> None:
        """``identity``: see ``Ledger``. What a command has dropped of that, while somebody ended who ran it, is written back."""
        self.server, self.ledger, self.told = server, Ledger(server, identity), told
        if self.ledger.lacks:
            with self._alone():
                pass  # it is there again
        self._pairs = Pairs(server, self.ledger, told)
        self._retracing = Retracing(server, self.ledger, told)
        self._steps = Steps(server, self.ledger, self._pairs, told)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """As ``Server.alone``, with the whole ledger: what a command has dropped of it while somebody ended who ran that, is there again."""
        with self.server.alone():
            self.ledger.recover(self.told)
            yield

    def expand(
        self,
        migrations: Sequence[Migration],
        service: str,
        release: int,
        environments: Mapping[str, frozenset[str]],
        versions: Mapping[str, str] = {},
        home: Home | None = None,
    ) -> list[str]:
        """Makes the schema fit for every version: statements, two-way sync, backfill, migration by migration; names what was new.

        ``environments``: those of the service that exist or are about to, and what each ships; ``versions``: of which version each is; ``home``: where
        commands run, needed if there are any. What was done already is not done again; one that stopped half way goes on. Raises Refused for a statement that
        the server does not take, or a command that fails: what was done stays, and is gone on with, or reverted.
        """
        with self._alone():
            states = {entry.name: entry.state for entry in self.ledger.entries()}
            half = next((m.name for m in migrations if states.get(m.name) is State.EXPANDING), "")
            first = half or next((m.name for m in migrations if m.name not in states), "")
            with _broken_off(first, _onward(half) if half else _UNDONE) if first else nullcontext():
                self.ledger.make()
                self._refuse_outdated(release, environments)
                self._refuse_stranger(service, release)
                self._give_back(environments)
                self.ledger.exists(service, [Known(service, name, versions.get(name, ""), ships) for name, ships in environments.items()])
                self._pairs.restore()  # else what a rewrite makes anew on MySQL is not missed
                self._pairs.rewrite(service)
            together = self.together(migrations)
            return [m.name for m in migrations if self._expand(m, service, release, home, together)]

    def together(self, migrations: Sequence[Migration]) -> frozenset[str]:
        """Those that come, or came, as the first, and at once, onto a database that held no table: no version without them has been there, so that nobody
        needs an old shape of theirs, and a contract need not wait. None of them that an environment lacks by now.
        """
        known = self.ledger.environments()
        if self.server.bare():
            names = {m.name for m in migrations}
        else:
            came = self.ledger.everywhere(command.VERSION)
            names = {name for entry in self.ledger.entries() if entry.name in came for name in came[entry.name].memo.get("together", ())}
        return frozenset(name for name in names if all(name in each.migrations for each in known))

    def backfill(self, name: str) -> bool:
        """Goes over the rows of an expanded migration once more, and fills those that nobody has written; says whether there are any to be filled. Raises
        Refused for what only a person can mend.
        """
        with self._alone(), _broken_off(name, f"`bleen migrate backfill {name}` begins it anew"):
            entry = self._entry(name)
            fill = parts.fill(self.server, entry.migration)
            if fill is None:
                return False
            if entry.state is not State.EXPANDED:
                raise Refused(f"{name} is {entry.state}: there is nothing to fill")
            self._pairs.refuse_torn(entry.migration)
            self._pairs.restore()
            self.ledger.note(self.ledger.unmark(name, "backfill", 1))
            self._go_over(entry.migration, fill, late=True)
            if left := {pair: count for pair, count in self._diverged(entry).items() if count}:
                said = "; ".join(f"{count} rows of {pair} are out of step" for pair, count in left.items())
                raise Refused(
                    f"{said}: written past the triggers, and nobody but you knows which side is right; UPDATE the other, these rows are found by: "
                    + "; ".join(self._pairs.shown(entry.migration))
                )
            return True

    def tidy(self) -> list[str]:
        """Takes away what expands that have ended half way left in the way of the version that serves; names it. The rest of them stays, to be gone on with."""
        with self._alone():
            return [each for entry in self.ledger.entries() if entry.state is State.EXPANDING for each in self._retracing.tidy(entry.migration, _TIDYING)]

    def contract(self, name: str, because: str = "", home: Home | None = None, shut: Callable[[], Sequence[str]] = tuple, again: str = "") -> Sequence[str]:
        """Takes the old shape away; or says what keeps its gate shut. The files are those that were expanded, from the ledger.

        ``because``: why what nobody could see was taken for harmless; it is kept. ``home``: where its command runs, if it has one. ``shut``: asks the gate,
        see ``pending``, when nobody else changes the database any more: what was found before a person was asked may be long past. ``again``: the verb that
        goes on where the server has refused the rest of it, if it is another.
        """
        way = again or f"bleen migrate contract {name}"
        with self._alone(), _broken_off(name, f"`bleen migrate contract {name}` goes on from there"):
            return self._contract(name, because, home, shut, way)

    def set_aside(self, name: str, because: str, shut: Callable[[], Sequence[str]] = tuple) -> Sequence[str]:
        """Has a contract count as done of which nothing is done, as none of it can be: its pairs end, the old shape stays, and later contracts go on. Or says
        what keeps its gate shut; see ``contract``. Raises Refused if part of it was done, or if it is a command's.
        """
        way = f"bleen migrate contract {name} --aside --because REASON"
        with self._alone(), _broken_off(name, f"`{way}` goes on from there"):
            entry = self._entry(name)
            if entry.migration.command.contract:
                raise Refused(f"{name} is contracted by a command, whose tool has to know of it: say it in the files of that tool, which may be changed")
            if entry.state is State.CONTRACTING and self._retracing.taken(entry) and not self.ledger.aside(entry):
                raise Refused(f"{name} is half contracted, and cannot be set aside: `bleen migrate contract {name}` ends that, or says what is in its way")
            if entry.state is State.CONTRACTING and not self.ledger.aside(entry):
                self._put_back(entry, Refused(f"{name}: its contract was begun"))
            return self._contract(name, because, None, shut, way, aside=True)

    def revert(self, name: str, home: Home | None = None, needed: Callable[[], str] = str, because: str = "") -> None:
        """Undoes an expand, and forgets the migration; see ``losses``. ``home``: see ``contract``. ``needed``: says by whom it is needed, see ``users``, when
        nobody else changes the database any more. ``because``: why it does not matter what a command has left that its tool does not know of.
        """
        with self._alone(), _broken_off(name, f"`bleen migrate revert {name}` goes on from there"):
            entry = self._entry(name)
            if why := needed():
                raise Refused(why)
            if why := self.beyond(name):
                raise Refused(why)
            if self._retracing.begun(entry):
                self._refuse_irreversible(entry.migration)
            if why := self._retracing.built_upon(entry):
                raise Refused(why)
            standing = Standing()
            if command.step("expand") in self.ledger.steps(name):
                self._steps.startable(entry.migration, "revert", home)
                standing = self._straight(entry.migration, "revert", home)
            self._retracing.tidy(entry.migration, CLEARING)
            if entry.state is State.CONTRACTING:
                self._put_back(entry, Refused(f"{name}: its contract was begun"))
            self._retracing.settle(entry.migration)
            entry, steps = self._entry(name), self.ledger.steps(name)
            self.server.rows(*self.ledger.reached(name, State.REVERTING, entry.at))
            self._steps.take_away(entry.migration, "revert", self._retracing.way_back(entry.migration))
            try:
                if command.step("expand") in steps:
                    self._steps.command(entry.migration, "revert", home, standing, because)
            except Refused as error:
                if self._retracing.taken_back(name, steps):
                    raise
                raise type(error)(self._still(entry, str(error))) from None
            self.ledger.note(self.ledger.forgotten(name))

    def forget(self, service: str) -> None:
        """Takes a service out of the books. Raises Refused if it has a session on this database."""
        with self._alone():
            if there := [s for s in self.server.sessions() if s.application.startswith(named(service, ""))]:
                raise Refused(f"{service} is not gone: session {there[0].id} ({there[0].application}, user {there[0].user}) is connected")
            with self.server.transaction():
                self.ledger.gone(service)

    def pending(self, around: Around, aside: str = "") -> list[Pending]:
        """Every contract that has not been done, in their order, and what keeps its gate shut; those of services that this one is apart from come last, and
        nothing waits for them. ``aside``: the one that is not to be done, but set aside.
        """
        found: list[Pending] = []
        others = self.ledger.environments()
        strange = [Obstacle(_strange(each)) for each in self.ledger.elsewhere(around.service)[:1] if around.known]
        sessions = self.server.sessions()
        for entry in self.ledger.entries():
            if entry.state not in (State.EXPANDED, State.CONTRACTING) or not parts.contracts(entry.migration):
                continue
            stays = entry.name == aside or self.ledger.aside(entry)
            try:
                absent = [] if self._retracing.taken(entry) else self._pairs.absent(entry.migration)
                why = f"whose columns {entry.name} keeps in step: somebody has dropped it"
                diverged, uncounted = self._diverged(entry), [Obstacle(f"there is no table {table}, {why}", unseen=True) for table in absent]
                spent = [] if self._retracing.taken(entry) else self._pairs.spent(entry.migration)
                uncounted += [Obstacle(f"{pair.table} has no column {name} any more, {why}", True, name) for pair, name in spent]
                uncounted += [] if stays else self._behind(entry)
            except Refused as error:
                diverged, uncounted = {}, [Obstacle(f"the rows of {entry.name} that are out of step cannot be counted: {error}")]
            earlier = [p.migration for p in found if around.apart(p.service) == around.apart(entry.service)]
            shut = [*strange, *obstacles(entry.name, around, others, sessions, diverged, earlier, entry.service), *uncounted]
            shut += self._losing(entry.migration) if stays else self._needing(entry.migration)
            found.append(Pending(entry.name, entry.migration.description, entry.at, entry.service, tuple(shut)))
        return sorted(found, key=lambda each: around.apart(each.service))

    def _needing(self, migration: Migration) -> list[Obstacle]:
        """What a contract would fail on, or make fail, after all that it has waited for; its files do not change any more: the way is one past them."""
        way = "drop that, or make it anew such that it does without, by hand, then contract again"
        found = self.server.catalogue.needing(parts.statements(self.server, migration, "contract"), ())
        return [Obstacle(f"contract.sql, {each.statement.brief}: {each.why}; {way}", not each.certain, each.about) for each in found]

    def _behind(self, entry: Entry) -> list[Obstacle]:
        """Rows that the old version may have written behind the backfill of columns that no pair keeps in step: what they say goes with the old ones."""
        found = []
        for filling in () if self._retracing.unshared(entry) else (entry.migration, *self.beside(entry.name)):
            if not (unkept := parts.unkept(self.server, filling, entry.migration)):
                continue
            fill, gone = unkept
            unwritten, other = backfill.behind(self.server, filling, fill, gone)
            rows, new, old = f"rows of {parts.plain(fill.table)}", ", ".join(fill.set), ", ".join(gone)
            way = f"`bleen migrate backfill {filling.name}` fills them"
            empty = f"{unwritten} {rows} have nothing in {new} of what {old} says, which goes with the contract: {way}"
            whose = f"the new version wrote {new}, or the old one {old} behind the backfill: nobody but you knows"
            differs = f"{other} {rows} have something else in {new} than {old} says, which goes with the contract: {whose}"
            found += [Obstacle(why, True, gone[0]) for count, why in ((unwritten, empty), (other, differs)) if count]  # another's reason is none for these
        return found

    def _losing(self, migration: Migration) -> list[Obstacle]:
        """What would fail without the triggers of a contract that is set aside, which keeps its old columns."""
        why = "is NOT NULL, and stays: without the triggers an INSERT of the new version fails, which does not give it"
        way = "by hand, have it take NULL (on PostgreSQL ALTER TABLE … ALTER COLUMN … DROP NOT NULL), then set it aside again"
        return [Obstacle(f"{name} of {pair.table} {why}; {way}") for pair in migration.pairs for name in self._pairs.needed(pair, [])]

    def lost(self, ships: Mapping[str, frozenset[str]]) -> str:
        """That the ledger is gone, though versions that exist have had migrations carried out, and so it was there; empty if it is there, or there is nothing
        that it could tell of. ``ships``: those versions, and what each ships.
        """
        brought = {version: ", ".join(sorted(names)) for version, names in ships.items() if names}
        if not brought or self.ledger.there() or self.server.bare():
            return ""
        version, names = next(iter(brought.items()))
        gone = f"the ledger of this database is gone (bleen_migration, bleen_step, bleen_environment), which {version} was released on with {names}"
        return f"{gone}: nobody knows which of that is contracted; bring the three tables back from a backup"

    def lacking(self, ships: Mapping[str, frozenset[str]]) -> list[Pending]:
        """What versions that exist ship, see ``lost``, and this database has not: it was brought before they came, and so has been taken away since, as by a
        dump of before. The obstacle is the same for all of a version.
        """
        known, found = {entry.name for entry in self.ledger.entries()}, list[Pending]()
        for version, names in ships.items():
            if absent := sorted(name for name in names - known if not name.startswith(apart_from(""))):
                why = f"{version} is here, and ships {', '.join(absent)}, which this database has not: was it restored?"
                obstacle = Obstacle(f"{why} `bleen migrate expand {version}` brings it")
                found += [Pending(name, "", None, "", (obstacle,)) for name in absent]
        return found

    def jammed(self) -> str:
        """That nobody can write what a pair keeps in step, or soon may not, and what to do; empty if nothing is known of that."""
        why = self.server.catalogue.jams()
        return f"{why}; `bleen migrate expand VERSION` of a version that is here makes them anew" if why else ""

    def contracted(self) -> list[str]:
        """The migrations whose contract was done, or has come so far that only versions which ship them can be on this database; or was set aside."""
        return [entry.name for entry in self._contracted()]

    def _contracted(self) -> list[Entry]:
        return [entry for entry in self.ledger.entries() if self._retracing.unshared(entry) and parts.contracts(entry.migration)]

    def missing(self, ships: Collection[str]) -> list[Entry]:
        """Those of ``contracted`` that a version cannot live with, by what it ships."""
        return [entry for entry in self._contracted() if not lives_with(ships, entry.name, entry.service)]

    def outdated(self, ships: Collection[str]) -> str:
        """What a version does not ship and cannot run without, and why; empty if it ships all of that. One that was set aside, and had nothing to keep in step,
        no version needs.
        """
        missing = self.missing(ships)
        aside = [each for each in missing if self.ledger.aside(each)]
        gone = [each.name for each in missing if each not in aside and each.state is State.CONTRACTED]
        half = [each.name for each in missing if each not in aside and each.name not in gone]
        left = [each.name for each in aside if each.migration.pairs]
        said = [f"{', '.join(gone)}, which is contracted: what it needs of the schema is gone"] if gone else []
        said += [f"{', '.join(half)}, whose contract was begun: what it needs of the schema may be gone; `bleen migrate contract` ends that"] if half else []
        said += [f"{', '.join(left)}, whose contract was set aside: what it writes is kept in step no more"] if left else []
        return "; nor ".join(said)

    def beyond(self, name: str) -> str:
        """Why no revert leads back from where a migration has come; empty if one may."""
        entry = self._entry(name)
        if not self._retracing.taken(entry):
            return ""
        aside = self.ledger.aside(entry)
        if entry.state is State.CONTRACTED:
            why = "was set aside, and counts as contracted, though the old shape is there" if aside else "is contracted: the old shape is gone"
            return f"{name} {why}; the way on is a new migration"
        way = f"`bleen migrate contract {name}` ends that; the way on is a new migration"
        why = "set aside: not all of it is kept in step" if aside else "contracted, and part of the old shape is gone, or may be"
        return f"{name} is half {why}: {way}"

    def beside(self, name: str) -> list[Migration]:
        """The other migrations whose pairs are kept in step, or come back to that: a contract that has taken nothing away may yet be put back."""
        others = [entry for entry in self.ledger.entries() if entry.name != name]
        begun = [each for each in others if each.state is State.CONTRACTING and not self._retracing.taken(each)]
        return [each.migration for each in others if each.state in (State.EXPANDING, State.EXPANDED) or each in begun]

    def version(self, name: str) -> str:
        """Of which version a migration with commands was expanded last; empty if it has none."""
        step = self.ledger.steps(name).get(command.VERSION)
        return str(step.memo["version"]) if step else ""

    def versions(self) -> list[str]:
        """Of which versions commands have expanded something, the newest first: their files have what those commands have noted."""
        expands, of = self.ledger.everywhere(command.step("expand")), self.ledger.everywhere(command.VERSION)
        done = [entry.name for entry in reversed(self.ledger.entries()) if entry.name in of and entry.name in expands and expands[entry.name].done]
        return list(dict.fromkeys(str(of[name].memo["version"]) for name in done))

    def users(self, name: str) -> list[Known]:
        """Environments that ship a migration, and so need what a revert would take away."""
        return [known for known in self.ledger.environments() if name in known.migrations]

    def breaking(self, name: str) -> list[Obstacle]:
        """What a revert would make fail for whoever writes or reads then: a person may say why that does not matter. Of what stands in its way altogether,
        ``revert`` tells.
        """
        way = "drop that, or make it anew such that it does without, then revert again"
        try:
            found = self._retracing.breaking(self._entry(name))
        except Refused:
            return []
        return [Obstacle(f"{in_a_line(each.statement.text)[:100]}: {each.why}; {way}", True, each.about) for each in found]

    def losses(self, name: str) -> dict[str, int]:
        """What a revert would lose: for each pair that is kept in step, how many rows hold what the old columns do not say; for each table that goes, its
        rows; and for the other columns, the rows that have something there which neither ADD COLUMN nor the backfill has made. Of one that goes on, only what
        is still there; its pairs, nobody can count.
        """
        entry = self._entry(name)
        lost = {} if entry.state is State.REVERTING else self._pairs.losses(entry.migration)
        return {**lost, **{gone.told: self._held(entry.migration, gone) for gone in self._retracing.going(entry)}}

    def _held(self, migration: Migration, gone: Gone) -> int:
        """How many rows say something that goes."""
        if not gone.columns:
            return int(self.server.rows(f"SELECT count(*) FROM {gone.table}")[0][0])
        fill = parts.fill(self.server, migration)
        made = {name.lower(): made for name, made in fill.set.items()} if fill and parts.bare_name(fill.table) == parts.bare_name(gone.table) else {}
        return backfill.told(self.server, migration, gone.table, {name: made.get(name.lower(), "NULL") for name in gone.columns})

    def written(self, names: Sequence[str]) -> dict[str, Mapping[str, int | str]]:
        """For each pair of these migrations: rows that the new shape wrote, conflicts that were decided, rows that the old shape cannot read, and rows whose
        new columns say what the old ones do not, so that an UPDATE of those overwrites it; with the key of one of them.
        """
        told: dict[str, Mapping[str, int | str]] = {}
        for name in names:
            entry = self.ledger.entry(name)
            if entry is None or entry.state is not State.EXPANDED:
                continue
            told |= self._pairs.written(entry.migration)
        return told

    def _refuse_outdated(self, release: int, environments: Mapping[str, frozenset[str]]) -> None:
        """A contract may have been done since the release was planned."""
        for name, ships in environments.items():
            if Environment.parse(name).release == release and (missing := self.outdated(ships)):
                raise Refused(f"{name} is of a version that does not ship {missing}")

    def _refuse_stranger(self, service: str, release: int) -> None:
        """An environment that is not of this state would be forgotten, with the gates that it keeps shut. Releases are counted up: so is one of a later one."""
        known = [each for each in self.ledger.environments() if each.service == service] if release else []
        later = [each for each in known if Environment.parse(each.environment).release > release]
        if others := self.ledger.elsewhere(service) or later:
            raise Refused(_strange(others[0]))

    def _refuse_irreversible(self, migration: Migration) -> None:
        name, expand, revert = migration.name, migration.sql("expand"), migration.sql("revert")
        if why := parts.final(migration):
            raise Refused(f"{name} cannot be reverted: {why}; the way on is a new migration")
        if found := reverting.lint(expand, revert, name, self.server.dialect):
            raise Refused(f"{found[0].file}:{found[0].line}: {found[0].message}; the way on is a new migration")

    def _contract(self, name: str, because: str, home: Home | None, shut: Callable[[], Sequence[str]], way: str, aside: bool = False) -> Sequence[str]:
        entry = self._entry(name)
        if entry.state is State.CONTRACTED:
            return ()
        if entry.state not in (State.EXPANDED, State.CONTRACTING):
            raise Refused(f"{name} is {entry.state}: only what is expanded can be contracted")
        self._pairs.restore()
        if waits := shut():
            return waits
        self._steps.startable(entry.migration, "contract", home)
        standing = self._straight(entry.migration, "contract", home)
        begun = self.ledger.aside(entry)  # what was begun so ends so, for the reason that it was begun for, whoever goes on with it
        aside = aside or bool(begun)
        reason = self.ledger.reasoned(name, begun or because or self.ledger.because(name), aside)
        self.ledger.note([self.ledger.reached(name, State.CONTRACTING, entry.at), *reason])  # its age is that of the expand
        self._take_away(entry, home, standing, way, [] if aside else parts.statements(self.server, entry.migration, "contract"))
        self.server.rows(*self.ledger.reached(name, State.CONTRACTED))
        return ()

    def _take_away(self, entry: Entry, home: Home | None, standing: Standing, way: str, statements: Sequence[Statement]) -> None:
        """What a contract takes away; or else nothing, as far as that can be: ``way`` goes on."""
        name = entry.name
        try:
            self._steps.take_away(entry.migration, "contract", statements)
            self._steps.command(entry.migration, "contract", home, standing)
        except Refused as error:
            if self._retracing.taken(self._entry(name)):
                there = ", once what it names is there: what is misspelt, made by hand, may be dropped again afterwards" if BY_HAND in str(error) else ""
                half = "not all of it is kept in step any more" if self.ledger.aside(self._entry(name)) else "part of the old shape may be gone already"
                raise type(error)(f"{error}; {half}: `{way}` goes on from there{there}") from None
            self._put_back(entry, error)
            if _UNFILLED.search(str(error)) and parts.fill(self.server, entry.migration):
                way = f"rows that the old version has written since the expand are filled by `bleen migrate backfill {name}`"
                if entry.migration.pairs:
                    way += ", but for those of which forward makes NULL: give them a value, by an UPDATE of the new columns"
                raise type(error)(f"{error}; {way}") from None
            if BY_HAND in str(error):
                undone = f"`bleen migrate contract {name} --aside --because REASON` leaves it undone, and later contracts go on"
                raise type(error)(f"{error}; {undone}") from None
            raise
        except KeyboardInterrupt:
            self._take_back(entry, "interrupted")
            raise
        except Unavailable as error:
            with suppress(PortError):  # whoever expands for a version without it tries again, see ``_give_back``
                self._take_back(entry, str(error))
            raise

    def _give_back(self, environments: Mapping[str, frozenset[str]]) -> None:
        """Puts back a contract that ended before it took anything away, of which an environment shall come that does not ship it: what the contract has added
        would go on to refuse its rows. Where its pairs are not kept in step by now, none may come.
        """
        for entry in self.ledger.entries():
            known = all(lives_with(ships, entry.name, entry.service) for ships in environments.values())
            if entry.state is State.CONTRACTING and not known and not self._retracing.unshared(entry):
                self._put_back(entry, Refused(f"{entry.name}: its contract was begun"))

    def _take_back(self, entry: Entry, why: str) -> None:
        """Puts a contract back that has taken nothing away."""
        if not self._retracing.taken(self._entry(entry.name)):
            self._put_back(entry, Refused(f"{entry.name}: {why}"))

    def _put_back(self, entry: Entry, why: Refused) -> None:
        """Has a contract that has taken nothing away, and failed because of ``why``, be pending as before: what it added goes, the pairs are kept in step."""
        self._retracing.put_back(entry.migration, why)
        try:
            self._pairs.put_back(entry.migration)
        except Refused as trouble:
            way = f"`bleen migrate revert {entry.name}` and `bleen migrate contract {entry.name}` try again"
            raise Refused(f"{why}; its pairs could not be kept in step again: {trouble}; {way}") from None
        self.server.rows(*self.ledger.reached(entry.name, State.EXPANDED, entry.at))

    def _still(self, entry: Entry, why: str) -> str:
        """Has a migration whose revert has taken nothing back be as it was, and says so behind why that failed. Of one that an earlier try has begun nobody
        knows whether its expand had ended: whoever goes on with that finds it done.
        """
        back = State.EXPANDING if entry.state is State.REVERTING else entry.state
        self.server.rows(*self.ledger.reached(entry.name, back, entry.at))
        return f"{why}\nnothing was taken back: {entry.name} is {back}"

    def _expand(self, migration: Migration, service: str, release: int, home: Home | None, together: frozenset[str]) -> bool:
        with _broken_off(migration.name, _UNDONE):
            entry = self.ledger.begin(migration, service, release)
        if entry.state is State.REVERTING:
            raise Refused(f"{migration.name} is half reverted: `bleen migrate revert {migration.name}` ends that, then expand again")
        if entry.state is not State.EXPANDING:
            return False
        if home and any(command.words(migration, half) for half in HALVES):
            memo = {"version": home.version} | ({"together": sorted(together)} if migration.name in together else {})
            self.ledger.note(self.ledger.mark(migration.name, *command.VERSION, True, "", memo))
        if migration.name in together:
            self._finish(migration, service, home, together)
        way = _onward(migration.name)
        try:
            with _broken_off(migration.name, way):
                self._steps.command(migration, "expand", home, self._straight(migration, "expand", home))
                self._steps.expand(migration)
                self._pairs.install(migration, self.beside(migration.name), mend(migration))
                if fill := parts.fill(self.server, migration):
                    try:
                        self._go_over(migration, fill)
                    except (NotGiven, TookTooLong):
                        raise
                    except Refused as error:  # until that is mended, the triggers fail the old version's writes of the same
                        raise type(error)(f"{migration.name}: {error}; {way}") from None
                    self._pairs.refuse_left_out(migration, fill)
                self.server.rows(*self.ledger.reached(migration.name, State.EXPANDED))
        except (NotGiven, TookTooLong) as error:
            raise type(error)(f"{error}; {way}") from None
        self.told(f"{migration.name}: expanded")
        return True

    def _straight(self, migration: Migration, half: Half, home: Home | None) -> Standing:
        """Refuses a command that would go the wrong way, or too far, before anything of its half is done; else tells where its tool stands."""
        steps = self.ledger.steps(migration.name)
        step, expanded = steps.get(command.step(half)), steps.get(command.step("expand"))
        if home is None or (step and step.done):
            return Standing()
        others = [entry.migration for entry in self.ledger.entries() if entry.name != migration.name]
        return revisions.straight(self.server, migration, half, home, others, expanded.memo if expanded else {})

    def _finish(self, migration: Migration, service: str, home: Home | None, together: frozenset[str]) -> None:
        """Contracts what comes before an expand that would run the contract of one that came together with it."""
        overtaken = [name for name in revisions.overtaken(migration, self.ledger.uncontracted(service), across=True) if name in together]
        pending = [entry.name for entry in self.ledger.entries() if entry.state is not State.CONTRACTED and parts.contracts(entry.migration)]
        for name in pending[: pending.index(overtaken[-1]) + 1] if overtaken else ():
            way = f"bleen migrate contract {name}"
            with _broken_off(name, f"`{way}` goes on from there"):
                self._contract(name, "", home, tuple, way)
            self.told(f"{name}: contracted, as {migration.name} comes behind it, and no version without it has been on this database")

    def _go_over(self, migration: Migration, fill: Backfill, late: bool = False) -> None:
        backfill.run(self.server, self.ledger, migration, fill, lambda progress: self.told(f"{migration.name}: {progress.line()}"), late=late)

    def _diverged(self, entry: Entry) -> dict[str, int]:
        return {} if self._retracing.unshared(entry) else self._pairs.diverged(entry.migration)  # its sync may be gone already, and its columns with it

    def _entry(self, name: str) -> Entry:
        entry = self.ledger.entry(name)
        if entry is None:
            if not self.ledger.there():
                raise Refused(f"this database has no ledger of bleen's: nothing was ever migrated here, or somebody has dropped it, {name} and all")
            known = ", ".join(each.name for each in self.ledger.entries())
            raise Refused(f"this database knows no migration {name}" + (f"; it knows {known}" if known else ""))
        return entry


@contextmanager
def _broken_off(name: str, way: str) -> Iterator[None]:
    """Says of which migration, and what goes on with it, where the server is away, or has no room: in the middle, or when somebody tries again."""
    try:
        yield
    except Unavailable as error:
        raise type(error)(f"{name}: {error}; {way}") from None


def _onward(name: str) -> str:
    """The ways on from an expand that is half done."""
    return f"expanded again, it goes on from there, and `bleen migrate revert {name}` undoes what was done of it"


def _strange(known: Known) -> str:
    """What is wrong with an environment of a service's that its state does not know."""
    way = f"give one of the two another name; if that one is gone for good, or this is a copy of its database, `bleen migrate forget {known.service}`"
    said = f"this database knows {known.environment} of {known.service} ({known.version}), and no release here has made it: another host, or another state"
    return f"{said}, releases a service of that name on it; {way}"
