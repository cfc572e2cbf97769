"""Nights that went wrong: what people do to a service beside releasing it, and in the wrong moment."""

import signal
import socket
from pathlib import Path

import pytest

from bleen.testing.proxies import self_signed
from bleen.testing.site import free_address, until
from shop import BEHIND_ENVOY, ROUTERS, Shop


def test_a_kind_of_router_that_served_some_releases_ago_comes_back_with_the_routing_of_now(either: Shop) -> None:
    """ "The router's kind and addresses do not: a change there is refused by `deploy`; `up --apply` makes it" """
    either.up("1.0")
    addresses = either.settings["router"][either.router]
    for kind, version in ((next(r for r in ROUTERS if r != either.router), "1.1"), (either.router, "1.2")):
        either.configure(router={kind: addresses})
        served = either.serves()
        either.bleen("up", "--apply")
        assert either.serves() == served
        assert either.status()["drift"] is None
        either.bleen("deploy", either.ship(version), "--end-window")
        assert either.serves() == version


@pytest.mark.parametrize("watched", [True, False])
def test_what_was_taken_down_stays_down_although_a_deploy_follows_its_release(shop: Shop, watched: bool) -> None:
    """ "`down` ends production: it asks, or wants `--yes`." """
    shop.up("1.0").configure(bake="1h")
    if not watched:
        shop.kill(shop.engine())
    deploy = shop.start("deploy", shop.ship("1.1"))
    shop.reached("BAKING")
    shop.bleen("down", "--yes")
    assert "`bleen up`" in deploy.ended(5).err
    assert shop.processes() == []
    assert "`bleen up`" in shop.bleen("wait", code=5).err
    assert shop.processes() == []
    shop.bleen("up")
    assert shop.serves() == "1.1"
    shop.bleen("rollback")
    assert shop.serves() == "1.0"


@pytest.mark.parametrize("fault", ["certificate", "curve", "address"])
@BEHIND_ENVOY
def test_settings_with_which_no_router_could_listen_are_refused_before_the_listener_is_closed(shop: Shop, fault: str) -> None:
    """ "2 usage, configuration or a refusal (drift, an address that is taken), nothing touched" """
    shop.up("1.0")
    only_openssl_takes_it = "".join(Path(each).read_text() for each in self_signed(shop.root / "tls", "secp256k1").values())
    (shop.root / "broken.pem").write_text(only_openssl_takes_it if fault == "curve" else "this is no certificate")
    unusable = {"listen": f"192.0.2.1:{shop.listen.rpartition(':')[2]}"} if fault == "address" else {"tls": {"certificate": "broken.pem", "key": "broken.pem"}}
    shop.configure(router={shop.router: {**shop.settings["router"][shop.router], **unusable}})
    proxy = shop.proxy()
    with shop.load() as users:
        users.wait(10)
        refused = shop.bleen("up", "--apply", code=2).err
        users.wait(10)
    looked = shop.bleen("doctor", code=0 if fault == "address" else 1).out
    assert ("broken.pem" in refused, "broken.pem" in looked) == (fault != "address",) * 2
    assert not users.report().failures, users.report()
    assert proxy.alive
    assert shop.engine().alive


@BEHIND_ENVOY
def test_where_nothing_listens_a_change_of_the_router_cuts_nothing_and_is_made_only_after_down(shop: Shop) -> None:
    """ "after `down`, `up` alone makes it; after a reboot `up` starts what was there, and says what `--apply` would change." """
    shop.bleen("up")
    shop.bleen("down", "--yes")
    was, shop.listen = shop.listen, free_address()
    shop.configure(router={"haproxy": {"listen": shop.listen, "preview": shop.preview}})
    assert "have changed (kind: envoy -> haproxy" in (refused := shop.bleen("deploy", shop.ship("1.0"), code=2).err)
    assert "`bleen up` makes that change" in refused
    host, _, port = was.rpartition(":")
    with socket.create_server((host, int(port))):  # somebody else by now, of whom nothing is cut
        said = shop.bleen("up").out
    assert "nothing is cut" in said
    assert "are cut now" not in said
    shop.router, moved = "haproxy", free_address()
    shop.configure(router={"haproxy": {"listen": moved, "preview": shop.preview}})
    assert "which cuts every connection" in shop.bleen("up", code=2).err
    shop.kill(shop.engine())
    shop.kill(shop.proxy())
    said = shop.bleen("up").text
    assert f"shop comes up with the settings that it had (listen: {shop.listen} -> {moved}); `bleen up --apply` makes that change" in said
    assert shop.serves() == "503"


def test_the_listener_moves_although_a_deploy_drives_and_the_release_goes_on(shop: Shop) -> None:
    """ "The router's kind and addresses do not: a change there is refused by `deploy`; `up --apply` makes it" """
    shop.up("1.0", bake="4s")
    shop.kill(shop.engine())
    deploy = shop.start("deploy", shop.ship("1.1"))
    shop.reached("BAKING")
    moved = free_address()
    shop.configure(router={shop.router: {"listen": moved, "preview": shop.preview}})
    shop.bleen("up", "--apply")
    shop.listen = moved
    assert shop.serves() == "1.1"
    deploy.ended(0)
    assert shop.status()["engine"]["watches"]


def test_a_release_that_was_taken_down_in_its_smoke_tests_takes_them_again(shop: Shop) -> None:
    """`bleen up` starts what was running, and goes on with a release that was under way."""
    shop.up("1.0")
    shop.smoke({"name": "slowly", "url": "/sleep?s=1.5"})
    deploy = shop.start("deploy", shop.ship("1.1"))
    shop.reached("TESTING")
    until("the check is under way", lambda: shop.release.memo)
    shop.bleen("down", "--yes")
    deploy.ended()
    shop.bleen("up")
    assert shop.reached("HOLDING", "ABORTED").phase == "HOLDING"
    assert shop.serves() == "1.1"


def test_a_deploy_that_had_to_end_a_stopped_engine_leaves_another_one_watching(shop: Shop) -> None:
    """ "one on this host that has not answered [...] is killed [...] and succeeded (who kills a resident engine starts another)" """
    shop.up("1.0")
    stopped = shop.engine()
    stopped.signal(signal.SIGSTOP)
    said = shop.bleen("deploy", shop.ship("1.1"))
    assert not stopped.alive
    assert "nobody watches the hold" not in said.out
    assert shop.status()["engine"]["watches"]


def test_everywhere_includes_both_families_of_addresses(either: Shop) -> None:
    """ "Equal behaviour whichever it is" """
    port = int(either.listen.rpartition(":")[2])
    either.up(router={either.router: {"listen": f"[::]:{port}", "preview": either.preview}})
    for host in ("127.0.0.1", "::1"):
        with socket.create_connection((host, port), timeout=5):
            pass
