"""What the verbs that make a plan have in common: bleen.yaml, what is active, what is in the way."""

import json
import os
import secrets
import shutil
from argparse import Namespace
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from bleen import config
from bleen.cli import addresses, picture, show
from bleen.cli.access import Access, described, moved, open_service
from bleen.config import Config
from bleen.errors import Unavailable, UserError
from bleen.host import clock
from bleen.host.files import write_durably
from bleen.host.state import Place
from bleen.lifecycle import REVERSIBLE, UNMOVED, Phase, Release, drifted, ways_on
from bleen.plan import Plan

_STAGED = 3600.0
"""Seconds for which secrets are kept that no release names."""


class Planned(NamedTuple):
    """A plan, and what it was made from."""

    access: Access
    config: Config
    plan: Plan
    current: Release | None
    """The release whose version serves now."""


def make(args: Namespace) -> Planned:
    """The plan for ``args.version``, with nothing touched.

    Raises UserError for every fault of the file, for a router that is not up or is to be another one, and for drift.
    """
    loaded = read(args)
    access = _known(args, loaded)
    if changed := another_router(access, loaded):
        raise UserError(changed)
    return over(access, loaded, args.version)


def read(args: Namespace) -> Config:
    """The bleen.yaml, for a version that can be one."""
    config.check_version(args.version)
    return config.load(Path(args.file))


def over(access: Access, loaded: Config, version: str) -> Planned:
    """The plan of a release over what serves. Raises as ``make`` does, but for another router."""
    active = _active(access)
    current = access.release_of(active.environment) if active else None
    plan, note = _made(loaded, version, active, current), moved(access.place, loaded.path)
    due = {each["migration"]: each.get("failed") for each in access.service.pending if each["migration"] in plan.database.get("contracts", ())}
    failed = [f"the contract of {name} failed the last time: {why}" for name, why in due.items() if why]
    return Planned(access, loaded, plan._replace(warnings=(*filter(None, [note]), *plan.warnings, *failed)), current)


def first(loaded: Config, version: str) -> Plan:
    """The plan of a service's first release."""
    return _made(loaded, version, None, None)


def _made(loaded: Config, version: str, active: config.Active | None, current: Release | None) -> Plan:
    plan = config.plan(loaded, version, active)
    if loaded.file.database:
        from bleen.cli import database  # a driver, and a parser of SQL: only for those who have one

        plan = database.add(plan, loaded, current.plan if current else None)
    return plan


def stage(place: Place, loaded: Config) -> str:
    """Writes the values of ``${NAME}`` to a file of mode 0600; returns its path, for the plan."""
    path = place.secrets / f"{secrets.token_hex(8)}.json"
    write_durably(path, json.dumps(config.secrets(loaded)))
    return str(path)


def sweep(access: Access) -> None:
    """Removes what releases that have ended leave behind: secrets that no environment needs any more, reports that the journal holds too.

    What another deploy has just staged is in no release yet: it is left for an hour, and so is the place of a release that the journal did not have.
    """
    newest = access.journal.latest(access.name)
    access.place.make()  # what somebody has removed beside the journal is no state: a release needs the directory alone
    running = access.providers(newest).platform.running()
    living = [newest, *map(access.release_of, running)]
    needed = {str(r.plan.platform.get("secrets", "")) for r in living if r is not None and (not r.ended or r.environment in running)}
    for path in access.place.secrets.iterdir():
        with suppress(FileNotFoundError, IsADirectoryError):  # a directory is none that was staged
            if str(path) not in needed and abs(clock.wall() - path.stat().st_mtime) > _STAGED:
                path.unlink()
    last = 0 if newest is None else newest.id.number if newest.ended else newest.id.number - 1
    for path in access.place.releases.iterdir():
        if path.name.isdecimal() and int(path.name) <= last:
            shutil.rmtree(path, ignore_errors=True)


def in_the_way(access: Access, earlier: Release | None, version: str) -> str:
    """Why a deploy of a version would be refused until a person says what becomes of an earlier release; empty if nothing is in its way, or only an end."""
    if earlier is None or earlier.ended:
        return ""
    name = f"release {earlier.id.number} ({earlier.plan.version})"
    if earlier.halted:
        return f"{name} is halted in {earlier.phase}: {earlier.halted}; `bleen status` shows it, then {ways_on(earlier)}"
    if earlier.phase in UNMOVED:
        on = "`bleen promote` goes on with it" if earlier.phase is Phase.AWAITING_PROMOTION and not earlier.approved else "wait for it with `bleen wait`"
        return f"{name} is in {earlier.phase}; {on}, or `bleen deploy --replace` aborts it first"
    if earlier.phase is Phase.HOLDING:
        left = show.span((earlier.until or access.journal.now()) - access.journal.now())
        ready = version == earlier.plan.old_version and picture.of(access)["rollback"]["ready"]
        back = "; `bleen rollback` returns to it at once" if ready else ""
        return f"{name} keeps {earlier.plan.old_version} warm for {left} more{back}; `bleen deploy --end-window` gives that up"
    if earlier.phase in REVERSIBLE:
        return f"{name} is in {earlier.phase}; wait for it with `bleen wait`{', or take it back with `bleen rollback`' if earlier.plan.old else ''}"
    return ""


def unchanged(planned: Planned) -> bool:
    """Whether the plan would bring nothing that does not serve already, values of secrets included."""
    current = planned.current
    if planned.plan.database.get("expands"):  # it was restored, or a migration has not ended
        return False
    if current is None or current.plan.digest != planned.plan.digest:
        return False
    try:
        staged = json.loads(Path(current.plan.platform["secrets"]).read_text())
    except (OSError, ValueError):
        return False
    return _given(staged) == _given(config.secrets(planned.config))


def serves_already(planned: Planned) -> tuple[str, bool]:
    """What to say of a plan that would bring nothing, and whether that is good news: what serves may not be well."""
    access, version = planned.access, planned.plan.version
    newest = access.journal.latest(access.name)
    trouble = picture.unserved(access, newest) if newest else ""
    if not trouble:
        return f"{version} with the same plan serves already: nothing to do", True
    back = f", `bleen rollback` returns to {newest.plan.old_version}" if newest and newest.phase in REVERSIBLE and newest.plan.old else ""
    ways = f"`bleen logs` may say why, `bleen deploy {version} --again` starts it anew{back}"
    return f"{version} with the same plan serves already, but {trouble}; {ways}", False


def _given(values: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
    """Without what merely comes with the shell that deploys."""
    return {**values, "base": {name: value for name, value in values["base"].items() if name not in ("PATH", "HOME")}}


def known(args: Namespace, loaded: Config) -> Access | None:
    """The service that the file describes, None if there is none on this host yet: before the first `up`, or on a machine of CI."""
    return _known(args, loaded) if Place(described(args, loaded.service)).known else None


def _known(args: Namespace, loaded: Config) -> Access:
    """The service that the file describes. Its path is remembered, so that the other verbs find it from there without reading the file; but not while the file
    that it was run from until now is still there: a copied name is no handle on somebody's production before a release of it is recorded.
    """
    access, file = open_service(Namespace(service=described(args, loaded.service), file=args.file)), Path(args.file)
    if not os.path.exists(access.place.came_from(file)):
        access.place.remember(file)
    return access


def another_router(access: Access, loaded: Config) -> str:
    """That the router is to be another one than it is, in words; empty if it is not."""
    changed = addresses.changes(access.service.router, config.router(loaded))
    way = "bleen up --apply" if access.service.up else "bleen up"
    if not changed:
        return ""
    note = moved(access.place, loaded.path)
    return f"{note}{'; ' * bool(note)}the router's settings are not part of a release and have changed ({changed}): `{way}` makes that change"


def _active(access: Access) -> config.Active | None:
    """What serves now, as the router says. Raises UserError on drift, or if the router does not answer."""
    newest, service = access.journal.latest(access.name), access.service
    if not service.up:
        raise UserError(f"{access.name} is down: `bleen up` first")
    providers = access.providers(newest)
    try:
        routing = providers.router.routing()
    except Unavailable as error:
        raise UserError(f"the router of {access.name} does not answer: {error}") from None
    if drifted(service, newest, routing):
        raise UserError(f"the router does what bleen neither did nor intends ({picture.apart(routing, service.confirmed)}); `bleen up --apply` undoes it")
    environment = service.active
    if environment is None:
        return None
    runs, release = providers.platform.running().get(environment), access.release_of(environment)
    warm = newest.plan.old_version if newest and newest.phase is Phase.HOLDING else ""
    beside = [each.version or "?" for other, each in providers.platform.running().items() if other.name != environment.name and each.alive]
    try:
        healthy = providers.platform.health(environment).healthy
    except Unavailable:  # as good as unwell: it is no hindrance for one that is well
        healthy = False
    return config.Active(
        environment,
        runs.version if runs and runs.version else release.plan.version if release else "?",
        runs.replicas if runs else 1,
        _written(release.plan) if release else {},
        healthy,
        warm,
        beside[0] if beside and newest and newest.ended else "",
    )


def _written(plan: Plan) -> dict[str, Any]:
    """The platform's settings as the file had them: without what tells the database whose session it is, which is added for every version."""
    signs = (f"bleen:{plan.service}:{{environment}}", "-c bleen.environment={environment}")
    return {**plan.platform, "env": {name: value for name, value in plan.platform.get("env", {}).items() if not plan.database or value not in signs}}
