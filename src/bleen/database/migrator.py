"""The schema as a part of a release: errands that outlive the engine. Loads nothing of a database: a rollback passes here."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bleen.host.errand import Errand, Hung, Lost
from bleen.model import Memo, NotYet, Result, Verdict
from bleen.ports import Shipping

PATIENCE = 60.0
"""Seconds for which a database that does not answer is asked again: what a failover takes."""
LONGEST = 300.0
_TOLD = "the database to be told which environments are left"
_ERRANDS = ("expand", "contract", "account", "tidy")
_AGAIN = 3
"""How often an errand that was killed is begun again: the ledger knows how far it came."""


class Migrator:
    """Implements ``ports.Migrator`` for one release. ``place`` is the release's own directory."""

    def __init__(
        self,
        place: Path,
        service: str,
        release: int,
        plan: Mapping[str, Any],
        secrets: str,
        patience: float = PATIENCE,
        identity: str = "",
        longest: float = LONGEST,
    ) -> None:
        """``plan``: what the plan says of the database; ``secrets``: the file that holds its url; ``patience``: seconds for which a database that does not
        answer is asked again, from when it last did; ``identity``: that of the state, see ``host.state``; ``longest``: seconds that a count may take which
        is only told: the next release waits for it.
        """
        self._place, self._plan, self._longest = place, plan, longest
        self._common = {"service": service, "release": release, "secrets": secrets, "patience": patience, "identity": identity}

    def expand(self, environments: Sequence[Shipping], memo: Memo) -> Verdict | NotYet:
        """See ``ports.Migrator``."""
        spec = {
            "do": "expand",
            "folder": self._plan["folder"],
            "migrations": self._plan["migrations"],
            "home": self._plan.get("home"),
            "clone": self._plan.get("clone", False),
            "environments": {str(e.environment): [e.version, sorted(e.migrations)] for e in environments},
        }
        return self._go("expand", spec, memo, "the schema to be expanded")

    def contract(self, environments: Sequence[Shipping], memo: Memo) -> Verdict | NotYet:
        """See ``ports.Migrator``."""
        spec = {"do": "contract", "auto": self._plan["contract"] == "auto", "around": self._around(environments), "home": self._plan.get("home")}
        return self._go("contract", spec, memo, "the schema to be contracted")

    def account(self, environments: Sequence[Shipping], memo: Memo) -> Verdict | NotYet:
        """See ``ports.Migrator``."""
        spec = {"do": "account", "migrations": list(self._plan["migrations"]), "around": self._around(environments)}
        what = "a count of what the new version wrote" if self._plan["migrations"] else _TOLD
        return self._go("account", spec, memo, what, self._longest)

    def cancel(self) -> None:
        """See ``ports.Migrator``."""
        Errand(self._place, "expand", "", {}).cancel()

    def tidy(self, environments: Sequence[Shipping], memo: Memo) -> Verdict | NotYet:
        """See ``ports.Migrator``. Nobody is asked where nothing was begun; a database that is away is not waited for."""
        if not (self._place / "expand.json").exists():
            return Verdict(Result.PASS, "", ({},))
        spec = {"do": "tidy", "patience": 0.0, "around": self._around(environments)}
        begun = self._plan.get("expands", self._plan["migrations"])
        return self._go("tidy", spec, memo, "what the expand left half done to be taken away" if begun else _TOLD)

    def down(self, memo: Memo) -> Memo:
        """See ``ports.Migrator``."""
        for name in _ERRANDS:
            Errand(self._place, name, "", {}).cancel()
        return {name: value for name, value in memo.items() if name != "errand"}

    def _around(self, environments: Sequence[Shipping]) -> Mapping[str, Any]:
        """See ``gate.Around``."""
        named = [{**e._asdict(), "environment": str(e.environment), "migrations": sorted(e.migrations)} for e in environments]
        return {"service": self._common["service"], "window": "", "environments": named}

    def _go(self, name: str, spec: Mapping[str, Any], memo: Memo, what: str, longest: float | None = None) -> Verdict | NotYet:
        begun: Mapping[str, Any] = memo.get("spec", spec)  # copies that come and go meanwhile are no reason to begin anew
        errand = Errand(self._place, name, "bleen.database.worker", {**self._common, **begun})
        ended: int = memo.get("ended", 0)
        if "spec" not in memo:
            errand.forget()  # what was found before a person said `resume`
        try:
            report = errand.run(memo.get("errand", {}), what, longest)
        except Hung:
            return Verdict(Result.INCONCLUSIVE, f"{what} was given up after {longest:g} s")
        except Lost as lost:
            if ended == _AGAIN:
                return Verdict(Result.INCONCLUSIVE, f"it was begun {ended + 1} times, and {lost}")
            return NotYet(f"{what}, begun again after it had been killed", 0.2, memo={"spec": begun, "ended": ended + 1})
        if isinstance(report, NotYet):
            return report if report.memo is None else report._replace(memo={"spec": begun, "errand": report.memo, "ended": ended})
        return Verdict(Result(report["result"]), report["why"], tuple(report["evidence"]))
