"""What a release does to the schema, as a program of its own (``python -m bleen.database.worker SPEC REPORT``): a backfill may take hours.

It may be killed at any instant; begun again, it goes on where the ledger says. Its report is a ``Verdict``: PASS done, FAIL never as it stands,
INCONCLUSIVE the database could not be asked.
"""

import errno
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from bleen.database import connect, rehearsal
from bleen.database.command.home import Home, home_of
from bleen.database.gate import Around, Obstacle
from bleen.database.ledger import Known, State
from bleen.database.migration import Migration, read_all
from bleen.database.reading import Pending, Reading
from bleen.database.schema import Schema
from bleen.database.server import LeftOver, NotGiven, Taken, Told
from bleen.errors import Refused, Unavailable, UserError
from bleen.host.files import write_durably
from bleen.model import Due, Result, Verdict

LOSSES = 5
"""How often a connection that was at work may be lost: a statement that ends the server is not tried for ever."""


def expand(schema: Schema, spec: Mapping[str, Any]) -> Verdict:
    """Carries out the migrations of the plan, and no others."""
    environments = {name: frozenset(ships) for name, (_, ships) in spec["environments"].items()}
    versions = {name: version for name, (version, _) in spec["environments"].items()}
    migrations = _planned(spec)

    def on(schema: Schema, migrations: Sequence[Migration], home: Home | None) -> list[str]:
        return schema.expand(migrations, spec["service"], spec["release"], environments, versions, home)

    facts: dict[str, Any] = {}
    begun = {entry.name for entry in schema.ledger.entries()}
    if spec.get("clone") and (new := [m for m in migrations if m.name not in begun]):
        clone, home = _urls(spec)["clone"], _home(spec, "clone")
        facts["rehearsed"] = rehearsal.rehearse(schema.server, clone, new, on, home, schema.told)
    return Verdict(Result.PASS, "", ({"expanded": on(schema, migrations, _home(spec)), **facts},))


def contract(schema: Schema, spec: Mapping[str, Any]) -> Verdict:
    """Contracts what may be, in order, if the plan says so; tells what stays pending, and why. What another service brought, it contracts itself."""
    around = _around(schema, spec)
    contracted: list[str] = []
    left = _resumed(schema, around, spec["patience"]) if spec["auto"] else schema.pending(around)
    while spec["auto"] and left and not left[0].obstacles and left[0].service == around.service:
        try:
            shut = schema.contract(left[0].migration, home=_home(spec), shut=partial(_waits, schema, around, left[0].migration), again="bleen resume")
        except Refused as error:  # nothing was taken away, and nothing waits for it
            entry = schema.ledger.entry(left[0].migration)
            if not isinstance(error, NotGiven) and (entry is None or entry.state is not State.EXPANDED):
                raise
            left = [left[0]._replace(obstacles=(Obstacle(str(error)),), failed=str(error)), *left[1:]]
            break
        contracted += [] if shut else [left[0].migration]
        left = schema.pending(around)
    lacking = schema.lacking({e.version: e.migrations for e in around.environments})
    return Verdict(Result.PASS, "", ({"contracted": contracted, "pending": [row(each) for each in (*lacking, *left)]},))


def account(schema: Schema, spec: Mapping[str, Any]) -> Verdict:
    """What the new version wrote, after a rollback, and whether the old one can read it."""
    if "around" in spec:  # else begun by a bleen that did not say
        _around(schema, spec)
    return Verdict(Result.PASS, "", ({"written": schema.written(spec["migrations"])},))


def tidy(schema: Schema, spec: Mapping[str, Any]) -> Verdict:
    """What an aborted expand left in the way of the version that serves is taken away."""
    _around(schema, spec)
    return Verdict(Result.PASS, "", ({"dropped": dropped} if (dropped := schema.tidy()) else {},))


def row(pending: Pending) -> Due:
    """What is pending, as it is told."""
    return {
        "migration": pending.migration,
        "description": pending.description,
        "since": pending.since,
        "asked": time.time(),
        "service": pending.service,
        "waits": [o.why for o in pending.obstacles],
        "failed": pending.failed,
    }


def _around(schema: Schema, spec: Mapping[str, Any]) -> Around:
    """What is left of the service's environments, which the database's books say from now on: what has ended keeps no gate shut."""
    around = Around.from_json(spec["around"])
    schema.ledger.exists(around.service, [Known(around.service, str(e.environment), e.version, e.migrations) for e in around.environments])
    return around


def _home(spec: Mapping[str, Any], which: str = "url") -> Home | None:
    """Where the commands of the version run that is released: it ships all that may be contracted. ``which`` of the urls they are given."""
    if not spec.get("home"):  # none, or begun by a bleen that knew no commands
        return None
    return home_of(spec["home"]["version"], spec["home"], json.loads(Path(spec["secrets"]).read_text()), _urls(spec)[which])


def _resumed(schema: Schema, around: Around, patience: float) -> list[Pending]:
    """What is pending. The gate of a contract that was begun was open: after a failover, or when we were killed with all else on this host, who serves may
    connect again only with its next request, which is waited for.
    """
    deadline = time.monotonic() + patience
    while True:
        left = schema.pending(around)
        begun = {entry.name for entry in schema.ledger.entries() if entry.state is State.CONTRACTING}
        shut = left[0].obstacles if left and left[0].migration in begun else ()
        if not shut or not all(each.silent for each in shut) or time.monotonic() >= deadline:
            return left
        schema.told(f"{left[0].migration}: {shut[0].why}; it was begun, and waits for one")
        time.sleep(1)


def _waits(schema: Reading, around: Around, name: str) -> list[str]:
    """What keeps the gate of a migration shut."""
    return [o.why for each in schema.pending(around) if each.migration == name for o in each.obstacles]


def _urls(spec: Mapping[str, Any]) -> Mapping[str, str]:
    urls: Mapping[str, str] = json.loads(Path(spec["secrets"]).read_text())["database"]
    return urls


def _planned(spec: Mapping[str, Any]) -> list[Migration]:
    found = {m.name: m for m in read_all(Path(spec["folder"]))}
    wanted: Mapping[str, str] = spec["migrations"]
    changed = [name for name, checksum in wanted.items() if name not in found or found[name].checksum != checksum]
    if changed:
        raise Refused(f"{', '.join(changed)} in {spec['folder']} is not what was planned: deploy again")
    return [found[name] for name in wanted]


def _worked(work: Callable[[Schema, Mapping[str, Any]], Verdict], url: str, spec: Mapping[str, Any], told: Told) -> Verdict:
    """What comes of the work, however often the database was away meanwhile."""
    patience: float = spec["patience"]
    deadline, losses, broken = time.monotonic() + patience, 0, ""
    while True:
        connected = False
        try:
            server = connect(url, f"bleen migrate {spec['service']}")
            connected = True
            try:
                with server.lookout(told):
                    return work(Schema(server, told, spec.get("identity", "")), spec)
            finally:
                server.close()
        except Unavailable as error:
            said = f"{broken}; then: {error}" if broken and not connected else str(error)  # who cannot connect does not know what is half done
            broken = str(error) if connected else broken
            if connected and not isinstance(error, Taken) and losses < LOSSES:
                deadline, losses = time.monotonic() + patience, losses + 1
            if isinstance(error, Taken) and not isinstance(error, LeftOver) and spec["do"] == "expand":
                deadline = time.monotonic() + patience  # its turn comes: whoever has it may be a statement of a worker that was killed, which goes on by itself
            elif time.monotonic() >= deadline:
                return Verdict(Result.INCONCLUSIVE, f"{said}; tried for {patience:g} s")
            told(f"{error}; tries again")
            time.sleep(1)
        except (Refused, UserError) as error:
            asked = connected or spec["do"] == "expand"  # who is not let in has said nothing of what is pending, or was written
            return Verdict(Result.FAIL if asked else Result.INCONCLUSIVE, str(error))


def main(spec: Mapping[str, Any], report: Path) -> None:
    """Does what the spec says, and writes the report; what it says of its way lies beside it."""
    way = report.with_name(report.name.replace("-report.json", "-progress"))

    def told(text: str) -> None:
        with suppress(OSError):  # on a full disk nobody hears of it, and the work goes on
            part = way.with_suffix(".part")
            part.write_text(text)
            os.replace(part, way)
        with suppress(OSError):
            print(time.strftime("%Y-%m-%dT%H:%M:%S%z"), text, flush=True)

    work = {"expand": expand, "tidy": tidy, "contract": contract, "account": account}[spec["do"]]
    verdict = _worked(work, _urls(spec)["url"], spec, told)
    answer = json.dumps({"key": spec["key"], "result": verdict.result.value, "why": verdict.why, "evidence": verdict.evidence})
    while not _written(report, answer):
        time.sleep(1)


def _written(report: Path, answer: str) -> bool:
    """Whether there was room for the report: what took hours is not begun again for a disk that is full."""
    try:
        write_durably(report, answer)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        return False
    return True


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
