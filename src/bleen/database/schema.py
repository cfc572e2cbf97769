"""The schema of one database: expand, contract and revert as the ledger allows, each resumable from wherever it was killed."""

import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from bleen.database import backfill, command, reverting, sync
from bleen.database.command import HALVES, Half, Home
from bleen.database.gate import Around, Obstacle, named, obstacles
from bleen.database.ledger import Entry, Known, Ledger, Part, State, Step
from bleen.database.migration import Backfill, Locks, Migration, Pair, speaks_of
from bleen.database.reverting_names import Thing, called, taken
from bleen.database.server import Missing, NotGiven, Server, Told, TookTooLong, Values
from bleen.database.statements import Statement, Unreadable, in_a_line
from bleen.errors import PortError, Refused
from bleen.model import Environment

_CLEARING = Locks(patience=5.0)
"""How long whoever has just failed tries to take away what is left in the way."""
_TIDYING = Locks(patience=60.0)
"""How long what was aborted is tidied up: a dump that reads the table for so long is no reason to leave it."""
_UNFILLED = re.compile(r"is violated by some row|contains null values|Data truncated|NOT NULL constraint failed")
"""What servers say of rows that have NULL where a contract wants none."""


class Pending(NamedTuple):
    """A contract that has not been done, and what it waits for; with no obstacles it could be done now."""

    migration: str
    description: str
    since: float
    """When the migration was expanded, in seconds since the epoch."""
    service: str
    """Whose release brought it."""
    obstacles: tuple[Obstacle, ...]


class Schema:
    """What migrations do to one database. Every method that changes it holds the database's lock, and raises ``server.Taken`` if another of us does."""

    def __init__(self, server: Server, told: Told = lambda _: None) -> None:
        self.server, self.ledger, self.told = server, Ledger(server), told

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
        with self.server.alone():
            self.ledger.make()
            self._refuse_outdated(release, environments)
            self._refuse_stranger(service, release)
            self.ledger.exists(service, [Known(service, name, versions.get(name, ""), ships) for name, ships in environments.items()])
            self._rewrite(service)
            self._restore()
            return [m.name for m in migrations if self._expand(m, service, release, home)]

    def backfill(self, name: str) -> None:
        """Goes over the rows of an expanded migration once more, and fills those that nobody has written. Raises Refused for what only a person can mend."""
        with self.server.alone():
            entry = self._entry(name)
            fill = self.fill(entry.migration)
            if fill is None:
                raise Refused(f"{name} has no backfill")
            if entry.state is not State.EXPANDED:
                raise Refused(f"{name} is {entry.state}: there is nothing to fill")
            self._restore()
            for text, values in self.ledger.unmark(name, "backfill", 1):
                self.server.rows(text, values)
            self._go_over(entry.migration, fill, late=True)
            if left := {pair: count for pair, count in self._diverged(entry).items() if count}:
                said = "; ".join(f"{count} rows of {pair} are out of step" for pair, count in left.items())
                raise Refused(
                    f"{said}: written past the triggers, and nobody but you knows which side is right; UPDATE the other, these rows are found by: "
                    + "; ".join(self._sync(entry.migration, n, p, {}).diverged() for n, p in enumerate(entry.migration.pairs, 1))
                )

    def tidy(self) -> list[str]:
        """Takes away what expands that have ended half way left in the way of the version that serves; names it. The rest of them stays, to be gone on with."""
        with self.server.alone():
            return [each for entry in self.ledger.entries() if entry.state is State.EXPANDING for each in self._tidied(entry, _TIDYING)]

    def _put_back(self, migration: Migration, why: Refused) -> None:
        """Takes away what a contract had added until it failed: a CHECK that is not valid yet goes on to refuse rows of the version that serves."""
        begun = [number for part, number in self.ledger.steps(migration.name) if part == "contract" and number]
        try:
            for statement in self._added(migration)[0]:
                with suppress(Missing):
                    if self.server.transactional(statement):
                        self.server.change([statement], [], _CLEARING, self.told)
                    else:
                        self.server.concurrently(statement, _CLEARING, self.told, again=True)
        except PortError as trouble:
            raise Refused(f"{why}; what it had added could not be taken away: {trouble}") from None
        for number in begun:
            self._unmark(migration, ("contract", number))

    def _added(self, migration: Migration) -> tuple[list[Statement], bool]:
        """What takes away what a contract has added as far as it has come, and whether that is not all that it has done. A NOT NULL of a new column, which sync
        fills, is something added: for a column of unknown past it would not be.
        """
        loose, others = [], list[Statement]()
        for statement in self._come_to(migration, "contract"):
            if undo := next(filter(None, (self.server.loosens(statement, pair) for pair in migration.pairs)), ""):
                loose.append(undo)
            elif not self.server.passing(statement):
                others.append(statement)
        takes = reverting.takes("".join(f"{s.text};\n" for s in others), self.server.dialect)
        return self.server.split("".join(f"{each};\n" for each in loose) + self._undoing(others)), takes

    def _come_to(self, migration: Migration, part: Part) -> list[Statement]:
        """The statements of a part that were done, or were begun by themselves and may be."""
        steps, found = self.ledger.steps(migration.name), []
        for number, statement in enumerate(self.statements(migration, part), 1):
            step = steps.get((part, number))
            if step and (step.done or not (sight := self.server.sight(statement)) or sight != step.memo.get("seen")):
                found.append(statement)
        return found

    def _settle(self, migration: Migration) -> None:
        """Says of each statement that was begun by itself whether it was done, while the catalogue still shows it: the way back is counted by them."""
        steps, came = self.ledger.steps(migration.name), self._come_to(migration, "expand")
        for number, statement in enumerate(self.statements(migration, "expand"), 1):
            step = steps.get(("expand", number))
            if step and not step.done and statement in came:
                self._mark(migration, ("expand", number), True, statement.text)
            elif step and not step.done:
                self._unmark(migration, ("expand", number))

    def _way_back(self, migration: Migration) -> list[Statement]:
        """What undoes the part of an expand that was done: what its other statements would have made was there before, or is not there."""
        whole, came = self.statements(migration, "expand"), self._come_to(migration, "expand")
        if not migration.holds("revert"):
            return self.server.split(self._undoing(came))
        if whole and not came:
            return []
        others = [s for s in whole if s not in came]
        made, unmade = self._makes(came), self._makes(others)
        left = []
        for statement in self.statements(migration, "revert"):
            gone = taken(statement.text, self.server.dialect)
            if gone is None:  # it may take away anything of which it speaks
                told = [each for each in unmade if all(speaks_of(statement.text, name) for name in each.names)]
            else:
                told = [each for each in sorted(gone) if self._unmade(each, made, unmade, came, others)]
                if gone and len(told) == len(gone) and not made & gone:
                    continue
            if told:
                named = " of ".join(told[0].names[::-1])
                way = "mend what stopped it, let `bleen migrate expand` end it, then revert"
                raise Refused(f"{migration.name}/revert.sql: {statement.brief} may take away {named}, which the expand had not made when it stopped; {way}")
            left.append(statement)
        return left

    def _makes(self, statements: Sequence[Statement]) -> frozenset[Thing]:
        """What statements of an expand make, as far as their text tells."""
        undoing = [each for statement in statements for each in self.server.split(self._undoing([statement]))]
        return frozenset(thing for each in undoing for thing in taken(each.text, self.server.dialect) or ())

    @staticmethod
    def _unmade(thing: Thing, made: frozenset[Thing], unmade: frozenset[Thing], came: Sequence[Statement], others: Sequence[Statement]) -> bool:
        """Whether it is one of the ``others`` that would have made a thing, or its table: ``CREATE TABLE IF NOT EXISTS``, say, does not tell what it makes."""
        if thing in made or thing in unmade or thing.table in unmade:
            return thing not in made or thing in unmade
        speaks = [any(all(speaks_of(s.text, name) for name in thing.names) for s in statements) for statements in (came, others)]
        return speaks == [False, True]

    def _built_upon(self, entry: Entry) -> str:
        """The newest migration that names a table, or a column, which the way back of an earlier one takes away; empty if there is none."""
        things = [each for statement in self._way_back(entry.migration) for each in taken(statement.text, self.server.dialect) or ()]
        gone = [each.names for each in things if each.kind in ("TABLE", "COLUMN")]  # what holds rows
        calls = [each for statement in self._way_back(entry.migration) for each in self.server.takes(statement)]
        entries = self.ledger.entries()
        later = entries[[each.name for each in entries].index(entry.name) + 1 :]
        for each in reversed(later):
            said = "\n".join(text for file, text in each.sources.items() if file != "revert.sql")
            if any(all(speaks_of(said, name) for name in names) for names in gone) or any(called(calls, pair.said) for pair in each.migration.pairs):
                return each.name
        return ""

    def _undoing(self, statements: Sequence[Statement]) -> str:
        return reverting.derived("".join(f"{s.text};\n" for s in statements), self.server.dialect).text

    def _tidied(self, entry: Entry, locks: Locks) -> list[str]:
        steps = self.ledger.steps(entry.name)
        begun = [s for n, s in enumerate(self.statements(entry.migration, "expand"), 1) if (step := steps.get(("expand", n))) and not step.done]
        return [each for statement in begun for each in self.server.clear(statement, locks, self.told)]

    def contract(self, name: str, because: str = "", home: Home | None = None, shut: Callable[[], Sequence[str]] = tuple) -> Sequence[str]:
        """Takes the old shape away; or says what keeps its gate shut. The files are those that were expanded, from the ledger.

        ``because``: why what nobody could see was taken for harmless; it is kept. ``home``: where its command runs, if it has one. ``shut``: asks the gate,
        see ``pending``, when nobody else changes the database any more: what was found before a person was asked may be long past.
        """
        with self.server.alone():
            entry = self._entry(name)
            if entry.state is State.CONTRACTED:
                return ()
            if entry.state not in (State.EXPANDED, State.CONTRACTING):
                raise Refused(f"{name} is {entry.state}: only what is expanded can be contracted")
            self._restore()
            if waits := shut():
                return waits
            with self.server.transaction():
                self.server.rows(*self.ledger.reached(name, State.CONTRACTING, entry.at))  # its age is that of the expand
                for text, values in self.ledger.mark(name, "contract", 0, True, because) if because else ():
                    self.server.rows(text, values)
            try:
                self._take_away(entry.migration, "contract")
                self._command(entry.migration, "contract", home)
            except Refused as error:
                if self._taken(self._entry(name)):
                    raise type(error)(f"{error}; part of the old shape may be gone already: `bleen migrate contract {name}` goes on from there") from None
                self._put_back(entry.migration, error)
                self.server.rows(*self.ledger.reached(name, State.EXPANDED, entry.at))
                if _UNFILLED.search(str(error)) and self.fill(entry.migration):
                    way = f"rows that the old version has written since the expand are filled by `bleen migrate backfill {name}`"
                    raise type(error)(f"{error}; {way}") from None
                raise
            except KeyboardInterrupt:
                if not self._taken(self._entry(name)):
                    self._put_back(entry.migration, Refused(f"{name}: interrupted"))
                    self.server.rows(*self.ledger.reached(name, State.EXPANDED, entry.at))
                raise
            self.server.rows(*self.ledger.reached(name, State.CONTRACTED))
            return ()

    def revert(self, name: str, home: Home | None = None, needed: Callable[[], str] = str) -> None:
        """Undoes an expand, and forgets the migration; see ``losses``. ``home``: see ``contract``. ``needed``: says by whom it is needed, see ``users``, when
        nobody else changes the database any more.
        """
        with self.server.alone():
            entry = self._entry(name)
            if why := needed():
                raise Refused(why)
            if self._taken(entry):
                raise Refused(f"{name} is {entry.state}: the old shape is gone; the way on is a new migration")
            if why := reverting.irreversible(entry.migration.sql("revert")):
                raise Refused(f"{name} cannot be reverted: {why}; the way on is a new migration")
            if found := reverting.lint(entry.migration.sql("expand"), entry.migration.sql("revert"), name, self.server.dialect):
                raise Refused(f"{found[0].file}:{found[0].line}: {found[0].message}; the way on is a new migration")
            if command.words(entry.migration, "expand") and not command.words(entry.migration, "revert"):
                raise Refused(f"{name} cannot be reverted: no command undoes that of its expand; the way on is a new migration")
            if upon := self._built_upon(entry):
                raise Refused(f"{name} made what {upon} builds on: `bleen migrate revert {upon}` first")
            self._tidied(entry, _CLEARING)
            self._settle(entry.migration)
            self.server.rows(*self.ledger.reached(name, State.REVERTING))
            self._take_away(entry.migration, "revert")
            if _step_of("expand") in self.ledger.steps(name):
                self._command(entry.migration, "revert", home)
            with self.server.transaction():
                for text, values in self.ledger.forgotten(name):
                    self.server.rows(text, values)

    def forget(self, service: str) -> None:
        """Takes a service out of the books. Raises Refused if it has a session on this database."""
        with self.server.alone():
            if there := [s for s in self.server.sessions() if s.application.startswith(named(service, ""))]:
                raise Refused(f"{service} is not gone: session {there[0].id} ({there[0].application}, user {there[0].user}) is connected")
            self.ledger.exists(service, [])

    def pending(self, around: Around) -> list[Pending]:
        """Every contract that has not been done, in their order, and what keeps its gate shut."""
        found: list[Pending] = []
        others = self.ledger.environments()
        sessions = self.server.sessions()
        for entry in self.ledger.entries():
            if entry.state not in (State.EXPANDED, State.CONTRACTING) or not contracts(entry.migration):
                continue
            try:
                diverged, uncounted = self._diverged(entry), []
            except Refused as error:
                diverged, uncounted = {}, [Obstacle(f"the rows of {entry.name} that are out of step cannot be counted: {error}")]
            shut = obstacles(entry.name, around, others, sessions, diverged, [p.migration for p in found]) + uncounted + self._needing(entry.migration)
            found.append(Pending(entry.name, entry.migration.description, entry.at, entry.service, tuple(shut)))
        return found

    def _needing(self, migration: Migration) -> list[Obstacle]:
        """What a contract would fail on, or make fail, after all that it has waited for; its files do not change any more: the way is one past them."""
        way = "drop that, or make it anew such that it does without, by hand (psql), then contract again"
        found = self.server.needing(self.statements(migration, "contract"), ())
        return [Obstacle(f"contract.sql, {each.statement.brief}: {each.why}; {way}", unseen=not each.certain) for each in found]

    def contracted(self) -> list[str]:
        """The migrations without which a version cannot run any more."""
        return [entry.name for entry in self.ledger.entries() if self._taken(entry) and contracts(entry.migration)]

    def _taken(self, entry: Entry) -> bool:
        """Whether something of the old shape is gone, or may be: a contract that failed before it came to that can be put back."""
        if entry.state is not State.CONTRACTING:
            return entry.state is State.CONTRACTED
        steps = self.ledger.steps(entry.name)
        if _step_of("contract") in steps or any(not _kept(steps, number) for number, _ in enumerate(entry.migration.pairs, 1)):
            return True
        return self._added(entry.migration)[1]

    def overtaken(self, migration: Migration, beside: Sequence[Migration] = ()) -> list[str]:
        """Earlier migrations whose contract command is still to be run, and which a tool with one line of revisions would run with this expand.

        ``beside``: those that are about to be expanded with it.
        """
        if not migration.command.expand or migration.command.branched:
            return []
        seen = [entry.migration for entry in self.ledger.entries() if entry.state is not State.CONTRACTED]
        return sorted({m.name for m in (*seen, *beside) if m.command.contract and m.number < migration.number})

    def version(self, name: str) -> str:
        """Of which version a migration with commands was expanded last; empty if it has none."""
        step = self.ledger.steps(name).get(_VERSION)
        return str(step.memo["version"]) if step else ""

    def users(self, name: str) -> list[Known]:
        """Environments that ship a migration, and so need what a revert would take away."""
        return [known for known in self.ledger.environments() if name in known.migrations]

    def losses(self, name: str) -> dict[str, int]:
        """What a revert would lose: for each pair that is kept in step, how many rows hold what the old columns do not say. None of one that goes on: what it
        has taken away, nobody can count.
        """
        entry, steps = self._entry(name), self.ledger.steps(name)
        migration = entry.migration
        kept = [(n, pair) for n, pair in enumerate(migration.pairs, 1) if _kept(steps, n) and entry.state is not State.REVERTING]
        return {words(pair): self._number(each, each.lost()) for number, pair in kept for each in [self._sync(migration, number, pair, {})]}

    def written(self, names: Sequence[str]) -> dict[str, Mapping[str, int | str]]:
        """For each pair of these migrations: rows that the new shape wrote, conflicts that were decided, rows that the old shape cannot read, and rows whose
        new columns say what the old ones do not, so that an UPDATE of those overwrites it; with the key of one of them.
        """
        told: dict[str, Mapping[str, int | str]] = {}
        for name in names:
            entry = self.ledger.entry(name)
            if entry is None or entry.state is not State.EXPANDED:
                continue
            for number, pair in enumerate(entry.migration.pairs, 1):
                each = self._sync(entry.migration, number, pair, {})
                queries = {"written": each.written(), "conflicts": each.conflicts(), "unreadable": each.unreadable(), "lost": each.lost()}
                counts = {what: self._number(each, query) for what, query in queries.items() if query}
                if pair.lossy:  # declared: what does not come back the same is no news, and the old version has its own rows as it wrote them
                    counts["unreadable"] = 0
                told[f"{name}, {words(pair)}"] = {**counts, "such": self._lost_one(pair, each)} if counts["lost"] else counts
        return told

    def _lost_one(self, pair: Pair, of: sync.Sync) -> str:
        """The key of a row that ``lost`` counts; empty if the table has none."""
        key = self.server.key(pair.table)
        query = f"SELECT {', '.join(f't.{self.server.quoted(name)}' for name in key)} {of.lost_rows()} LIMIT 1"
        found = self._asked(of, query) if key else []
        return ", ".join(f"{name} = {str(value)[:60]}" for row in found for name, value in zip(key, row, strict=True))

    def _refuse_outdated(self, release: int, environments: Mapping[str, frozenset[str]]) -> None:
        """A contract may have been done since the release was planned."""
        for name, ships in environments.items():
            missing = [each for each in self.contracted() if each not in ships] if Environment.parse(name).release == release else []
            if missing:
                raise Refused(f"{name} is of a version that does not ship {', '.join(missing)}, which is contracted: what it needs of the schema is gone")

    def _refuse_stranger(self, service: str, release: int) -> None:
        """Releases are counted up: an environment of a later one is not of this state, and would be forgotten, with the gates that it keeps shut."""
        known = [each for each in self.ledger.environments() if each.service == service] if release else []
        for each in known:
            if Environment.parse(each.environment).release > release:
                way = f"give one of the two another name; if that one is gone for good, or this is a copy of its database, `bleen migrate forget {service}`"
                said = f"this database knows {each.environment} of {service} ({each.version}), and no release here has made it: another host, or another state"
                raise Refused(f"{said}, releases a service of that name on it; {way}")

    def _expand(self, migration: Migration, service: str, release: int, home: Home | None) -> bool:
        entry = self.ledger.begin(migration, service, release)
        if entry.state is State.REVERTING:
            raise Refused(f"{migration.name} is half reverted: `bleen migrate revert {migration.name}` ends that, then expand again")
        if entry.state is not State.EXPANDING:
            return False
        steps = self.ledger.steps(migration.name)
        if home and any(command.words(migration, half) for half in HALVES):
            self._mark(migration, _VERSION, True, "", {"version": home.version})
        self._command(migration, "expand", home)
        for number, statement in enumerate(self.statements(migration, "expand"), 1):
            with _to_be_mended(migration), _named_in(migration, "expand"), self._followed():
                self._step(migration, "expand", number, [statement])
        for number, pair in enumerate(migration.pairs, 1):
            if not _kept(steps, number):
                self._install(migration, number, pair)
        if fill := self.fill(migration):
            self._go_over(migration, fill)
            self._refuse_left_out(migration, fill)
        self.server.rows(*self.ledger.reached(migration.name, State.EXPANDED))
        self.told(f"{migration.name}: expanded")
        return True

    def _command(self, migration: Migration, half: Half, home: Home | None) -> None:
        """Runs the half of a migration that is another tool's, if it was not run to its end."""
        argv, key = command.words(migration, half), _step_of(half)
        step = self.ledger.steps(migration.name).get(key)
        if not argv or (step and step.done):
            return
        if home is None:
            raise Refused(f"{migration.name}: {half} runs `{shlex.join(argv)}`, and no version is known in whose directory; deploy one that ships it")
        if half == "expand" and (earlier := self.overtaken(migration)):
            raise Refused(command.overtakes(migration, earlier))
        self._mark(migration, key, False, shlex.join(argv))
        try:
            with self._followed():
                command.run(self.server, migration, half, home, self.told)
        except Refused:
            self._restore()  # it may have come as far as a rebuild
            raise
        self._mark(migration, key, True, shlex.join(argv))

    def _mark(self, migration: Migration, step: tuple[Part, int], done: bool, text: str, memo: Mapping[str, Any] = {}) -> None:
        with self.server.transaction():
            for mark, values in self.ledger.mark(migration.name, *step, done, text, memo):
                self.server.rows(mark, values)

    def _unmark(self, migration: Migration, step: tuple[Part, int]) -> None:
        for text, values in self.ledger.unmark(migration.name, *step):
            self.server.rows(text, values)

    def _go_over(self, migration: Migration, fill: Backfill, late: bool = False) -> None:
        backfill.run(self.server, self.ledger, migration, fill, lambda progress: self.told(f"{migration.name}: {progress.line()}"), late=late)

    def _refuse_left_out(self, migration: Migration, fill: Backfill) -> None:
        """Rows that somebody wrote are not filled where a backfill leaves them out; out of step, their next write would make one side from the other."""
        for number, pair in enumerate(migration.pairs if fill.where else (), 1):
            each = self._sync(migration, number, pair, {})
            if count := self._number(each, each.diverged()):
                raise Refused(
                    f"{migration.name}: the backfill's WHERE leaves out {count} rows of {words(pair)} that are out of step, and nobody but you knows which side"
                    f" is right; UPDATE the other, and expand again; these rows are found by: {each.diverged()}"
                )

    def _install(self, migration: Migration, number: int, pair: Pair) -> None:
        if refused := sync.refusals(self.server, pair):
            raise Refused(f"{migration.name}: {words(pair)} cannot be kept in step: {'; '.join(refused)}. {_mend(migration)}")
        statements = self._sync(migration, number, pair, self._writers(migration)).install()
        self.told(f"{migration.name}: keeps {words(pair)} in step")
        self._half(migration, number)
        self.server.change(_own(statements), self.ledger.mark(migration.name, "sync", number, True), migration.locks, self.told)

    def _in_step(self) -> Iterator[tuple[Entry, int, Pair]]:
        """Every pair that triggers keep in step now, whoever's it is; also of what is half contracted or reverted, for which releases do not wait."""
        for entry in self.ledger.entries():
            steps = self.ledger.steps(entry.name) if entry.migration.pairs else {}
            for number, pair in enumerate(entry.migration.pairs, 1):
                if _kept(steps, number) and (entry.state in (State.EXPANDING, State.EXPANDED) or self._there(pair)):
                    yield entry, number, pair

    def _there(self, pair: Pair) -> bool:
        """Whether a pair has both sides: where DDL is in no transaction, a side is gone before the ledger knows, and the triggers before it."""
        return {name.lower() for name in (*pair.old, *pair.new)} <= {name.lower() for name in self.server.columns(pair.table)}

    def _rewrite(self, service: str) -> None:
        """Tells the triggers of earlier migrations who writes which shape now; those of other services too, as a name of theirs may be one of this one's."""
        for entry, number, pair in self._in_step():
            writers = self._writers(entry.migration)
            try:
                self.server.change(_own(self._sync(entry.migration, number, pair, writers).rewrite()), [], entry.migration.locks, self.told)
            except Refused as error:
                trouble = f"the triggers of {entry.name} cannot be told which environments {service} has now: {error}"
                names = {n for k in self.ledger.environments() if k.service == service for n in (k.environment, Environment.parse(k.environment).name)}
                if entry.service == service or names - writers.keys():  # else at worst they do not know a writer
                    raise type(error)(trouble) from None
                self.told(trouble)

    @contextmanager
    def _followed(self) -> Iterator[None]:
        """The triggers of pairs follow what a statement or a command makes of their columns, such as another default, which they go by; those that went with
        a table that was rebuilt come back.
        """
        before = self._triggers()
        yield
        self._restore()
        for key, (migration, texts) in self._triggers().items():
            if key in before and before[key] != (migration, texts):
                self.server.change(_own(texts), [], migration.locks, self.told)

    def _restore(self) -> None:
        """Makes the triggers anew that went with a table which somebody has rebuilt, and tells of rows that were written without them."""
        for entry, number, pair in self._in_step():
            try:
                each = self._sync(entry.migration, number, pair, self._writers(entry.migration))
            except Refused:  # its table is gone, or on its way
                continue
            if not (gone := each.gone()) or not self._number(each, gone):
                continue
            self.server.change(_own(each.install()), [], entry.migration.locks, self.told)
            said = f"{entry.name}: the triggers that keep {words(pair)} in step had gone with the table that was rebuilt, and are there again"
            if entry.state is State.EXPANDED and (count := self._number(each, each.diverged())):
                said += f"; {count} rows written meanwhile are out of step: `bleen migrate backfill {entry.name}` fills or shows them"
            self.told(said)

    def _triggers(self) -> dict[tuple[str, int], tuple[Migration, list[str]]]:
        """What makes the triggers of each pair anew, by its columns as they are; without those that cannot be made, as their table is gone, say."""
        found = {}
        for entry, number, pair in self._in_step():
            with suppress(Refused):
                found[entry.name, number] = entry.migration, self._sync(entry.migration, number, pair, self._writers(entry.migration)).rewrite()
        return found

    def _take_away(self, migration: Migration, part: Part) -> None:
        """Runs contract or revert. The sync of a pair ends in the transaction in which its columns go, where the dialect can, so that no writer fails between
        the two; else it ends in a way that leaves none to fail.
        """
        steps = self.ledger.steps(migration.name)
        statements = self._way_back(migration) if part == "revert" else self.statements(migration, part)
        left = {number: pair for number, pair in enumerate(migration.pairs, 1) if ("sync", number) in steps}
        number = 0
        for group in groups(self.server, statements, list(left.values())):
            first, number = number + 1, number + len(group)
            ends = [n for n, pair in left.items() if any(_ends(self.server, s, pair) for s in group)]
            try:
                with _named_in(migration, part), self._followed():
                    self._step(migration, part, first, group, [(n, left.pop(n)) for n in ends])
            except Missing as error:
                self._bear(migration, part, error)
                self.server.change([], self._done(migration, part, first, group), migration.locks, self.told)
        for n, pair in left.items():
            self._end_sync(migration, part, [], [(n, pair)], [])

    def _step(self, migration: Migration, part: Part, first: int, group: Sequence[Statement], ends: Sequence[tuple[int, Pair]] = ()) -> None:
        """Runs statements that belong together, if they were not run."""
        name, steps = migration.name, self.ledger.steps(migration.name)
        if all((step := steps.get((part, first + i))) and step.done for i in range(len(group))) and not self.server.passing(group[0]):
            return
        for statement in group:
            self.told(f"{name}: {part}, {in_a_line(statement.text)[:100]}")
        for _, pair in ends:
            self.told(f"{name}: {part}, the triggers that kept {words(pair)} in step")
        done = self._done(migration, part, first, group)
        if all(self.server.transactional(statement) for statement in group):
            retyped = self._retyped(group)
            loosened = [text for of in retyped for text in self._sync(*of, {}).loosen()]
            self._end_sync(migration, part, [*_own(loosened), *group], ends, done)
            for of in retyped:
                self.server.change(_own(self._sync(*of, {}).tighten()), [], migration.locks, self.told)
            return
        if ends:
            self._ask(migration, part, group, ends)
            self._end_sync(migration, part, [], ends, [])
        for number, statement in enumerate(group, first):
            self._by_itself(migration, part, number, statement, steps.get((part, number)))

    def _ask(self, migration: Migration, part: Part, group: Sequence[Statement], ends: Sequence[tuple[int, Pair]]) -> None:
        """Refuses what the server would, before pairs are kept in step no more: behind that there is no way back."""
        removal = _own([text for number, pair in ends for text in self._removal(migration, part, number, pair)])
        if why := self.server.refuses([], [*removal, *group], temporary=False):
            raise Refused(f"{why}; mend that by hand, then try again")

    def _removal(self, migration: Migration, part: Part, number: int, pair: Pair) -> list[str]:
        """What ends the sync of a pair, one side of which goes."""
        return self._sync(migration, number, pair, {}).remove("new" if part == "revert" else "old")

    def _retyped(self, group: Sequence[Statement]) -> list[tuple[Migration, int, Pair]]:
        """The pairs in step whose columns get another type."""
        kept = [
            (entry.migration, number, pair)
            for entry in self.ledger.entries()
            for number, pair in enumerate(entry.migration.pairs, 1)
            if _kept(self.ledger.steps(entry.name), number)
        ]
        return [(migration, number, pair) for migration, number, pair in kept if any(self.server.retypes(statement, pair) for statement in group)]

    def _by_itself(self, migration: Migration, part: Part, number: int, statement: Statement, step: Step | None) -> None:
        """Runs a statement that no transaction can hold, if it was not run; marked as begun before, with what there was then."""
        if step and step.done and not self.server.passing(statement):
            return
        sight = self.server.sight(statement)
        seen = step.memo.get("seen", "") if step and not step.done else sight
        self._mark(migration, (part, number), False, statement.text, {"seen": seen})
        if sight == seen:
            try:
                self.server.concurrently(statement, migration.locks, self.told, again=step is not None)
            except Missing as error:
                self._bear(migration, part, error)
            except Refused as error:
                cleared = self._cleared(statement, error)
                if sight and self.server.sight(statement) == seen:  # done or not done at all: not at all
                    self._unmark(migration, (part, number))
                raise cleared from None
        self._mark(migration, (part, number), True, statement.text)

    def _cleared(self, statement: Statement, error: Refused) -> Refused:
        """What failed, and what became of what it left half done: a unique index that is INVALID goes on to refuse rows of the version that serves."""
        try:
            gone = self.server.clear(statement, _CLEARING, self.told)
        except PortError as trouble:
            return Refused(f"{error}; what it left half done could not be taken away: {trouble}")
        return Refused(f"{error}; {', '.join(gone)}, which it left invalid, was dropped") if gone else error

    def _bear(self, migration: Migration, part: Part, error: Missing) -> None:
        """What a revert does not find is what the expand had not come to; anything else that is missing is an error."""
        if part != "revert" or self._whole(migration, self.ledger.steps(migration.name)):
            raise error
        self.told(f"{error}: its expand had not come that far")

    def _done(self, migration: Migration, part: Part, first: int, group: Sequence[Statement]) -> list[tuple[str, Values]]:
        return [mark for i, statement in enumerate(group) for mark in self.ledger.mark(migration.name, part, first + i, True, statement.text)]

    def _whole(self, migration: Migration, steps: Mapping[tuple[Part, int], Step]) -> bool:
        """Whether every statement of the expand was done."""
        return all((step := steps.get(("expand", n))) and step.done for n, _ in enumerate(self.statements(migration, "expand"), 1))

    def _end_sync(self, migration: Migration, part: Part, group: Sequence[Statement], ends: Sequence[tuple[int, Pair]], done: Sequence[Any]) -> None:
        removal = [text for number, pair in ends for text in self._removal(migration, part, number, pair)]
        gone = [each for number, _ in ends for each in self.ledger.unmark(migration.name, "sync", number)]
        for number, _ in ends:
            self._half(migration, number)
        self.server.change([*_own(removal), *group], [*gone, *done], migration.locks, self.told, self._spoken(migration, part))

    def _spoken(self, migration: Migration, part: Part) -> str:
        """The text by which a statement of this part is undone, or undoes; empty if somebody has written that, or says that nothing undoes it."""
        written = part == "contract" or migration.holds("revert") or reverting.irreversible(migration.sql("revert"))
        return "" if written else migration.sql("expand")

    def _half(self, migration: Migration, number: int) -> None:
        """Says that the sync of a pair may be half there from now on, where one of its triggers can come or go without the other."""
        if not self.server.atomic:
            self._mark(migration, ("sync", number), False, "")

    def statements(self, migration: Migration, part: str) -> list[Statement]:
        """Of a part; ``revert`` is derived where it is not written. Raises Refused, located, for what cannot be read."""
        try:
            return self.server.split(reverting.revert(migration, self.server.dialect) if part == "revert" else migration.sql(part))
        except Unreadable as error:
            raise Refused(f"{migration.name}/{part}.sql:{error.at.line}:{error.at.column}: {error}") from None

    def fill(self, migration: Migration) -> Backfill | None:
        """How its rows are filled, if they are. Raises Refused, located, for what cannot be read."""
        if migration.backfill:
            return migration.backfill
        if not migration.holds("backfill"):
            return _from_pairs(migration)
        try:
            return self.server.update(migration.sql("backfill"))
        except Unreadable as error:
            raise Refused(f"{migration.name}/backfill.sql:{error.at.line}:{error.at.column}: {error}") from None

    def _writers(self, migration: Migration) -> dict[str, sync.Side]:
        """Which shape an environment writes, by what a connection may say: blue-4, or blue. What means two things to two services tells nothing."""
        told: dict[str, dict[str, sync.Side]] = {}
        for each in sorted(self.ledger.environments(), key=lambda known: Environment.parse(known.environment).release):  # a name's newest counts
            side: sync.Side = "new" if migration.name in each.migrations else "old"
            for name in (each.environment, Environment.parse(each.environment).name):
                told.setdefault(name, {})[each.service] = side
        return {name: side for name, of in told.items() for side in {*of.values()} if len({*of.values()}) == 1}

    def _sync(self, migration: Migration, number: int, pair: Pair, writers: Mapping[str, sync.Side]) -> sync.Sync:
        return sync.of(self.server, migration.name, number, pair, writers)

    def _diverged(self, entry: Entry) -> dict[str, int]:
        if self._taken(entry):  # its sync may be gone already, and its columns with it
            return {}
        kept = [(pair, self._sync(entry.migration, number, pair, {})) for number, pair in enumerate(entry.migration.pairs, 1)]
        return {words(pair): self._number(each, each.diverged()) for pair, each in kept}

    def _number(self, of: sync.Sync, query: str) -> int:
        return int(self._asked(of, query)[0][0])

    def _asked(self, of: sync.Sync, query: str) -> list[tuple[Any, ...]]:
        with self.server.transaction():
            for text in of.session():
                self.server.rows(text)
            return self.server.rows(query)

    def _entry(self, name: str) -> Entry:
        entry = self.ledger.entry(name)
        if entry is None:
            known = ", ".join(each.name for each in self.ledger.entries())
            raise Refused(f"this database knows no migration {name}" + (f"; it knows {known}" if known else ""))
        return entry


def contracts(migration: Migration) -> bool:
    """Whether a migration takes anything away at its end; one that only adds never needs to be contracted."""
    return bool(migration.holds("contract") or migration.pairs or migration.command.contract)


@contextmanager
def _named_in(migration: Migration, part: str) -> Iterator[None]:
    """Says in which file stands what a server refuses: a release may bring many."""
    try:
        yield
    except Refused as error:
        raise type(error)(f"{migration.name}/{part}.sql: {error}") from None


@contextmanager
def _to_be_mended(migration: Migration) -> Iterator[None]:
    """Says the next step behind what only another text can mend; what was only in the way, or took too long, says its own."""
    try:
        yield
    except Refused as error:
        raise error if isinstance(error, NotGiven | TookTooLong) else type(error)(f"{error}; {_mend(migration)}") from None


def _mend(migration: Migration) -> str:
    return f"`bleen migrate revert {migration.name}` undoes what was done of it; then mend it, and try again"


def _kept(steps: Mapping[tuple[Part, int], Step], number: int) -> bool:
    """Whether a pair is kept in step, by all of its triggers."""
    step = steps.get(("sync", number))
    return bool(step and step.done)


_VERSION: tuple[Part, int] = ("command", 0)
"""The step that holds the version whose expand it was."""


def _step_of(half: Half) -> tuple[Part, int]:
    """Under which the ledger has a command."""
    return "command", HALVES.index(half) + 1


def _from_pairs(migration: Migration) -> Backfill | None:
    """A pair says itself how its new columns are filled."""
    if not migration.pairs:
        return None
    if len(tables := sorted({pair.table for pair in migration.pairs})) > 1:
        raise Refused(f"{migration.name}: pairs of {', '.join(tables)} and no backfill: make it a migration for each table")
    return Backfill(tables[0], {column: expression for pair in migration.pairs for column, expression in pair.forward.items()})


def groups(server: Server, statements: Sequence[Statement], pairs: Sequence[Pair]) -> Iterator[list[Statement]]:
    """Statements one by one, but for those that take away the columns of one pair, or what its expressions call: they go at once, with its sync and with what
    stands between them.

    Raises Refused where something stands between them that no transaction can hold, though they are in one.
    """
    at = 0
    while at < len(statements):
        last = seen = at
        while seen <= last:
            for pair in pairs:
                if _ends(server, statements[seen], pair):
                    last = max(last, *(i for i, s in enumerate(statements) if _ends(server, s, pair)))
            seen += 1
        group = list(statements[at : last + 1])
        if any(server.transactional(s) for s in group) and (apart := [s for s in group if not server.transactional(s)]):
            between = f"{apart[0].brief}, which no transaction holds, stands between them: put it before or behind them"
            raise Refused(f"line {group[0].at.line} and line {group[-1].at.line} take away columns of one pair; {between}")
        yield group
        at = last + 1


def _ends(server: Server, statement: Statement, pair: Pair) -> bool:
    """Whether a pair cannot be kept in step any more behind a statement."""
    return server.drops(statement, pair) or called(server.takes(statement), pair.said)


def _own(statements: Sequence[str]) -> list[Statement]:
    """Statements that no file holds."""
    from bleen.database.statements import Place

    return [Statement(text, Place(0, 0), 0) for text in statements]


def words(pair: Pair) -> str:
    """A pair for people."""
    return f"{pair.table} ({'+'.join(pair.old)} <-> {'+'.join(pair.new)})"
