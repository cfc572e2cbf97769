"""The schema of one database: expand, contract and revert as the ledger allows, each resumable from wherever it was killed."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from typing import NamedTuple

from bleen.database import backfill, command, parts, reverting
from bleen.database.command import HALVES, Half, revisions
from bleen.database.command.home import Home
from bleen.database.command.revisions import Standing
from bleen.database.gate import lives_with, named
from bleen.database.ledger import Entry, Known, State
from bleen.database.migration import Backfill, Locks, Migration
from bleen.database.reading import Reading, strange
from bleen.database.retracing import CLEARING
from bleen.database.server import NotGiven, Server, Told, TookTooLong
from bleen.database.statements import Statement
from bleen.database.steps import BY_HAND, Steps, mend
from bleen.errors import PortError, Refused, Unavailable
from bleen.model import Environment

_TIDYING = Locks(patience=60.0)
"""How long what was aborted is tidied up: a dump that reads the table for so long is no reason to leave it."""
_UNFILLED = re.compile(r"is violated by some row|contains null values|Data truncated|NOT NULL constraint failed")
"""What servers say of rows that have NULL where a contract wants none."""
_UNDONE = "nothing was done of it this time: try again"


class Ending(NamedTuple):
    """How a contract ends."""

    statements: Sequence[Statement]
    """What takes the old shape away; none where the contract is set aside."""
    because: str
    """See ``Schema.contract``."""
    aside: bool = False
    """For the ledger, which tells what was set aside from what was done."""


class Schema(Reading):
    """What migrations do to one database. Who only asks takes it for a ``Reading``. Every method here holds the database's lock, and raises ``server.Taken`` if
    another of us does.
    """

    def __init__(self, server: Server, told: Told = lambda _: None, identity: str = "") -> None:
        """See ``Reading``. What a command has dropped of the ledger, while somebody ended who ran it, is written back."""
        super().__init__(server, told, identity)
        if self.ledger.lacks:
            with self._alone():
                pass  # it is there again
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
                self._pairs.restore(service)  # else what a rewrite makes anew on MySQL is not missed
                self._pairs.rewrite(service)
            together = self.together(migrations)
            return [m.name for m in migrations if self._expand(m, service, release, home, together)]

    def backfill(self, name: str) -> bool:
        """Goes over the rows of an expanded migration once more, and fills those that nobody has written; says whether there are any to be filled. Raises
        Refused for what only a person can mend.
        """
        with self._alone(), _broken_off(name, f"`bleen migrate backfill {name}` begins it anew"):
            entry = self._entry(name)
            fill = parts.fill(self.server, entry.migration)
            if fill is None:
                return False
            if entry.state is State.CONTRACTED and (fill := parts.unpaired(self.server, entry.migration)) and parts.there(self.server, fill) == fill:
                self.ledger.note(self.ledger.unmark(name, "backfill", 1))  # what another contract is yet to take away may say something
                self._go_over(entry.migration._replace(pairs=()), fill, late=True)
                return True
            if entry.state is not State.EXPANDED:
                raise Refused(f"{name} is {entry.state}: there is nothing to fill")
            self._pairs.refuse_torn(entry.migration)
            self._pairs.restore(entry.service)
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
            entry = self._entry(name)
            return self._end(entry, self._ending(entry, because), home, shut, way)

    def set_aside(self, name: str, because: str, shut: Callable[[], Sequence[str]] = tuple) -> Sequence[str]:
        """Has a contract count as done of which nothing is done, as none of it can be: its pairs end, the old shape stays, and later contracts go on. Or says
        what keeps its gate shut; see ``contract``. Raises Refused if part of it was done, or if it is a command's.
        """
        way = f"bleen migrate contract {name} --aside --because REASON"
        with self._alone(), _broken_off(name, f"`{way}` goes on from there"):
            entry = self._entry(name)
            if not (ending := self._begun(entry)):
                self._leave_whole(entry)
                ending = Ending((), because, aside=True)
            return self._end(entry, ending, None, shut, way)

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
            raise Refused(strange(others[0]))

    def _refuse_irreversible(self, migration: Migration) -> None:
        name, expand, revert = migration.name, migration.sql("expand"), migration.sql("revert")
        if why := parts.final(migration):
            raise Refused(f"{name} cannot be reverted: {why}; the way on is a new migration")
        if found := reverting.lint(expand, revert, name, self.server.dialect):
            raise Refused(f"{found[0].file}:{found[0].line}: {found[0].message}; the way on is a new migration")

    def _begun(self, entry: Entry) -> Ending | None:
        """How one ends that is being set aside: for the reason that it was begun for, whoever goes on with it. None for any other."""
        because = self.ledger.aside(entry)
        return Ending((), because, aside=True) if because else None

    def _ending(self, entry: Entry, because: str) -> Ending:
        if begun := self._begun(entry):
            return begun
        return Ending(parts.statements(self.server, entry.migration, "contract"), because or self.ledger.because(entry.name))

    def _leave_whole(self, entry: Entry) -> None:
        """Puts back what a contract has begun that shall be set aside. Raises Refused where that is not possible any more, or never was."""
        name = entry.name
        if entry.migration.command.contract:
            raise Refused(f"{name} is contracted by a command, whose tool has to know of it: say it in the files of that tool, which may be changed")
        if entry.state is State.CONTRACTING:
            if self._retracing.taken(entry):
                raise Refused(f"{name} is half contracted, and cannot be set aside: `bleen migrate contract {name}` ends that, or says what is in its way")
            self._put_back(entry, Refused(f"{name}: its contract was begun"))

    def _end(self, entry: Entry, ending: Ending, home: Home | None, shut: Callable[[], Sequence[str]], way: str) -> Sequence[str]:
        """Has a contract end so, or says what keeps its gate shut; ``way`` goes on from where it stopped."""
        name = entry.name
        if entry.state is State.CONTRACTED:
            return ()
        if entry.state not in (State.EXPANDED, State.CONTRACTING):
            raise Refused(f"{name} is {entry.state}: only what is expanded can be contracted")
        self._pairs.restore(entry.service)
        if waits := shut():
            return waits
        self._steps.startable(entry.migration, "contract", home)
        standing = self._straight(entry.migration, "contract", home)
        reason = self.ledger.reasoned(name, ending.because, ending.aside)
        self.ledger.note([self.ledger.reached(name, State.CONTRACTING, entry.at), *reason])  # its age is that of the expand
        self._take_away(entry, ending, home, standing, way)
        self.server.rows(*self.ledger.reached(name, State.CONTRACTED))
        return ()

    def _take_away(self, entry: Entry, ending: Ending, home: Home | None, standing: Standing, way: str) -> None:
        """What a contract takes away; or else nothing, as far as that can be: ``way`` goes on."""
        name = entry.name
        try:
            self._steps.take_away(entry.migration, "contract", ending.statements)
            self._steps.command(entry.migration, "contract", home, standing)
        except Refused as error:
            if self._retracing.taken(self._entry(name)):
                there = ", once what it names is there: what is misspelt, made by hand, may be dropped again afterwards" if BY_HAND in str(error) else ""
                half = "not all of it is kept in step any more" if ending.aside else "part of the old shape may be gone already"
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
                entry = self._entry(name)
                self._end(entry, self._ending(entry, ""), home, tuple, way)
            self.told(f"{name}: contracted, as {migration.name} comes behind it, and no version without it has been on this database")

    def _go_over(self, migration: Migration, fill: Backfill, late: bool = False) -> None:
        backfill.run(self.server, self.ledger, migration, fill, lambda progress: self.told(f"{migration.name}: {progress.line()}"), late=late)


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
