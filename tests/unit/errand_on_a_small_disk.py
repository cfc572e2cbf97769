"""Run by test_errand inside a mount namespace of its own, with a small tmpfs on the directory of argv[1]; argv[2] is a directory with room.

Expands a database by a command that prints more than the disk takes; then by one that ends while the disk is full, for which room is made later.
"""

import json
import os
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

from bleen.database.migration import read_all
from bleen.database.migrator import Migrator
from bleen.host.errand import LOG
from bleen.model import NotYet, Result, Verdict
from bleen.testing.site import until
from disks import fill

TOML = """
[command]
expand = ["sh", "-c", "cat {go}; yes {line} | head -n {lines}"]
revert = ["true"]
unjudged = "a tool of ours"
"""


class Release:
    """A release of one migration, a command that begins once it is let go."""

    def __init__(self, small: Path, roomy: Path, number: int, lines: int) -> None:
        self.place, self.go, self.database = small / str(number), roomy / f"go-{number}", roomy / "shop.db"
        os.mkfifo(self.go)
        folder, secrets = roomy / f"migrations-{number}", roomy / "secrets.json"
        (folder / f"000{number}_tool").mkdir(parents=True)
        (folder / f"000{number}_tool" / "migration.toml").write_text(TOML.format(go=self.go, line="x" * 1000, lines=lines))
        base = {name: os.environ[name] for name in ("PATH", "HOME")}
        secrets.write_text(json.dumps({"base": base, "values": {}, "database": {"url": f"sqlite:///{self.database}"}}))
        home = {"version": "1.1", "directory": str(roomy), "env": {}, "user": ""}
        plan = {"folder": str(folder), "migrations": {m.name: m.checksum for m in read_all(folder)}, "contract": "manual", "home": home}
        self.migrator, self.memo = Migrator(self.place, "shop", number, plan, str(secrets)), dict[str, Any]()

    def looked(self) -> Verdict | NotYet:
        answer = self.migrator.expand((), self.memo)
        if isinstance(answer, NotYet) and answer.memo is not None:
            self.memo = dict(answer.memo)
        return answer

    def done(self) -> Verdict | None:
        answer = self.looked()
        return answer if isinstance(answer, Verdict) else None


def main(small: Path, roomy: Path) -> None:
    with closing(sqlite3.connect(roomy / "shop.db")) as db:
        db.execute("CREATE TABLE users (id integer PRIMARY KEY)")
    loud = Release(small, roomy, 1, lines=4000)
    loud.looked()
    loud.go.write_text("")
    verdict = until("it has ended", loud.done)
    assert verdict == Verdict(Result.PASS, "", ({"expanded": ["0001_tool"]},))
    logs = sum(path.stat().st_size for path in loud.place.glob("expand.log*"))
    assert logs <= 3 * LOG, logs

    full, ballast = Release(small, roomy, 2, lines=3), small / "everything"
    full.looked()
    until("it has begun", lambda: "go-2" in (full.place / "expand-progress").read_text() if (full.place / "expand-progress").exists() else False)
    fill(ballast)
    full.go.write_text("")

    def expanded() -> bool:
        full.looked()
        with closing(sqlite3.connect(full.database)) as db:
            return ("0002_tool", "expanded") in db.execute("SELECT name, state FROM bleen_migration").fetchall()

    until("it is done", expanded)
    assert full.done() is None, "a report has found room"
    ballast.unlink()
    verdict = until("it is told", full.done)
    assert verdict == Verdict(Result.PASS, "", ({"expanded": ["0002_tool"]},))


main(Path(sys.argv[1]), Path(sys.argv[2]))
