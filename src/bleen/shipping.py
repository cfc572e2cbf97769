"""Whose versions are on the database of a service."""

from collections.abc import Callable, Mapping

from bleen.errors import UserError
from bleen.lifecycle import Release, ReleaseId, Service
from bleen.model import Environment, Running
from bleen.ports import Journal, Shipping


def release_of(journal: Journal, service: str, environment: Environment) -> Release | None:
    """The release that made an environment, however long ago; None for one that nobody knows."""
    try:
        release = journal.read(ReleaseId(service, environment.release))
    except UserError:
        return None
    return release if release.environment == environment else None


def shipping(
    service: Service,
    made_by: Callable[[Environment], Release | None],
    running: Mapping[Environment, Running],
    shares: Mapping[Environment, int],
    *coming: Environment,
) -> list[Shipping]:
    """Every environment that is coming, exists, or serves again with the next `up`, and what its version ships: as its own release says, whichever release
    asks. One that has yet to make room is neither the old nor the new one, and ships what it ships all the same.
    """
    found = []
    for environment in dict.fromkeys((*coming, *running, *filter(None, [service.active]))):
        release, runs = made_by(environment), running.get(environment, Running("", 0, 0, ()))
        ships = release.plan.ships if release else frozenset[str]()
        found.append(Shipping(environment, runs.version or (release.plan.version if release else ""), ships, runs.alive, shares.get(environment, 0)))
    return found
