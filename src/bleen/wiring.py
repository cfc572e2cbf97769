"""The only place where a name in a Plan meets a class."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bleen.errors import Unavailable, UserError
from bleen.host.files import Fence, Reserve
from bleen.host.state import Place
from bleen.lifecycle import Release, Service
from bleen.model import Environment, Verdict
from bleen.plan import Listener, Plan, Probe
from bleen.ports import Check, Journal, Migrator, Platform, Providers, Router

if TYPE_CHECKING:
    from bleen.providers.routers.certificate import Certificate
    from bleen.providers.routers.haproxy import Found

ROUTERS = {
    "envoy": "bleen.providers.routers.envoy:Envoy",
    "haproxy": "bleen.providers.routers.haproxy:HAProxy",
}
PLATFORMS = {"process": "bleen.providers.platforms.process:ProcessPlatform"}
JOURNAL = "bleen.providers.journals.sqlite:SQLite"
MIGRATOR = "bleen.database.migrator:Migrator"
SMOKE = "bleen.providers.checks.smoke:Smoke"


def build(place: Place, service: Service, release: Release | None) -> Providers:
    """What drives a service: its router as ``up`` set it, its platform and checks as the plan of a release has them. Looks at nothing that runs."""
    plan = release.plan if release else None
    platform = _platform(place, plan)
    return Providers(
        _router(place, service, platform.probe),
        platform,
        _check(place, service, release),
        _migrator(place, release),
        _before(place, service, release, platform),
    )


def journal(place: Place) -> Journal:
    """The journal of a service. Raises UserError if a newer bleen wrote it."""
    opened: Journal = _load(JOURNAL)(place)
    return opened


def certificate(place: Place, settings: Mapping[str, Any]) -> "Certificate":
    """The certificate that a router's settings name, with what its kind asks of one."""
    from bleen.providers.routers import envoy
    from bleen.providers.routers.certificate import Certificate

    return Certificate(place.router, settings["tls"], *([envoy.fault] if settings["kind"] == "envoy" else []))


def router_of(place: Place) -> Mapping[str, Any]:
    """The settings of a service's router, of whatever format its journal is, which is left as it is; empty where they cannot be read."""
    from bleen.providers.journals import sqlite

    return sqlite.router_of(place)


def haproxy() -> "Found | None":
    """The HAProxy of this host; None if it has none."""
    from bleen.providers.routers import haproxy

    return haproxy.found()


def smoke(tests: Sequence[Mapping[str, Any]], base: str, secrets: Mapping[str, str], given: Mapping[str, str]) -> Verdict:
    """What smoke tests say of an address, asked by this process."""
    from bleen.providers.checks import smoke_runner

    return smoke_runner.run(tests, base, secrets, given=given)


def _router(place: Place, service: Service, asked: Callable[[Environment], Probe]) -> Router:
    settings = service.router
    if not settings:
        raise UserError(f"{service.name} has no router yet: `bleen up` starts it")
    listener = Listener(settings["listen"], settings["preview"], settings["tls"], settings["keep_alive"], settings.get("trusted", ()))
    router: Router = _named(ROUTERS, settings["kind"], "router")(place.router, Fence(place.fence), Reserve(place.reserve), listener, asked)
    return router


def _platform(place: Place, plan: Plan | None) -> Platform:
    settings: Mapping[str, Any] = plan.platform if plan else {"kind": "process"}
    platform: Platform = _named(PLATFORMS, settings["kind"], "platform")(
        place.environments, Fence(place.fence), Reserve(place.reserve), place.ports, settings, plan.probe if plan else Probe()
    )
    return platform


def _check(place: Place, service: Service, release: Release | None) -> Check | None:
    if release is None or not release.plan.smoke:
        return None
    plan, directory = release.plan, place.releases / str(release.id.number)
    preview, listen = f"http://{service.router['preview']}", service.router["listen"]
    check: Check = _load(SMOKE)(directory, plan.smoke, lambda _: preview, plan.platform["secrets"], production=listen, version=plan.version)
    return check


def _migrator(place: Place, release: Release | None) -> Migrator | None:
    if release is None or not release.plan.database:
        return None
    plan, number = release.plan, release.id.number
    own, secrets = place.releases / str(number), plan.platform["secrets"]
    migrator: Migrator = _load(MIGRATOR)(own, plan.service, number, plan.database, secrets, identity=place.identity)
    return migrator


def _before(place: Place, service: Service, release: Release | None, platform: Platform) -> Check | None:
    """The smoke tests of the version before ask one of its copies directly, which has warm connections to the database."""
    if release is None or release.plan.old is None or not release.plan.database.get("smoke"):
        return None
    plan, directory = release.plan.database, place.releases / str(release.id.number) / "before"

    def base(environment: Environment) -> str:
        runs = platform.running().get(environment)
        if runs is None or not runs.targets:
            raise Unavailable(f"{environment} does not run")
        return f"http://{runs.targets[0]}"

    check: Check = _load(SMOKE)(directory, plan["smoke"], base, plan["secrets"], production=service.router["listen"], version=release.plan.old_version)
    return check


def _named(known: Mapping[str, str], kind: str, what: str) -> Any:
    """A class by the name that bleen.yaml has for it, or by ``module:Class`` for one of somebody else's."""
    where = known.get(kind, kind)
    if ":" not in where:
        raise UserError(f"there is no {what} {kind!r}: {', '.join(known)}, or module:Class")
    return _load(where)


def _load(where: str) -> Any:
    module, _, name = where.partition(":")
    return getattr(importlib.import_module(module), name)
