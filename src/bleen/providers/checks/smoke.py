"""Smoke tests as a check: a program of their own that outlives the engine, found again by its record."""

import json
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bleen.errors import Unavailable
from bleen.host.clock import boot_id, since_boot
from bleen.host.files import write_durably
from bleen.host.processes import Process
from bleen.model import Environment, Memo, NotYet, Result, Verdict

_PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "PYTHONPATH", "SSL_CERT_FILE", "SSL_CERT_DIR")
_SPARE = 60.0
"""Seconds that a run may take beyond the timeouts of its tests: the start of Python, names that DNS is slow to answer."""


class Smoke:
    """Implements ``ports.Check``. One run for a release and an environment, however many engines ask.

    ``place`` is the release's own directory; ``smoke.json`` in it is the record of the program, ``smoke-report.json`` its verdict.
    """

    def __init__(
        self, place: Path, tests: Sequence[Mapping[str, Any]], base: str, secrets: str, python: Sequence[str] | None = None, production: str = ""
    ) -> None:
        """``base``: the preview, as a URL. ``secrets``: the file with the values of references, or empty. ``production``: host:port that no test may reach."""
        self._place = place
        self._tests = list(tests)
        self._wanted = {"tests": self._tests, "base": base, "secrets": secrets, "production": production}
        self._python = list(python or (sys.executable, "-P"))
        self._record, self._spec, self._report = (place / name for name in ("smoke.json", "smoke-spec.json", "smoke-report.json"))
        self._log = place / "smoke.log"

    def run(self, environment: Environment, memo: Memo) -> Verdict | NotYet:
        """See ``ports.Check``. With an empty memo a run that is under way, or that has ended, for the same tests and environment is taken up, never doubled."""
        import hashlib  # these two are not on the way of a rollback

        from bleen.host.launch import recorded

        key = hashlib.sha256(json.dumps([str(environment), self._wanted], sort_keys=True).encode()).hexdigest()[:16]
        process = recorded(self._record)
        running = process is not None and process.alive
        if verdict := self._verdict(key):  # looked for after the process was: it writes its report, then ends
            return verdict
        if memo.get("key") != key:
            if process is None or not running:
                return self._begin(key)
            if self._asked() == key:
                return self._remember(key, process)
            self.cancel(memo)
            return self._begin(key)
        if not running and memo["boot"] != boot_id():
            return self._begin(key)  # a reboot took the run along, which says nothing of the version
        if not running:
            return Verdict(Result.INCONCLUSIVE, f"the smoke tests ended without a report; {self._log} says why")
        if since_boot() > memo["until"]:
            self.cancel(memo)
            return Verdict(Result.INCONCLUSIVE, "the smoke tests hung, and were ended")
        return NotYet(f"{len(self._tests)} smoke tests run", 0.05)

    def cancel(self, memo: Memo) -> None:
        """See ``ports.Check``: a run that the engine began and did not live to remember is ended too."""
        from bleen.host.launch import end  # not on the way of a rollback

        if not self._record.exists():
            return
        deadline = time.monotonic() + 5
        while not end(self._record, signal.SIGKILL):
            if time.monotonic() > deadline:
                raise Unavailable(f"the smoke tests ({self._record}) do not end, although killed")
            time.sleep(0.005)
        self._report.unlink(missing_ok=True)

    def _begin(self, key: str) -> NotYet:
        from bleen.host.launch import Program, launch  # not on the way of a rollback

        argv = [*self._python, "-m", "bleen.providers.checks.smoke_runner", str(self._spec), str(self._report)]
        env = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        try:
            self._place.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_durably(self._spec, json.dumps({**self._wanted, "key": key}))
            process = launch(Program(argv, str(self._place), env, str(self._log)), self._record)
        except OSError as error:
            raise Unavailable(f"the smoke tests cannot be started in {self._place}: {error}") from None
        return self._remember(key, process)

    def _remember(self, key: str, process: Process) -> NotYet:
        longest = sum((test["timeout"] + 1) * (test["retries"] + 1) for test in self._tests) + _SPARE
        return NotYet(f"{len(self._tests)} smoke tests run", 0.05, memo={"key": key, **process._asdict(), "until": since_boot() + longest})

    def _asked(self) -> str:
        """Which run the program under way is."""
        try:
            return str(json.loads(self._spec.read_text())["key"])
        except (OSError, ValueError) as error:
            raise Unavailable(f"{self._spec} cannot be read: {error}") from None

    def _verdict(self, key: str) -> Verdict | None:
        """What a run has left behind, if it was this one."""
        try:
            row = json.loads(self._report.read_text())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise Unavailable(f"{self._report} cannot be read: {error}") from None
        return Verdict(Result(row["result"]), row["why"], tuple(row["evidence"])) if row["key"] == key else None
