"""What every router must do. Subclass ``RouterContract``, or ``ProxyContract`` where real requests can be sent, and give ``build``; pytest does the rest.

::

    class TestMine(ProxyContract):
        def build(self, site: Site) -> Router:
            return Mine(site.place, site.fence, site.listen, site.preview, site.asked)
"""

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from bleen.errors import Fenced, Refused, Unavailable
from bleen.model import Environment, NotYet, Routing, Target
from bleen.ports import Router
from bleen.testing.site import Application, Site, done, until

BLUE, GREEN, LATER = Environment("blue", 4), Environment("green", 5), Environment("blue", 6)
"""Two environments, and the one that takes blue's name two releases later."""
UNKNOWN = Environment("green", 7)

Make = Callable[..., Site]


class Fleet:
    """Applications behind the routers of one class of tests: two copies each of blue and green, one of later."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self.blue = [self._start("blue", "1"), self._start("blue", "2")]
        self.green = [self._start("green", "1"), self._start("green", "2")]
        self.later = [self._start("later", "1")]

    def close(self) -> None:
        self._stack.close()

    def targets(self, *environments: Environment) -> Mapping[Environment, tuple[Target, ...]]:
        of = {BLUE: self.blue, GREEN: self.green, LATER: self.later}
        return {e: tuple(application.target for application in of[e]) for e in environments}

    def routing(self, shares: Mapping[Environment, int], preview: Environment | None = None, know: tuple[Environment, ...] = (BLUE, GREEN)) -> Routing:
        """These shares, and the targets of every environment of ``know``."""
        return Routing(shares, preview, self.targets(*know))

    def _start(self, name: str, version: str) -> Application:
        return self._stack.enter_context(Application(name, "--version", version))


EFFECTS: Mapping[str, Callable[[Router, Routing, int], object]] = {
    "prepare": lambda router, wanted, epoch: router.prepare(wanted, epoch),
    "route": lambda router, wanted, epoch: router.route(wanted, epoch),
    "settle": lambda router, wanted, epoch: router.settle(wanted, epoch),
    "up": lambda router, wanted, epoch: router.up(wanted, epoch),
    "down": lambda router, wanted, epoch: router.down(epoch),
}


def settled(routing: Routing) -> dict[str, Any]:
    """A routing as it is compared: without shares of 0, and without an order among targets."""
    row = routing.to_json()
    return {**row, "shares": {e: s for e, s in row["shares"].items() if s}, "targets": {e: sorted(ts) for e, ts in row["targets"].items()}}


class RouterContract:
    """What a router says and refuses. Nothing here sends a request, so that a fake passes it too."""

    def build(self, site: Site) -> Router:
        """The router on trial, over ``site.place``; called for every instance."""
        raise NotImplementedError

    def kill(self, site: Site) -> None:
        """The proxy dies at once."""
        site.signal(signal.SIGKILL)

    def hang(self, site: Site) -> None:
        """The proxy does not answer, and is not dead."""
        site.signal(signal.SIGSTOP)

    def go_on(self, site: Site) -> None:
        """The opposite of ``hang``."""
        site.signal(signal.SIGCONT)

    def forget(self, site: Site) -> None:
        """The router's directory is lost, with the proxy dead."""
        for path in sorted(site.place.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()

    def copies(self, site: Site) -> int:
        """How many proxies of this site run."""
        return len(site.processes())

    @contextmanager
    def held(self, site: Site, address: str) -> Iterator[str]:
        """Somebody else listens there; yields what must be said of them."""
        host, _, port = address.rpartition(":")
        with socket.create_server((host, int(port))):
            yield str(os.getpid())

    @pytest.fixture(scope="class")
    @classmethod
    def fleet(cls) -> Iterator[Fleet]:
        fleet = Fleet()
        yield fleet
        fleet.close()

    @pytest.fixture
    def make(self, tmp_path: Path) -> Iterator[Make]:
        """Sites, each on a directory and on addresses of its own; whatever they started is gone afterwards."""
        with self.sites(tmp_path) as make:
            yield make

    @contextmanager
    def sites(self, root: Path) -> Iterator[Make]:
        sites: list[Site] = []

        def make(**options: Any) -> Site:
            sites.append(Site(root / f"site{len(sites)}", self.build, **options))
            return sites[-1]

        yield make
        for site in sites:
            self.kill(site)
            done(lambda site=site: site.router.down(1 << 40))  # type: ignore[misc]
            assert self.copies(site) == 0

    @pytest.fixture
    def live(self, make: Make, fleet: Fleet) -> Site:
        """Blue serves, green is known."""
        return self.started(make(), fleet)

    def started(self, site: Site, fleet: Fleet) -> Site:
        wanted = fleet.routing({BLUE: 100})
        site.up()
        site.prepare(wanted)
        site.route(wanted)
        return site

    def test_a_router_that_is_new_serves_nobody(self, make: Make) -> None:
        site = make()
        site.up()
        assert settled(site.router.routing()) == settled(Routing())

    def test_preparing_makes_environments_known_and_leads_the_preview_but_leaves_production_alone(self, make: Make, fleet: Fleet) -> None:
        site = make()
        site.up()
        site.prepare(fleet.routing({BLUE: 100}, know=(BLUE,)))
        assert settled(site.router.routing()) == settled(fleet.routing({}, know=(BLUE,)))
        site.route(fleet.routing({BLUE: 100}, know=(BLUE,)))
        site.prepare(fleet.routing({GREEN: 100}, GREEN, know=(GREEN,)))
        assert settled(site.router.routing()) == settled(fleet.routing({BLUE: 100}, GREEN))

    def test_preparing_twice_equals_once(self, live: Site, fleet: Fleet) -> None:
        live.prepare(fleet.routing({BLUE: 100}, GREEN))
        was = settled(live.router.routing())
        live.prepare(fleet.routing({BLUE: 100}, GREEN))
        assert settled(live.router.routing()) == was

    @pytest.mark.parametrize("path", [(BLUE, GREEN), (GREEN, GREEN), (GREEN, BLUE, GREEN)])
    def test_a_route_is_absolute_wherever_it_starts(self, live: Site, fleet: Fleet, path: tuple[Environment, ...]) -> None:
        for environment in path:
            live.route(fleet.routing({environment: 100}))
        assert settled(live.router.routing()) == settled(fleet.routing({GREEN: 100}))

    def test_shares_are_what_was_asked_for(self, live: Site, fleet: Fleet) -> None:
        for shares in ({BLUE: 90, GREEN: 10}, {BLUE: 1, GREEN: 99}, {GREEN: 100}, {}):
            live.route(fleet.routing(shares))
            assert settled(live.router.routing()) == settled(fleet.routing(shares))

    def test_a_route_does_not_touch_the_preview(self, live: Site, fleet: Fleet) -> None:
        live.prepare(fleet.routing({BLUE: 100}, GREEN))
        live.route(fleet.routing({GREEN: 100}))
        assert live.router.routing().preview == GREEN

    def test_an_environment_that_the_proxy_does_not_know_is_refused_and_nothing_changes(self, live: Site) -> None:
        was = settled(live.router.routing())
        for targets in ({}, {UNKNOWN: ()}, {UNKNOWN: (Target("127.0.0.1", 9),)}):
            for shares in ({UNKNOWN: 100}, {BLUE: 90, UNKNOWN: 10}):
                with pytest.raises(Refused, match=str(UNKNOWN)):
                    live.router.route(Routing(shares, None, targets), 1)
        assert settled(live.router.routing()) == was

    def test_what_was_never_routed_is_not_served(self, live: Site, fleet: Fleet) -> None:
        assert isinstance(live.router.served(fleet.routing({GREEN: 100}), 1.0), NotYet)

    @pytest.mark.parametrize("effect", EFFECTS)
    def test_a_smaller_epoch_is_fenced_and_nothing_changes(self, live: Site, fleet: Fleet, effect: str) -> None:
        """A local router holds a `flock` across the whole effect and refuses a smaller epoch."""
        live.route(fleet.routing({BLUE: 100}), epoch=8)
        was = settled(live.router.routing())
        with pytest.raises(Fenced):
            EFFECTS[effect](live.again(), fleet.routing({GREEN: 100}, GREEN, know=(GREEN,)), 7)
        assert settled(live.router.routing()) == was
        live.route(fleet.routing({GREEN: 100}), epoch=8)

    def test_another_instance_sees_and_does_the_same(self, live: Site, fleet: Fleet) -> None:
        other = live.again()
        assert settled(other.routing()) == settled(live.router.routing())
        other.route(fleet.routing({GREEN: 100}), 2)
        done(lambda: other.served(fleet.routing({GREEN: 100}), 0.1))
        assert settled(live.router.routing()) == settled(fleet.routing({GREEN: 100}))

    def test_settling_forgets_what_is_not_named_and_nothing_else(self, live: Site, fleet: Fleet) -> None:
        live.prepare(fleet.routing({BLUE: 100}, GREEN))
        for _ in range(2):
            live.settle(fleet.routing({BLUE: 100}, know=(BLUE,)))
            until("green is forgotten", lambda: GREEN not in live.router.routing().targets)
            assert settled(live.router.routing()) == settled(fleet.routing({BLUE: 100}, know=(BLUE,)))
        with pytest.raises(Refused):
            live.router.route(fleet.routing({GREEN: 100}), 1)

    def test_settling_never_forgets_an_environment_that_serves(self, live: Site, fleet: Fleet) -> None:
        """What the router names is never stopped."""
        live.settle(fleet.routing({GREEN: 100}, GREEN, know=(GREEN,)))
        assert settled(live.router.routing()) == settled(fleet.routing({BLUE: 100}, GREEN))

    def test_settling_forgets_nobody_while_nobody_can_say_whom_production_reaches(self, live: Site, fleet: Fleet) -> None:
        """What the router names is never stopped."""
        self.confuse(live, fleet)
        until("it is seen", lambda: bool(live.router.routing().unknown))
        with pytest.raises(Refused, match="nothing is forgotten while"):
            live.router.settle(fleet.routing({BLUE: 100}, know=(BLUE,)), 1)
        live.prepare(fleet.routing({BLUE: 100}, know=(BLUE,)))
        live.route(fleet.routing({BLUE: 100}))
        assert settled(live.router.routing()) == settled(fleet.routing({BLUE: 100}))

    def test_copies_are_followed_while_nobody_can_say_whom_production_reaches(self, live: Site, fleet: Fleet) -> None:
        """A copy that does not run and whose port somebody else has got gets another one, and the routing follows."""
        self.confuse(live, fleet)
        until("it is seen", lambda: bool(live.router.routing().unknown))
        elsewhere = {BLUE: fleet.targets(BLUE)[BLUE], GREEN: (fleet.targets(GREEN)[GREEN][0], fleet.targets(LATER)[LATER][0])}
        moved = live.router.routing().moved(elsewhere)
        live.prepare(moved)
        live.settle(moved)
        until("it is led there", lambda: settled(live.router.routing()) == settled(moved))
        live.prepare(fleet.routing({BLUE: 100}))
        live.route(fleet.routing({BLUE: 100}))

    def confuse(self, site: Site, fleet: Fleet) -> None:
        """Somebody else leads production to green, such that no Routing says it; BLUE and GREEN are known."""
        raise NotImplementedError

    def test_a_name_is_taken_by_a_later_release(self, live: Site, fleet: Fleet) -> None:
        """An environment's identity includes its release."""
        to_green, to_later = fleet.routing({GREEN: 100}, know=(GREEN,)), fleet.routing({LATER: 100}, know=(GREEN, LATER))
        live.route(to_green)
        live.drained(fleet.routing({GREEN: 100}))
        live.settle(to_green)
        live.prepare(to_later._replace(preview=LATER))
        assert live.router.routing().preview == LATER
        live.route(to_later)
        assert settled(live.router.routing()) == settled(to_later._replace(preview=LATER))
        with pytest.raises(Refused):
            live.router.route(fleet.routing({BLUE: 100}), 1)

    def test_drift_is_seen(self, live: Site, fleet: Fleet) -> None:
        """Drift is a routing that equals neither the last one confirmed nor the one intended."""
        self.meddle(live, fleet.routing({GREEN: 100}))
        seen = live.router.routing()
        assert not seen.same_production(fleet.routing({BLUE: 100}))
        live.route(fleet.routing({BLUE: 100}))
        assert settled(live.router.routing()) == settled(fleet.routing({BLUE: 100}))

    def test_what_somebody_else_did_and_is_the_truth_by_now_outlives_the_proxy(self, live: Site, fleet: Fleet) -> None:
        """`close` accepts what the router serves now as the truth; and a rollback to where somebody has led the traffic already is one."""
        self.meddle(live, fleet.routing({GREEN: 100}))
        done(lambda: live.router.up(fleet.routing({GREEN: 100}), 1))
        self.kill(live)
        live.up(fleet.routing({GREEN: 100}), epoch=2)
        assert settled(live.router.routing()) == settled(fleet.routing({GREEN: 100}))

    def meddle(self, site: Site, routing: Routing) -> None:
        """Somebody else routes, past this instance; a real router's own test may do it past the whole class."""
        site.again().route(routing, 1)

    def test_up_tells_that_it_has_started_the_proxy(self, live: Site) -> None:
        """Whoever keeps it running says so; a proxy that comes back in silence is a riddle to whoever looks for what users felt."""
        assert live.router.up(Routing(), 1) is None
        self.kill(live)
        assert live.router.up(Routing(), 1) is not None
        done(lambda: live.router.up(Routing(), 1))

    def test_up_twice_is_one_proxy_and_leaves_the_routing_alone(self, live: Site, fleet: Fleet) -> None:
        for router in (live.router, live.again()):
            done(lambda router=router: router.up(fleet.routing({GREEN: 100}, GREEN), 1))  # type: ignore[misc]
        assert self.copies(live) == 1
        assert settled(live.router.routing()) == settled(fleet.routing({BLUE: 100}))

    @pytest.mark.parametrize("shares", [{GREEN: 100}, {BLUE: 80, GREEN: 20}, {}], ids=["all", "shares", "nobody"])
    def test_a_proxy_that_was_killed_and_started_again_keeps_the_routing(self, live: Site, fleet: Fleet, shares: Mapping[Environment, int]) -> None:
        """A restart or reload of the proxy keeps the routing."""
        live.prepare(fleet.routing(shares, GREEN))
        live.route(fleet.routing(shares))
        self.kill(live)
        for ask in (live.router.routing, live.router.traffic, lambda: live.router.route(fleet.routing({BLUE: 100}), 1)):
            with pytest.raises(Unavailable):
                ask()
        live.up(fleet.routing({BLUE: 100}), epoch=2)
        assert self.copies(live) == 1
        assert settled(live.router.routing()) == settled(fleet.routing(shares, GREEN))

    def test_a_router_without_a_memory_starts_with_the_routing_that_it_is_given(self, live: Site, fleet: Fleet) -> None:
        self.kill(live)
        self.forget(live)
        live.router = live.again()
        live.up(fleet.routing({BLUE: 70, GREEN: 30}, GREEN))
        assert settled(live.router.routing()) == settled(fleet.routing({BLUE: 70, GREEN: 30}, GREEN))

    @pytest.mark.parametrize("how", ["started", "running"])
    def test_an_environment_whose_copies_are_elsewhere_now_is_found_there_and_nothing_goes_where_they_were(self, live: Site, fleet: Fleet, how: str) -> None:
        """A copy that does not run and whose port somebody else has got gets another one, and the routing follows."""
        (_, stays), (green, elsewhere) = fleet.targets(BLUE)[BLUE], fleet.targets(GREEN)[GREEN]
        wanted = Routing({BLUE: 100}, None, {BLUE: (elsewhere, stays), GREEN: (green,)})
        if how == "started":
            self.kill(live)
            live.up(wanted._replace(shares={GREEN: 100}), epoch=2)
        else:
            live.prepare(wanted)
            live.router.settle(wanted, 1)
        assert settled(live.router.routing()) == settled(wanted)

    def test_down_ends_it_and_up_finds_the_routing_again(self, live: Site, fleet: Fleet) -> None:
        for _ in range(2):
            done(lambda: live.router.down(1))
            assert self.copies(live) == 0
            with pytest.raises(Unavailable):
                live.router.routing()
        live.up()
        assert settled(live.router.routing()) == settled(fleet.routing({BLUE: 100}))

    @pytest.mark.parametrize("which", ["listen", "preview"])
    def test_an_address_that_is_held_is_refused_and_the_holder_is_named(self, make: Make, which: str) -> None:
        """A listen address held by somebody else [...]: refused, and named, with what runs behind it."""
        site = make()
        address = getattr(site, which)
        with self.held(site, address) as holder, pytest.raises(Refused) as refusal:
            site.up()
        assert holder in str(refusal.value)
        assert self.copies(site) == 0
        site.up()

    def test_a_proxy_that_hangs_is_unavailable_and_works_again_afterwards(self, live: Site, fleet: Fleet) -> None:
        self.hang(live)
        for ask in (live.router.routing, lambda: live.router.route(fleet.routing({GREEN: 100}), 1)):
            with pytest.raises(Unavailable):
                ask()
        with suppress(Unavailable):
            live.router.up(Routing(), 1)
        assert self.copies(live) == 1
        self.go_on(live)
        live.route(fleet.routing({BLUE: 100}))
        assert settled(live.router.routing()) == settled(fleet.routing({BLUE: 100}))

    def test_an_environment_without_traffic_is_drained(self, live: Site) -> None:
        done(lambda: live.router.drained(GREEN, 0.0))

    def test_traffic_is_counted_for_every_environment_that_is_known(self, live: Site) -> None:
        assert set(live.router.traffic()) == {BLUE, GREEN}

    def test_the_proxy_outlives_the_process_that_started_it(self, make: Make) -> None:
        """SIGKILL of the resident engine fails no request; the next `up` adopts what runs, by pid and start time, with no second copy."""
        site = make()
        if (engine := os.fork()) == 0:
            try:
                site.up()
                os.kill(os.getpid(), signal.SIGKILL)
            finally:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(engine, 0)[1]) == -signal.SIGKILL
        assert self.copies(site) == 1
        site.up(epoch=2)
        assert self.copies(site) == 1
        assert settled(site.router.routing()) == settled(Routing())

    def test_calls_may_come_from_any_thread(self, live: Site, fleet: Fleet) -> None:
        failures: list[BaseException] = []

        def work() -> None:
            try:
                live.route(fleet.routing({GREEN: 100}))
                assert live.router.routing().serves(GREEN)
            except BaseException as error:  # noqa: BLE001
                failures.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        assert not failures
