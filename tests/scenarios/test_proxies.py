"""Proxies that die, hang, lose their socket or are told something behind our back."""

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from bleen.host.processes import command_line
from bleen.host.state import Place
from bleen.model import Routing
from bleen.testing.load import Problem
from bleen.testing.site import until
from shop import ROUTERS, Shop


@pytest.fixture(params=ROUTERS)
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    with Shop(tmp_path, request.param) as made:
        yield made


@pytest.fixture
def envoy(tmp_path: Path) -> Iterator[Shop]:
    with Shop(tmp_path) as made:
        yield made


def test_a_proxy_that_is_killed_in_the_hold_comes_back_with_its_routing(shop: Shop) -> None:
    """ "A restart or reload of the proxy keeps the routing." """
    shop.up("1.0", "1.1")
    killed = shop.proxy()
    shop.kill(killed)
    until("the engine starts it again", lambda: shop.proxy() != killed and _served(shop) == "1.1")
    seen = shop.status()
    assert (seen["release"]["phase"], seen["drift"], seen["active"]["version"]) == ("HOLDING", None, "1.1")
    shop.bleen("rollback")
    assert shop.serves() == "1.0"


def test_a_proxy_that_is_killed_in_the_switch_comes_back_and_the_switch_is_made(shop: Shop) -> None:
    """ "What serves production is asked of the data plane, never read from our own records" """
    shop.up("1.0").configure(promotion={"mode": "auto", "steps": [{"share": 50, "bake": "1s"}, {"share": 100}]})
    deploy = shop.start("deploy", shop.ship("1.1"))
    shop.reached("BAKING")
    with shop.fenced():
        shop.reached("PROMOTING")
        shop.kill(shop.proxy())
    deploy.ended(0)
    assert shop.serves() == "1.1"
    assert shop.status()["router"]["shares"] == {"green-2": 100}


def test_a_proxy_that_is_stopped_is_waited_for_and_then_the_switch_is_made(shop: Shop) -> None:
    """ "Ports raise four kinds: `Unavailable` (NotYet with back-off, until the phase's deadline)" """
    shop.up("1.0").configure(promotion={"mode": "manual"})
    shop.bleen("deploy", shop.ship("1.1"), code=7)
    proxy = shop.proxy()
    proxy.signal(signal.SIGSTOP)
    promote = shop.start("promote")
    until("the command is obeyed", lambda: shop.release.approved)
    assert "does not answer" in str(shop.status()["drift"])
    proxy.signal(signal.SIGCONT)
    promote.ended(0)
    assert shop.serves() == "1.1"


def test_a_rollback_waits_for_a_proxy_that_is_stopped(shop: Shop) -> None:
    """ "It returns once the old version is served" """
    shop.up("1.0", "1.1")
    proxy = shop.proxy()
    proxy.signal(signal.SIGSTOP)
    rollback = shop.start("rollback")
    shop.reached("ROLLING_BACK")
    assert rollback.running
    proxy.signal(signal.SIGCONT)
    rollback.ended(0)
    assert shop.serves() == "1.0"


def test_a_deploy_is_refused_while_the_router_does_not_answer(envoy: Shop) -> None:
    """ "2 usage, configuration or a refusal (drift, an address that is taken), nothing touched" """
    envoy.up("1.0")
    envoy.ship("1.1")
    proxy = envoy.proxy()
    proxy.signal(signal.SIGSTOP)
    assert "does not answer" in envoy.bleen("deploy", "1.1", code=2).err
    proxy.signal(signal.SIGCONT)
    assert envoy.release.id.number == 1


def test_a_router_without_its_socket_is_told_and_after_a_restart_it_is_as_before(shop: Shop) -> None:
    """ "router socket gone or hanging" """
    shop.up("1.0", "1.1")
    path = shop.place.router / {"envoy": "envoy/admin.sock", "haproxy": "haproxy.sock"}[shop.router]
    path.unlink()
    assert shop.status()["router"]["answers"] is False
    assert "the router does not answer" in shop.bleen("doctor", code=1).out
    assert shop.serves() == "1.1"  # users do not feel it
    rollback = shop.start("rollback")
    shop.reached("ROLLING_BACK")
    shop.kill(shop.proxy())
    rollback.ended(0)
    assert shop.serves() == "1.0"


def test_drift_is_shown_refused_by_deploy_and_no_obstacle_for_a_rollback(shop: Shop) -> None:
    """ "`status` shows it, `deploy` refuses on it, `rollback` goes ahead." """
    shop.up("1.0", "1.1")
    _by_hand(shop, Routing({shop.release.plan.old: 100} if shop.release.plan.old else {}))
    assert shop.serves() == "1.0"
    assert "the router says 100 % to blue-1, we last confirmed 100 % to green-2" in shop.status()["drift"]
    assert "DRIFT" in shop.bleen("status").out
    assert "neither did nor intends" in shop.bleen("deploy", shop.ship("1.2"), "--end-window", code=2).err
    assert shop.reached("HOLDING").id.number == 2
    shop.bleen("rollback")
    assert shop.serves() == "1.0"
    shop.reached("ROLLED_BACK")
    assert shop.status()["drift"] is None


def test_what_the_router_names_is_never_stopped_whatever_we_believed(shop: Shop) -> None:
    """ "What the router names is never stopped." """
    shop.up("1.0", "1.1")
    _by_hand(shop, Routing({shop.release.plan.old: 100} if shop.release.plan.old else {}))
    assert "halted in RETIRING: the router sends traffic to blue-1" in shop.bleen("retire", code=5).err
    assert shop.copies("1.0")
    assert shop.serves() == "1.0"
    shop.bleen("close")
    seen = shop.status()
    assert (seen["active"]["version"], seen["drift"]) == ("1.0", None)


def test_a_listen_address_that_somebody_else_holds_is_refused_and_named(envoy: Shop) -> None:
    """ "A listen address held by somebody else [...]: refused, and named, with what runs behind it." """
    for address in (envoy.listen, envoy.preview):
        host, _, port = address.rpartition(":")
        with socket.create_server((host, int(port))):
            said = envoy.bleen("up", code=2).err
            assert f"{address} is held by pid {os.getpid()} (" in said
            assert "python" in said
    assert not envoy.place.journal.exists()
    assert not envoy.processes()


def test_a_living_router_without_its_journal_is_refused_and_named(shop: Shop) -> None:
    """ "or a living router of ours without its journal: refused, and named, with what runs behind it." """
    shop.up("1.0")
    shop.kill(shop.engine())
    proxy = shop.proxy()
    for file in shop.place.path.glob("journal.db*"):
        file.unlink()
    said = shop.bleen("up", code=2).err
    assert f"held by pid {proxy.pid} (" in said
    assert "app.py --port" in said
    assert shop.serves() == "1.0"


def test_another_address_is_refused_by_deploy_and_made_by_up_apply(shop: Shop) -> None:
    """ "The router's kind and addresses do not: a change there is refused by `deploy`; `up --apply` makes it, and says first what it cuts." """
    shop.up("1.0", "1.1")
    was = shop.listen
    other = {"envoy": "haproxy", "haproxy": "envoy"}[shop.router]
    with socket.create_server(("127.0.0.1", 0)) as probe:
        shop.listen = f"127.0.0.1:{probe.getsockname()[1]}"
    shop.configure(router={other: {"listen": shop.listen, "preview": shop.preview}})
    assert "`bleen up --apply`" in shop.bleen("deploy", shop.ship("1.2"), code=2).err
    assert "`bleen up --apply`" in shop.bleen("up", code=2).err
    assert _served(shop) == ""
    said = shop.bleen("up", "--apply").out
    assert f"connections to {was} are cut now" in said
    assert shop.serves() == "1.1"
    shop.bleen("rollback")
    assert shop.serves() == "1.0"
    assert [line for line in _proxies(shop) if shop.router == line] == []


def _served(shop: Shop) -> str:
    try:
        return shop.serves()
    except Problem:
        return ""


def _proxies(shop: Shop) -> list[str]:
    """The proxies of the service that run; what ends while we look is none."""
    programs = (command_line(each.pid).partition(" ")[0] for each in shop.processes())
    return sorted(Path(program).name for program in programs if Path(program).name in ROUTERS)


def _by_hand(shop: Shop, routing: Routing) -> None:
    """Somebody moves production with the router's own means, past bleen."""
    from bleen import wiring

    place = Place(shop.service, shop.state)
    service = shop.journal.service(shop.service)
    router = wiring.build(place, service, shop.release).router
    targets = router.routing().targets
    router.route(routing._replace(targets={e: targets[e] for e in routing.shares}), service.epoch)
