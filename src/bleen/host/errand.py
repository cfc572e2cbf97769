"""A program of our own that does what takes longer than a tick: it outlives the engine, and is found again by its record.

``NAME.json`` is the record of the program, ``NAME-spec.json`` what it is to do, ``NAME-progress`` what it says of its way, ``NAME-report.json`` its answer.
``NAME.log`` is what it and all that it runs have printed, its end at least.
"""

import errno
import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from bleen.errors import Unavailable
from bleen.host import logs
from bleen.host.clock import boot_id, local, since_boot, wall
from bleen.host.files import text_of, write_durably
from bleen.host.processes import Process
from bleen.model import Memo, NotYet

PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "PYTHONPATH", "SSL_CERT_FILE", "SSL_CERT_DIR")
"""What an errand sees of our environment, whoever begins it."""

SILENT = 120.0
"""Seconds after which it is told that a program says nothing."""

LOG = 1 << 20
"""Bytes after which a log is cut."""


class Lost(Exception):
    """The program ended without a report, or had to be ended; ``str()`` says which."""


class Hung(Lost):
    """It took longer than it may, and was ended."""


class Errand:
    """One run for a spec, however many engines ask."""

    def __init__(self, place: Path, name: str, module: str, spec: Mapping[str, Any]) -> None:
        """``module`` is run with two arguments: the file of the spec, and the file that its report is to be in, written at once, with the spec's ``key``."""
        self._place, self._module, self._spec = place, module, spec
        self._record, self._asked, self._report, self._way = (place / f"{name}{end}" for end in (".json", "-spec.json", "-report.json", "-progress"))
        self.log = place / f"{name}.log"

    def run(self, memo: Memo, what: str, longest: float | None = None) -> Mapping[str, Any] | NotYet:
        """The report, or what is waited for: ``what``, and what the program says of its way. With an empty memo a run that is under way, or that has
        ended, for the same spec is taken up, never doubled. One that a reboot took along is begun again.

        Raises Lost for one that ended without a report, Hung for one that took more than ``longest`` seconds and was ended; Unavailable if it cannot be
        started now.
        """
        import hashlib  # these two are not on the way of a rollback

        from bleen.host.launch import recorded

        with suppress(OSError):  # whoever reads it may do without
            logs.rotate(self.log, LOG)
        key = hashlib.sha256(json.dumps(self._spec, sort_keys=True).encode()).hexdigest()[:16]
        process = recorded(self._record)
        running = process is not None and process.alive
        if (report := self._reported(key)) is not None:  # looked for after the process was: it writes its report, then ends
            return report
        if memo.get("key") != key:
            if process is None or not running:
                return self._begin(key, what, longest)
            if self._doing() == key:
                return self._remember(key, process, what, longest)
            self.cancel()
            return self._begin(key, what, longest)
        if not running and memo["boot"] != boot_id():
            return self._begin(key, what, longest)  # a reboot took the run along, which says nothing of what it was to find
        if not running:
            raise Lost(f"ended without a report; {self.log} says why")
        if memo["until"] is not None and since_boot() > memo["until"]:
            self.cancel()
            raise Hung("hung, and was ended")
        if process is not None and process.stopped:
            return NotYet(f"{what}, whose program was stopped: `kill -CONT {process.pid}` lets it go on", 0.2)
        silence = self._silence(memo["pid"]) if memo["until"] is None else ""  # else it ends by itself
        return NotYet(self._said(what) + silence, 0.05)

    def forget(self) -> None:
        """Forgets the report of a run that has ended: the same spec is begun anew."""
        self._report.unlink(missing_ok=True)

    def cancel(self) -> None:
        """Ends a run, also one that an engine began and did not live to remember; already ended is success."""
        from bleen.host.launch import end  # not on the way of a rollback

        if not self._record.exists():
            return
        deadline = time.monotonic() + 5
        while not end(self._record, signal.SIGKILL):
            if time.monotonic() > deadline:
                raise Unavailable(f"{self._module} ({self._record}) does not end, although killed")
            time.sleep(0.005)
        self._report.unlink(missing_ok=True)

    def _begin(self, key: str, what: str, longest: float | None) -> NotYet:
        from bleen.host.launch import Program, launch  # not on the way of a rollback

        argv = [sys.executable, "-P", "-m", self._module, str(self._asked), str(self._report)]
        env = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        try:
            self._place.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._way.unlink(missing_ok=True)
            write_durably(self._asked, json.dumps({**self._spec, "key": key}))
            process = launch(Program(argv, str(self._place), env, str(self.log)), self._record)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise Unavailable(f"{what}: there is no room to begin, the disk of {self._place} is full; make room on it") from None
            raise Unavailable(f"{self._module} cannot be started in {self._place}: {error}") from None
        return self._remember(key, process, what, longest)

    def _remember(self, key: str, process: Process, what: str, longest: float | None) -> NotYet:
        until = None if longest is None else since_boot() + longest
        return NotYet(self._said(what), 0.05, memo={"key": key, **process._asdict(), "until": until})

    def _said(self, what: str) -> str:
        way = text_of(self._way)
        return what if way is None else f"{what}: {way}"

    def _silence(self, pid: int) -> str:
        """That the program has said nothing for long, and what a person may do who finds nothing of it at work where it works."""
        said = max((os.stat(each).st_mtime for each in (self._asked, self._way) if os.path.exists(each)), default=wall())
        if wall() - said < SILENT:
            return ""
        return f"; no word of it since {local(said)}: if nothing of it is at work there any more, `kill -9 {pid}` has it begun again"

    def _doing(self) -> str:
        """Which run the program under way is."""
        try:
            return str(json.loads(self._asked.read_text())["key"])
        except (OSError, ValueError) as error:
            raise Unavailable(f"{self._asked} cannot be read: {error}") from None

    def _reported(self, key: str) -> Mapping[str, Any] | None:
        """What a run has left behind, if it was this one."""
        try:
            row: Mapping[str, Any] = json.loads(self._report.read_text())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise Unavailable(f"{self._report} cannot be read: {error}") from None
        return row if row["key"] == key else None
