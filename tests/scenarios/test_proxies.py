"""Proxies that die, hang, lose their socket or are told something behind our back."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from bleen import wiring
from bleen.host import files
from bleen.host.processes import command_line
from bleen.model import Environment, Routing
from bleen.providers.routers import haproxy
from bleen.testing.load import Problem
from bleen.testing.site import until
from disks import mounted
from shop import BEHIND_ENVOY, ROUTERS, Shop


def test_a_proxy_that_is_killed_in_the_hold_comes_back_with_its_routing(either: Shop) -> None:
    """ "A restart or reload of the proxy keeps the routing." """
    either.up("1.0", "1.1")
    killed = either.proxy()
    either.kill(killed)
    until("the engine starts it again", lambda: either.proxy() != killed and _served(either) == "1.1")
    until("it is in the engine's log", lambda: "the router answers again" in either.bleen("logs", "engine").out)
    assert "the router does not answer: waits for " in either.bleen("logs", "engine").out
    seen = either.status()
    assert (seen["release"]["phase"], seen["drift"], seen["active"]["version"]) == ("HOLDING", None, "1.1")
    either.bleen("rollback")
    assert either.serves() == "1.0"


def test_a_proxy_that_is_killed_in_the_switch_comes_back_and_the_switch_is_made(either: Shop) -> None:
    """ "What serves production is asked of the data plane, never read from our own records" """
    either.up("1.0").configure(promotion={"mode": "auto", "steps": [{"share": 50, "bake": "1s"}, {"share": 100}]})
    deploy = either.start("deploy", either.ship("1.1"))
    either.reached("BAKING")
    with either.fenced():
        either.reached("PROMOTING")
        assert either.bleen("status").out.startswith("shop: 1.1 serves from green with 50 % of the traffic\n")
        either.kill(either.proxy())
    deploy.ended(0)
    assert either.serves() == "1.1"
    assert either.status()["router"]["shares"] == {"green-2": 100}


def test_a_proxy_that_is_stopped_is_waited_for_and_then_the_switch_is_made(either: Shop) -> None:
    """ "Ports raise four kinds: `Unavailable` (NotYet with back-off, until the phase's deadline)" """
    either.up("1.0").configure(promotion={"mode": "manual"})
    either.bleen("deploy", either.ship("1.1"), code=7)
    proxy = either.proxy()
    proxy.signal(signal.SIGSTOP)
    promote = either.start("promote")
    until("the command is obeyed", lambda: either.release.approved)
    assert "does not answer" in str(either.status()["drift"])
    proxy.signal(signal.SIGCONT)
    promote.ended(0)
    assert either.serves() == "1.1"


def test_a_rollback_waits_for_a_proxy_that_is_stopped(either: Shop) -> None:
    """ "It returns once the old version is served" """
    either.up("1.0", "1.1")
    proxy = either.proxy()
    proxy.signal(signal.SIGSTOP)
    rollback = either.start("rollback")
    either.reached("ROLLING_BACK")
    assert rollback.running
    proxy.signal(signal.SIGCONT)
    rollback.ended(0)
    assert either.serves() == "1.0"


def test_a_deploy_is_refused_while_the_router_does_not_answer(shop: Shop) -> None:
    """ "2 usage, configuration or a refusal (drift, an address that is taken), nothing touched" """
    shop.up("1.0")
    shop.ship("1.1")
    proxy = shop.proxy()
    proxy.signal(signal.SIGSTOP)
    assert "does not answer" in shop.bleen("deploy", "1.1", code=2).err
    proxy.signal(signal.SIGCONT)
    assert shop.release.id.number == 1


def test_a_router_without_its_socket_is_told_and_after_a_restart_it_is_as_before(either: Shop) -> None:
    """ "router socket gone or hanging" """
    either.up("1.0", "1.1")
    path = either.place.router / {"envoy": "envoy/admin.sock", "haproxy": "haproxy.sock"}[either.router]
    path.unlink()
    assert either.status()["router"]["answers"] is False
    assert "the router does not answer" in either.bleen("doctor", code=1).out
    assert either.serves() == "1.1"  # users do not feel it
    rollback = either.start("rollback")
    either.reached("ROLLING_BACK")
    either.kill(either.proxy())
    rollback.ended(0)
    assert either.serves() == "1.0"


def test_a_living_router_whose_files_are_gone_is_named_with_the_way_out_and_comes_back_as_it_was(either: Shop) -> None:
    """ "`status` shows [...] whether a rollback is ready" """
    either.up("1.0", "1.1")
    proxy = either.proxy()
    shutil.rmtree(either.place.router)
    either.place.router.mkdir(mode=0o700)
    until("it is not young any more", lambda: proxy.age > 2)
    seen = either.status()
    assert seen["rollback"] == {"ready": False, "to": "1.0", "reason": "the router does not answer"}
    assert f"`kill -9 {proxy.pid}` ends it" in seen["drift"]
    assert f"`kill -9 {proxy.pid}` ends it, then `bleen up` starts it" in either.bleen("up", code=2).err
    rollback = either.start("rollback")
    until("the way out is told", lambda: f"`kill -9 {proxy.pid}` ends it" in rollback.said.err)
    either.kill(proxy)
    rollback.ended(0)
    assert either.serves() == "1.0"


def test_a_router_that_is_dead_with_its_engine_is_the_first_thing_that_is_said(either: Shop) -> None:
    """ "exit 2, and why, if the router does not answer" """
    either.up("1.0", "1.1").bleen("rollback")
    either.reached("ROLLED_BACK")
    either.kill(either.engine())
    either.kill(either.proxy())

    def told() -> tuple[str, str]:
        headline, said = either.bleen("status").out.splitlines()[0], either.bleen("doctor", code=1).out
        assert headline.startswith(f"shop: NOBODY ANSWERS on {either.listen}, 1.0 should; the router does not answer: ")
        assert "drift" not in said
        return headline, next(line for line in said.splitlines() if f"nobody answers on {either.listen}" in line)

    with files.locked(either.place.router / f"{either.router}.lock", 5, ""):
        for line in told():
            assert f".lock is locked by pid {os.getpid()} (" in line
            assert "bleen up" not in line
    for line in told():
        assert line.endswith(" `bleen up` starts it")
    assert f"already on 1.0, but nobody answers on {either.listen}" in either.bleen("rollback", code=2).err
    either.bleen("up")
    assert either.bleen("status").out.startswith("shop: 1.0 serves from blue")
    assert either.bleen("rollback").out.startswith("already on 1.0")


def test_drift_is_shown_refused_by_deploy_and_no_obstacle_for_a_rollback(either: Shop) -> None:
    """ "`status` shows it, `deploy` refuses on it, `rollback` goes ahead." """
    either.up("1.0", "1.1")
    _by_hand(either, Routing({either.release.plan.old: 100} if either.release.plan.old else {}))
    until("every worker of the proxy has taken it up", lambda: either.serves() == "1.0")
    assert "the router says 100 % to blue-1, we last confirmed 100 % to green-2" in either.status()["drift"]
    assert "DRIFT: the router says 100 % to blue-1, we last confirmed 100 % to green-2; `bleen up --apply` undoes it\n" in either.bleen("status").out
    assert "neither did nor intends" in either.bleen("deploy", either.ship("1.2"), "--end-window", code=2).err
    assert either.reached("HOLDING").id.number == 2
    either.bleen("rollback")
    assert either.serves() == "1.0"
    either.reached("ROLLED_BACK")
    assert either.status()["drift"] is None
    _by_hand(either, Routing({}))
    said = "already on 1.0, but the router does something else (nothing is served): `bleen up --apply` undoes it"
    assert said in either.bleen("rollback", code=2).err
    either.bleen("up", "--apply")
    assert either.serves() == "1.0"


def test_drift_between_two_releases_is_undone_by_up_apply_and_by_nothing_less(either: Shop) -> None:
    """ "`status` shows it, `deploy` refuses" and names the way out; `up` does not say that all is well."""
    either.up("1.0", "1.1", after_window="keep")
    either.bleen("retire")
    either.reached("COMPLETED")
    with either.load() as load:
        _by_hand(either, Routing({Environment("blue", 1): 100}))
        until("every worker of the proxy has taken it up", lambda: either.serves() == "1.0")
        for words in (["deploy", either.ship("1.2")], ["up"]):
            assert "neither did nor intends (100 % to blue-1)" in (said := either.bleen(*words, code=2).err)
            assert "`bleen up --apply`" in said
        assert "it goes back to 100 % to green-2" in either.bleen("up", "--apply").out
        assert (either.serves(), either.status()["drift"]) == ("1.1", None)
        said = either.bleen("deploy", "1.2").out
        assert "note: 1.0 still runs as blue: it is stopped for 1.2, and not started again should that be aborted\n" in said
    assert not load.report().failures
    assert either.serves() == "1.2"


def test_drift_is_not_undone_towards_an_environment_that_is_not_well(shop: Shop) -> None:
    """ "Traffic goes back only to an environment that is healthy now." """
    shop.up("1.0", "1.1", after_window="keep")
    shop.bleen("retire")
    shop.reached("COMPLETED")
    _by_hand(shop, Routing({Environment("blue", 1): 100}))
    until("every worker of the proxy has taken it up", lambda: shop.serves() == "1.0")
    shop.tell("1.1", "fail")
    assert "green-2 is to get the traffic back, and is not well" in shop.bleen("up", "--apply", code=2).err
    assert shop.serves() == "1.0"


def test_a_server_of_haproxy_that_was_taken_out_by_hand_is_brought_back(tmp_path: Path) -> None:
    with Shop(tmp_path, "haproxy") as shop:
        shop.up("1.0")
        ask: Callable[[Sequence[str]], str] = _router(shop)._runtime.ask
        ours = next(line.split() for line in ask(["show servers state"]).splitlines() if "blue-1" in line)
        ask([f"set server {ours[1]}/{ours[3]} state maint"])
        assert "taken out of service" in shop.status()["drift"]
        shop.bleen("up", "--apply")
        assert (shop.serves(), shop.status()["drift"]) == ("1.0", None)


@pytest.mark.parametrize(("verb", "serves"), [(["rollback"], "1.0"), (["up", "--apply"], "1.1"), (["up", "--apply", "--to", "green"], "1.1")])
def test_a_listener_of_haproxy_that_was_shut_down_for_good_is_opened_again_by_who_wants_it(tmp_path: Path, verb: list[str], serves: str) -> None:
    """From PROMOTING to HOLDING it always works: `down` and `up`, which were named, gave everybody the bad version again."""
    with Shop(tmp_path, "haproxy") as shop:
        shop.up("1.0", "1.1")
        ask: Callable[[Sequence[str]], str] = _router(shop)._runtime.ask
        ask(["shutdown frontend production"])
        assert "the production listener was shut down by hand, for good" in shop.status()["drift"]
        shop.bleen("retire", code=2)
        if "--to" in verb:
            shop.bleen(*verb, code=2)
            verb = verb[:2]
        shop.bleen(*verb)
        assert (shop.serves(), shop.status()["drift"]) == (serves, None)


def test_drift_in_a_bake_is_undone_although_a_deploy_drives_and_the_release_goes_on(either: Shop) -> None:
    """Somebody moves the traffic away while a release is judged: the way out does not have to wait for it."""
    either.up("1.0", bake="3s")
    engine = either.engine()
    deploy = either.start("deploy", either.ship("1.1"))
    either.reached("BAKING")
    _by_hand(either, Routing({Environment("blue", 1): 100}))
    until("every worker of the proxy has taken it up", lambda: either.serves() == "1.0")
    either.bleen("up", "--apply")
    assert either.serves() == "1.1"
    deploy.ended(0)
    assert (either.engine(), either.release.phase) == (engine, "HOLDING")


def test_a_preview_that_leads_to_what_serves_is_drift_and_is_undone(either: Shop) -> None:
    """ "The preview leads to this release's idle environment or answers 503, never to the active one" """
    either.up("1.0")
    router = _router(either)
    routing = router.routing()
    router.prepare(routing._replace(preview=Environment("blue", 1)), either.journal.service(either.service).epoch)
    assert "the preview to blue-1, which serves" in either.status()["drift"]
    either.bleen("up", "--apply")
    assert (either.serves(preview=True), either.status()["drift"]) == ("503", None)


def test_a_listener_of_haproxy_that_was_closed_by_hand_is_seen_and_opened_again(tmp_path: Path) -> None:
    """ "Truth is in the router": what nobody can reach does not serve."""
    with Shop(tmp_path, "haproxy") as shop:
        shop.up("1.0")
        _router(shop)._runtime.ask(["disable frontend production"])
        assert "the production listener was closed by hand" in shop.status()["drift"]
        assert "closed by hand" in shop.bleen("deploy", shop.ship("1.1"), code=2).err
        assert "closed by hand" in shop.bleen("up", code=2).err
        shop.tell("1.0", "fail")  # nobody is taken away from anybody by it: what is not well serves all the same
        applied = shop.start("up", "--apply")
        until("it is open", lambda: shop.status()["drift"] is None)
        shop.tell("1.0", "recover")
        applied.ended(0)
        assert shop.serves() == "1.0"


def test_a_proxy_that_hangs_is_named_with_the_way_out(either: Shop) -> None:
    either.up("1.0")
    proxy = either.proxy()
    proxy.signal(signal.SIGSTOP)
    assert f"`kill -CONT {proxy.pid}` lets it go on" in either.status()["drift"]
    proxy.signal(signal.SIGCONT)
    until("it answers again", lambda: either.status()["drift"] is None)


def test_what_the_router_names_is_never_stopped_whatever_we_believed(either: Shop) -> None:
    """ "What the router names is never stopped." """
    either.up("1.0", "1.1")
    _by_hand(either, Routing({either.release.plan.old: 100} if either.release.plan.old else {}))
    said = either.bleen("retire", code=2).err
    assert said.startswith("the router sends traffic to 1.0: nothing was changed; `bleen up --apply` leads it back to 1.1, `bleen rollback` to 1.0")
    assert either.copies("1.0")
    assert either.serves() == "1.0"
    either.bleen("rollback")
    either.bleen("wait", code=4)
    assert not either.copies("1.1")
    assert either.serves() == "1.0"
    seen = either.status()
    assert (seen["active"]["version"], seen["drift"]) == ("1.0", None)


def test_a_listen_address_that_somebody_else_holds_is_refused_and_named(shop: Shop) -> None:
    """ "A listen address held by somebody else [...]: refused, and named, with what runs behind it." """
    for address in (shop.listen, shop.preview):
        host, _, port = address.rpartition(":")
        with socket.create_server((host, int(port))):
            said = shop.bleen("up", code=2).err
            assert f"{address} is held by pid {os.getpid()} (" in said
            assert "python" in said
    assert not shop.place.journal.exists()
    assert not shop.processes()


def test_a_living_router_without_its_journal_is_refused_and_named(either: Shop) -> None:
    """ "or a living router of ours without its journal: refused, and named, with what runs behind it." """
    either.up("1.0")
    either.kill(either.engine())
    proxy = either.proxy()
    for file in either.place.path.glob("journal.db*"):
        file.unlink()
    said = either.bleen("up", code=2).err
    assert f"held by pid {proxy.pid} (" in said
    assert "app.py --port" in said
    assert either.serves() == "1.0"


def test_a_router_of_another_state_is_named_with_its_state_and_nobody_is_told_to_end_it(shop: Shop, tmp_path: Path) -> None:
    """ "`BLEEN_STATE` moves the root": somebody who has forgotten it is told where the service is known."""
    shop.bleen("up")
    shop.environ = {**shop.environ, "BLEEN_STATE": str(tmp_path / "empty")}
    known = f"BLEEN_STATE={shop.state} bleen"
    for words in ("rollback", "rollback --service shop"):
        said = shop.bleen(*words.split(), code=2).err
        assert f"it is known under another BLEEN_STATE than {tmp_path}/empty: " in said
        assert f"`{known} {words}`" in said  # other tests have their shops, too
    assert f"comes before its first `deploy`; or it is known under another BLEEN_STATE than {tmp_path}/empty" in shop.bleen("plan", shop.ship("1.0")).out
    for verb, code in {"up": 2, "doctor": 1}.items():
        said = shop.bleen(verb, code=code).text
        assert f"{shop.listen} is held by pid {shop.proxy().pid} (" in said
        assert f"which serves shop of another state, {shop.state}" in said
        assert f"`{known} status --service shop` shows it" in said
        assert "end it" not in said
    assert "warn  shop is not up\n      it is known under another BLEEN_STATE" in said
    shop.environ["BLEEN_STATE"] = str(tmp_path / "link")
    (tmp_path / "link").symlink_to(shop.state)
    shop.bleen("up")


def test_another_address_is_refused_by_deploy_and_made_by_up_apply(either: Shop) -> None:
    """ "The router's kind and addresses do not: a change there is refused by `deploy`; `up --apply` makes it, and says first what it cuts." """
    either.up("1.0")
    either.configure(checks={"health": {**either.settings["checks"]["health"], "path": "/"}})
    either.bleen("deploy", either.ship("1.1"))
    was = either.listen
    other = {"envoy": "haproxy", "haproxy": "envoy"}[either.router]
    with socket.create_server(("127.0.0.1", 0)) as probe:
        either.listen = f"127.0.0.1:{probe.getsockname()[1]}"
    either.configure(router={other: {"listen": either.listen, "preview": either.preview}})
    assert "`bleen up --apply`" in either.bleen("deploy", either.ship("1.2"), code=2).err
    planned = either.bleen("plan", "1.2", code=2).out
    assert "from 1.1 (green) to 1.2 (blue)" in planned
    assert "note: `deploy` would be refused now (exit 2): the router's settings are not part of a release" in planned
    assert "`bleen up --apply`" in either.bleen("up", code=2).err
    assert _served(either) == ""
    said = either.bleen("up", "--apply").out
    assert f"connections to {was} are cut now" in said
    assert either.serves() == "1.1"
    memory = either.place.router / {"envoy": "envoy/clusters.json", "haproxy": "routes.map"}[other]
    assert "/health" in memory.read_text(), "the warm version is not asked as its own release says"
    either.bleen("rollback")
    assert either.serves() == "1.0"
    assert [line for line in _proxies(either) if either.router == line] == []


@BEHIND_ENVOY
def test_up_apply_to_a_proxy_that_is_not_installed_is_refused_and_touches_nothing(shop: Shop) -> None:
    """ "2 usage, configuration or a refusal (drift, an address that is taken), nothing touched" """
    shop.up("1.0", "1.1")
    was, running = shop.journal.service(shop.service), {*shop.processes()}
    shop.configure(router={"haproxy": {"listen": shop.listen, "preview": shop.preview}})
    program = haproxy.installed()
    assert program is not None, "the suites need haproxy"
    argv = mounted("--bind /dev/null", program, sys.executable, "-m", "bleen", "up", "--apply")
    done = subprocess.run(argv, cwd=shop.root, env=shop.environ, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "haproxy is not installed: apt-get install haproxy, or use envoy: in bleen.yaml; nothing was touched" in done.stderr
    assert (shop.journal.service(shop.service), {*shop.processes()}) == (was, running)
    assert shop.serves() == "1.1"
    shop.bleen("rollback")
    assert shop.serves() == "1.0"


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
    router = _router(shop)
    targets = router.routing().targets
    router.route(routing._replace(targets={e: targets[e] for e in routing.shares}), shop.journal.service(shop.service).epoch)


def _router(shop: Shop) -> Any:
    return wiring.build(shop.place, shop.journal.service(shop.service), shop.release).router
