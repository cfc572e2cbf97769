"""What can be told of the migrations on one database, by its ledger, its catalogue and its rows: what is pending, lacking, lost; changes none of it."""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from bleen.database import backfill, command, parts
from bleen.database.gate import Around, Obstacle, lives_with, obstacles
from bleen.database.ledger import Entry, Known, Ledger, State
from bleen.database.migration import Migration
from bleen.database.pairs import Pairs
from bleen.database.retracing import Gone, Retracing
from bleen.database.server import Server, Told
from bleen.database.statements import in_a_line
from bleen.errors import Refused
from bleen.model import apart_from


class Pending(NamedTuple):
    """A contract that has not been done, and what it waits for; with no obstacles it could be done now. Or an expand that has: see ``Reading.lacking``."""

    migration: str
    description: str
    since: float | None
    """When the migration was expanded, in seconds since the epoch; None if it is not."""
    service: str
    """Whose release brought it."""
    obstacles: tuple[Obstacle, ...]
    failed: str = ""
    """What it failed on when it was last tried, as far as that is known."""


class Reading:
    """The questions about one database, which anybody may ask at any time."""

    def __init__(self, server: Server, told: Told = lambda _: None, identity: str = "") -> None:
        """``identity``: see ``Ledger``."""
        self.server, self.ledger, self.told = server, Ledger(server, identity), told
        self._pairs = Pairs(server, self.ledger, told)
        self._retracing = Retracing(server, self.ledger, told)

    def pending(self, around: Around, as_if_aside: str = "") -> list[Pending]:
        """Every contract that has not been done, in their order, and what keeps its gate shut; those of services that this one is apart from come last, and
        nothing waits for them. ``as_if_aside``: the one of which a person asks what setting it aside would wait for.
        """
        found: list[Pending] = []
        others = self.ledger.environments()
        strangers = [Obstacle(strange(each)) for each in self.ledger.elsewhere(around.service)[:1] if around.known]
        sessions = self.server.sessions()
        for entry in self.ledger.entries():
            if entry.state not in (State.EXPANDED, State.CONTRACTING) or not parts.contracts(entry.migration):
                continue
            stays = entry.name == as_if_aside or self.ledger.aside(entry)
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
            shut = [*strangers, *obstacles(entry.name, around, others, sessions, diverged, earlier, entry.service), *uncounted]
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
        fillings = [] if self._retracing.unshared(entry) else [entry.migration, *self.fillings(entry.name)]
        for filling in fillings:
            unkept = parts.unkept(self.server, filling, entry.migration)
            if not unkept or not (fill := parts.there(self.server, unkept[0])):
                continue
            gone, beside = unkept[1], [parts.unpaired(self.server, each) for each in fillings if each is not filling]
            rows, new, old = f"rows of {parts.plain(fill.table)}", ", ".join(fill.set), ", ".join(gone)
            try:
                unwritten, other = backfill.behind(self.server, filling, fill, gone, [each for each in beside if each and parts.overlap(fill, each)])
            except Refused as error:
                why = f"which {rows} have something else in {new} than {old} says, which goes with the contract, cannot be counted: {error}"
                found.append(Obstacle(why, True, gone[0]))
                continue
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

    def jammed(self, service: str) -> str:
        """That nobody can write what a pair keeps in step, or soon may not, and what to do; empty if nothing is known of that. What only the role of another
        service's triggers will bring is that one's.
        """
        why = self.server.catalogue.jams({parts.bare_name(p.table) for e in self.ledger.entries() if e.service != service for p in e.migration.pairs})
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

    def fillings(self, name: str) -> list[Migration]:
        """The other migrations whose backfills may have filled what is there: those that are contracted by now have, too."""
        return [entry.migration for entry in self.ledger.entries() if entry.name != name and entry.state is not State.REVERTING]

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


def strange(known: Known) -> str:
    """What is wrong with an environment of a service's that its state does not know."""
    way = f"give one of the two another name; if that one is gone for good, or this is a copy of its database, `bleen migrate forget {known.service}`"
    said = f"this database knows {known.environment} of {known.service} ({known.version}), and no release here has made it: another host, or another state"
    return f"{said}, releases a service of that name on it; {way}"
