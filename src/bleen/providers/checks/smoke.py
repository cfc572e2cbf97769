"""Smoke tests as a check: an errand that outlives the engine."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bleen.host.errand import Errand, Lost
from bleen.model import Environment, Memo, NotYet, Result, Verdict

_SPARE = 60.0
"""Seconds that a run may take beyond the timeouts of its tests: the start of Python, names that DNS is slow to answer."""


class Smoke:
    """Implements ``ports.Check``. One run for a release and an environment, however many engines ask.

    ``place`` is the release's own directory; ``smoke.json`` in it is the record of the program, ``smoke-report.json`` its verdict.
    """

    def __init__(
        self,
        place: Path,
        tests: Sequence[Mapping[str, Any]],
        base: Callable[[Environment], str],
        secrets: str,
        production: str = "",
        version: str = "",
    ) -> None:
        """``base``: where an environment is asked, as a URL. ``secrets``: the file with the values of references, or empty.

        ``production``: host:port that no test may reach. ``version``: what ``${VERSION}`` stands for in the tests; ``${ENVIRONMENT}`` is the name of the
        environment.
        """
        self._place, self._tests, self._base, self._version = place, list(tests), base, version
        self._wanted = {"tests": self._tests, "secrets": secrets, "production": production}

    def run(self, environment: Environment, memo: Memo) -> Verdict | NotYet:
        """See ``ports.Check``. With an empty memo a run that is under way, or that has ended, for the same tests and environment is taken up, never doubled."""
        longest = sum((test["timeout"] + 1) * (test["retries"] + 1) for test in self._tests) + _SPARE
        given = {"VERSION": self._version, "ENVIRONMENT": environment.name}
        errand = self._errand({**self._wanted, "base": self._base(environment), "environment": str(environment), "given": given})
        try:
            report = errand.run(memo, f"{len(self._tests)} smoke tests run", longest)
        except Lost as lost:
            return Verdict(Result.INCONCLUSIVE, f"the smoke tests {lost}")
        return report if isinstance(report, NotYet) else Verdict(Result(report["result"]), report["why"], tuple(report["evidence"]))

    def cancel(self) -> None:
        """See ``ports.Check``: a run that the engine began and did not live to remember is ended too."""
        self._errand(self._wanted).cancel()

    def _errand(self, spec: Mapping[str, Any]) -> Errand:
        return Errand(self._place, "smoke", "bleen.providers.checks.smoke_runner", spec)
