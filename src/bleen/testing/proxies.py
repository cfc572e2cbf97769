"""What every router must do with real requests: ``ProxyContract``, on top of ``RouterContract``."""

import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from bleen.errors import Refused, Unavailable
from bleen.host import files, logs, processes
from bleen.model import Environment, NotYet, Routing
from bleen.plan import Probe
from bleen.testing.load import Client, Load, Problem, Report
from bleen.testing.routers import BLUE, GREEN, LATER, Fleet, Make, RouterContract
from bleen.testing.site import QUICK, Application, Recital, Site, WebSocket, done, until


class Moment(NamedTuple):
    """All requests that started after one moment and ended before the other are for one environment."""

    environment: Environment
    after: float
    before: float


class Hammered(NamedTuple):
    report: Report
    moments: list[Moment]


class Patience:
    """A request, a stream, an upload's answer and an idle WebSocket that began on blue, and last."""

    def __init__(self, site: Site, seconds: float) -> None:
        self._timeout = seconds + 20
        self.request = self._begin(site, f"/sleep?s={seconds}")
        self.stream = self._begin(site, f"/stream?s={seconds}&every=0.5")
        self.socket = WebSocket(site.listen, self._timeout)

    def _begin(self, site: Site, path: str) -> Client:
        client = Client(site.listen, self._timeout)
        client.begin("GET", path)
        return client

    def close(self) -> None:
        for each in (self.request, self.stream, self.socket):
            each.close()


Seen = Mapping[str, str | None]
"""Headers that the application is to see, in lower case; None for those that it is not."""

CHUNKS = "3\r\nabc\r\n0\r\n"
RARE: Mapping[str, tuple[str, str, str, Seen]] = {
    "a method of its own": ("RECOUNT /headers", "", "", {}),
    "an offer of h2c": ("GET /headers", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n", "", {"upgrade": None}),
    "an offer of anything": ("POST /headers", "Connection: Upgrade\r\nUpgrade: websockets/2\r\nContent-Length: 3\r\n", "abc", {"upgrade": None}),
    "a length beside chunks": ("POST /headers", "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", f"{CHUNKS}\r\n", {"content-length": None}),
    "a trailer": ("POST /headers", "Transfer-Encoding: chunked\r\n", f"{CHUNKS}X-Checksum: 7\r\n\r\n", {"x-checksum": "7"}),
    "a whole URL": ("GET http://shop.example/headers", "", "", {"host": "shop.example"}),
    "a question whether to send": ("POST /headers", "Expect: 100-continue\r\nContent-Length: 3\r\n", "abc", {"expect": "100-continue"}),
}
"""Request line, headers, the rest, and what arrives: what HTTP allows (RFC 9110, RFC 9112) and a proxy is tempted to refuse or to take away."""


def _seen(body: bytes) -> list[tuple[str, str]]:
    """The headers that the application saw, names in lower case."""
    return [(name.lower(), value) for name, value in json.loads(body)["headers"]]


class ProxyContract(RouterContract):
    """The data plane: what users feel. ``switches`` and ``seconds`` may be raised by who has more time."""

    switches = 24
    seconds = 60.0
    """How long the long request lasts; past 15, the default after which Envoy cuts one. It costs little: the other tests of the class run meanwhile."""

    @pytest.fixture(scope="class")
    @classmethod
    def hammered(cls, fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hammered]:
        """Blue and green in turn, under clients that do not rest."""
        suite, moments = cls(), []
        with suite.sites(tmp_path_factory.mktemp("hammered")) as make:
            site = suite.started(make(), fleet)
            with Load(site.listen) as load:
                load.wait(100)
                for number in range(cls.switches):
                    environment = (GREEN, BLUE)[number % 2]
                    site.route(fleet.routing({environment: 100}))
                    served = load.now()
                    load.wait(60)
                    moments.append(Moment(environment, served, load.now()))
            yield Hammered(load.report(), moments)

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def patience(cls, fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Patience]:
        """Begun before the first test of the class, looked at by the last of these."""
        suite = cls()
        with suite.sites(tmp_path_factory.mktemp("patience")) as make:
            site = suite.started(make(), fleet)
            patience = Patience(site, cls.seconds)
            until("all three have reached blue", lambda: sum(each.facts()["busy"] for each in fleet.blue) >= 3)
            for environment in (GREEN, BLUE, GREEN):
                site.route(fleet.routing({environment: 100}))
            yield patience
            patience.close()

    def test_no_request_fails_while_clients_hammer_the_switch(self, hammered: Hammered) -> None:
        """No request fails while clients hammer the switch: keep-alive and new-connection clients, POST included, client retries off."""
        assert not hammered.report.failures, str(hammered.report)
        assert set(hammered.report.kinds()) == {"get", "get-new", "post", "post-new"}

    def test_once_a_switch_is_served_no_new_request_is_answered_by_the_old_environment(self, hammered: Hammered) -> None:
        """A switch is when requests are answered by the new environment."""
        for moment in hammered.moments:
            assert set(hammered.report.who(moment.after, moment.before)) == {moment.environment.name}

    def test_whole_releases_fail_no_request(self, live: Site, fleet: Fleet) -> None:
        """Preparing, switching, draining and forgetting, with environments that come and go."""
        applications = {"blue": fleet.blue, "green": fleet.green}
        was = fleet.routing({BLUE: 100}, know=(BLUE,))
        live.settle(was)
        with Load(live.listen) as load:
            for number in range(5, 11):
                new = Environment(("blue", "green")[number % 2], number)
                targets = {new: tuple(each.target for each in applications[new.name])}
                both = Routing({new: 100}, new, {**was.targets, **targets})
                live.prepare(both)
                live.route(both)
                served = load.now()
                load.wait(40)
                assert set(load.report().who(after=served)) == {new.name}
                live.drained(both)
                was = Routing({new: 100}, None, targets)
                live.settle(was)
                until("the old environment is forgotten", lambda new=new: set(live.router.routing().targets) == {new})  # type: ignore[misc]
                load.wait(40)
        assert not load.report().failures, str(load.report())

    def test_a_switch_closes_no_connection_of_a_client(self, live: Site, fleet: Fleet) -> None:
        client = Client(live.listen)
        for environment in (BLUE, GREEN, BLUE, GREEN):
            live.route(fleet.routing({environment: 100}))
            status, fields, _ = client.ask("GET", "/")
            assert (status, fields["x-served-by"]) == (200, environment.name)
            assert "connection" not in fields
        client.close()

    def test_large_bodies_pass_whole(self, live: Site) -> None:
        body = os.urandom(1 << 20) * 8
        client = Client(live.listen, timeout=60.0)
        for _ in range(2):
            status, fields, answered = client.ask("POST", "/echo", body)
            assert (status, fields["x-length"]) == (200, str(len(body)))
            assert answered == body
        client.close()

    def test_a_large_head_passes_whole(self, live: Site) -> None:
        """Equal behaviour whichever it is: a head of 48 kB, such as tokens and cookies come to."""
        cookie = "c" * 12_000
        status, _, body = live.get("/headers", "".join(f"X-Cookie-{number}: {cookie}\r\n" for number in range(4)))
        assert status == 200
        assert [value for name, value in _seen(body) if name.startswith("x-cookie-")] == [cookie] * 4

    @pytest.mark.parametrize(("request_line", "fields", "rest", "is_seen"), RARE.values(), ids=RARE)
    def test_what_is_rare_and_lawful_reaches_the_application(self, live: Site, request_line: str, fields: str, rest: str, is_seen: Seen) -> None:
        """Equal behaviour whichever it is."""
        host, _, port = live.listen.rpartition(":")
        with socket.create_connection((host, int(port)), 10) as client:
            client.sendall(f"{request_line} HTTP/1.1\r\nHost: shop.example\r\n{fields}\r\n{rest}".encode())
            answer = http.client.HTTPResponse(client)
            answer.begin()
            assert answer.status == 200
            seen = json.loads(answer.read())
        assert (seen["method"], seen["path"]) == (request_line.split()[0], "/headers")
        names = {name.lower(): value for name, value in seen["headers"]}
        assert {name: names.get(name) for name in is_seen} == is_seen

    def test_production_answers_503_when_nobody_is_to_serve(self, make: Make, fleet: Fleet) -> None:
        site = make()
        site.up()
        assert site.get() == (503, "", b"no version is active\n")
        site.prepare(fleet.routing({BLUE: 100}, BLUE))
        assert site.get()[:2] == (503, "")
        site.route(fleet.routing({BLUE: 100}))
        assert site.get()[:2] == (200, "blue")
        site.route(fleet.routing({}))
        assert site.get()[:2] == (503, "")

    def test_the_preview_leads_to_the_idle_environment_or_answers_503(self, live: Site, fleet: Fleet) -> None:
        """The preview leads to this release's idle environment or answers 503, never to the active one."""
        assert live.get(preview=True) == (503, "", b"no release is being previewed\n")
        live.prepare(fleet.routing({BLUE: 100}, GREEN))
        until("the preview answers", lambda: live.get(preview=True)[:2] == (200, "green"))
        assert live.get()[:2] == (200, "blue")
        live.prepare(fleet.routing({BLUE: 100}))
        until("the preview is closed", lambda: live.get(preview=True)[:2] == (503, ""))
        live.prepare(fleet.routing({BLUE: 100}, GREEN))
        live.settle(fleet.routing({BLUE: 100}, know=(BLUE,)))
        until("the preview is closed", lambda: live.get(preview=True)[:2] == (503, ""))
        assert live.get()[:2] == (200, "blue")

    def test_the_preview_of_a_dead_environment_never_falls_through_to_the_active_one(self, live: Site, fleet: Fleet) -> None:
        with Application("dead") as dead:
            wanted = Routing({BLUE: 100}, GREEN, {**fleet.targets(BLUE), GREEN: (dead.target,)})
            live.prepare(wanted)
            until("the preview answers", lambda: live.get(preview=True)[:2] == (200, "dead"))
            looks = dead.facts()["looks"]
            dead.ask("/be?health=fail")
            until("the proxy has seen it", lambda: dead.facts()["looks"] > looks + 4)
            assert live.get(preview=True)[1] in ("", "dead")
        answers = [live.get(preview=True)[:2] for _ in range(10)]
        assert set(answers[1:]) == {(503, "")}
        assert answers[0] in ((503, ""), (502, ""))  # 502 on a connection whose end the proxy has not seen yet
        assert live.get()[:2] == (200, "blue")

    def test_a_later_release_of_a_name_is_never_answered_by_an_earlier_one(self, live: Site, fleet: Fleet) -> None:
        """Retiring the blue of release 4 can never touch the blue of release 6."""
        live.route(fleet.routing({GREEN: 100}))
        wanted = Routing({GREEN: 100}, LATER, fleet.targets(GREEN, LATER))
        live.prepare(wanted)
        until("the preview answers", lambda: live.get(preview=True)[0] == 200)
        assert {live.get(preview=True)[1] for _ in range(20)} == {"later"}
        live.route(wanted._replace(shares={LATER: 100}))
        assert {live.get()[1] for _ in range(20)} == {"later"}

    def test_a_share_of_ten_percent_is_about_ten_percent(self, live: Site, fleet: Fleet) -> None:
        live.route(fleet.routing({BLUE: 90, GREEN: 10}))
        since = Load.now()
        with Load(live.listen) as load:
            load.wait(2000)
        assert not load.report().failures, str(load.report())
        who = load.report().who(after=since)
        assert 0.06 < who["green"] / who.total() < 0.14, who

    def test_a_target_that_is_unwell_gets_no_requests(self, live: Site, fleet: Fleet) -> None:
        fleet.blue[0].ask("/be?health=fail")
        try:
            until("only the other one answers", lambda: {live.get()[2] for _ in range(10)} == {b"blue 2\n"})
        finally:
            fleet.blue[0].ask("/be?health=ok")
        until("both answer again", lambda: {live.get()[2] for _ in range(10)} == {b"blue 1\n", b"blue 2\n"})

    def test_targets_that_fall_ill_together_get_no_requests_either(self, live: Site, fleet: Fleet) -> None:
        ill = fleet.blue
        wanted = Routing({GREEN: 100}, None, {GREEN: tuple(each.target for each in (*ill, *fleet.later))})
        live.prepare(wanted)
        live.route(wanted)
        until("all are found well", lambda: len({live.get()[2] for _ in range(12)}) == 3)
        looks = [each.facts()["looks"] for each in ill]
        try:
            for each in ill:
                each.ask("/be?health=fail")
            until("the proxy has seen it", lambda: all(each.facts()["looks"] > seen + 10 for each, seen in zip(ill, looks, strict=True)))
            assert {live.get()[1] for _ in range(20)} == {"later"}
        finally:
            for each in ill:
                each.ask("/be?health=ok")

    def test_when_every_target_is_unwell_the_proxy_goes_on_trying(self, live: Site, fleet: Fleet) -> None:
        """If every target of the active environment fails its checks, the proxy goes on trying them; the engine decides, not the proxy."""
        looks = [each.facts()["looks"] for each in fleet.blue]
        for each in fleet.blue:
            each.ask("/be?health=fail")
        try:
            until("the proxy has seen it", lambda: all(each.facts()["looks"] > seen + 40 for each, seen in zip(fleet.blue, looks, strict=True)))
            assert {live.get()[:2] for _ in range(20)} == {(200, "blue")}
        finally:
            for each in fleet.blue:
                each.ask("/be?health=ok")

    def test_a_proxy_that_starts_anew_asks_each_environment_as_was_right_for_it(self, make: Make, fleet: Fleet) -> None:
        """Each environment is asked as was right when it was started."""
        ill, well = fleet.green
        name = well.ask("/")
        ill.ask("/be?health=fail")
        try:
            site = make(probe=QUICK._replace(path="/"))
            site.probes[GREEN] = QUICK
            for _ in range(2):
                site.up(fleet.routing({GREEN: 100}))
                until("only the copy that is well, as its own release asks, is sent to", lambda: {site.get()[2] for _ in range(6)} == {name})
                self.kill(site)
                self.forget(site)
        finally:
            ill.ask("/be?health=ok")

    def test_a_check_may_take_as_long_as_its_own_release_says_whenever_the_proxy_was_started(self, make: Make, fleet: Fleet) -> None:
        """Each environment is asked as was right when it was started."""
        site = make(probe=QUICK._replace(patience=5.0))
        site.up()
        site.probes = {BLUE: QUICK._replace(patience=0.2), GREEN: QUICK}
        with Recital(b"HTTP/1.1 200 OK\r\nContent-Length: 80\r\nConnection: close\r\n\r\n", *[b"x"] * 80) as slow:  # 5 ms for each
            both = (fleet.blue[0].target, slow.target)
            wanted = Routing({BLUE: 100}, GREEN, {BLUE: both, GREEN: both})
            site.prepare(wanted)
            site.route(wanted)
            for _ in range(2):
                until("what answers later than its release allows is not sent to", lambda: {site.get()[1] for _ in range(6)} == {"blue"})
                looks = len(slow.ends)
                until("both have looked at it more often than they may fail", lambda looks=looks: len(slow.ends) > looks + 8)  # type: ignore[misc]
                assert {site.get(preview=True)[1] for _ in range(6)} == {"blue", "recital"}
                self.kill(site)
                site.up()

    @pytest.mark.parametrize(
        "pieces",
        [
            (b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\n", b"one", b"two"),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n", b"3\r\none\r\n", b"3\r\ntwo\r\n", b"0\r\n\r\n"),
            (b"HTTP/1.0 200 OK\r\n\r\n", b"one", b"two"),
            (b"HTTP/1.1 204 No Content\r\n", b"Connection: close\r\n\r\n"),
            (b"HTTP/1.1 302 Found\r\nLocation: /\r\n", b"Content-Length: 0\r\nConnection: close\r\n\r\n"),
        ],
        ids=["length", "chunked", "until-it-closes", "no-content", "redirect"],
    )
    def test_a_health_check_takes_the_whole_answer_and_resets_no_connection(self, live: Site, fleet: Fleet, pieces: tuple[bytes, ...]) -> None:
        """A health check takes the whole answer, and the application sees no reset."""
        with Recital(*pieces) as healthy:
            self.alone_is_found_well(live, fleet, healthy)
            seen = len(healthy.ends)
            until("it was looked at", lambda: len(healthy.ends) > seen + 10)
            assert set(healthy.ends) == {""}

    def test_a_health_answer_of_a_megabyte_is_one(self, live: Site, fleet: Fleet) -> None:
        with Recital(b"HTTP/1.1 200 OK\r\nContent-Length: 1048576\r\nConnection: close\r\n\r\n", *[bytes(65536)] * 16) as healthy:
            self.alone_is_found_well(live, fleet, healthy)

    def test_an_application_that_does_not_close_sees_no_reset_either_and_is_sent_to(self, make: Make) -> None:
        """A health check takes the whole answer, and the application sees no reset. HAProxy gives such a check up, and goes on trying."""
        with Recital(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n", b"onetwo", closes=False) as staying:
            site = make(probe=QUICK._replace(patience=0.2))
            site.up()
            wanted = Routing({GREEN: 100}, None, {GREEN: (staying.target,)})
            site.prepare(wanted)
            site.route(wanted)
            until("it was looked at", lambda: len(staying.ends) > 5)
            assert set(staying.ends) == {""}
            assert {site.get()[:2] for _ in range(5)} == {(200, "recital")}

    def alone_is_found_well(self, site: Site, fleet: Fleet, healthy: Recital) -> None:
        """Gets all requests, beside a target that is ill; two that are ill would share them."""
        ill = fleet.green[0]
        ill.ask("/be?health=fail")
        try:
            wanted = Routing({GREEN: 100}, None, {GREEN: (ill.target, healthy.target)})
            site.prepare(wanted)
            site.route(wanted)
            looks = ill.facts()["looks"]
            until("the proxy has seen both", lambda: ill.facts()["looks"] > looks + 10 and len(healthy.ends) > 10)
            assert {site.get()[1] for _ in range(10)} == {"recital"}
        finally:
            ill.ask("/be?health=ok")

    def test_the_application_learns_who_asks_and_how(self, live: Site) -> None:
        """X-Forwarded-For and -Proto are set."""
        for headers, expected in (("", "127.0.0.1"), ("X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: gopher\r\n", "192.0.2.7,127.0.0.1")):
            seen = _seen(live.get("/headers", headers)[2])
            assert ",".join(v.replace(" ", "") for n, v in seen if n == "x-forwarded-for") == expected
            assert [v for n, v in seen if n == "x-forwarded-proto"] == ["http"]

    @pytest.mark.parametrize("preview", [False, True], ids=["production", "preview"])
    @pytest.mark.parametrize(
        "trusted",
        [
            ["192.0.2.0/24", "127.0.0.0/8", "127.0.0.1/32", "127.0.0.0/8"],
            ["0.0.0.0/0", "10.0.0.0/8", "0.0.0.0/0", "fc00::/7"],
            ["192.0.2.0/24", "fc00::/7"],
        ],
        ids=["trusted", "everybody", "a stranger"],
    )
    def test_whether_users_came_by_tls_is_believed_of_a_proxy_in_front_that_is_trusted(
        self, make: Make, fleet: Fleet, trusted: list[str], preview: bool
    ) -> None:
        """X-Forwarded-Proto from `trusted` addresses is kept. Equal behaviour whichever it is."""
        site = make(trusted=trusted)
        self.started(site, fleet)
        site.prepare(fleet.routing({BLUE: 100}, GREEN))
        told = {"x-forwarded-proto": "https", "x-forwarded-host": "shop.example", "x-forwarded-port": "443"}
        believed = "https" if {"127.0.0.0/8", "0.0.0.0/0"} & set(trusted) else "http"
        seen = _seen(site.get("/headers", "X-Forwarded-For: 9.9.9.9\r\n" + "".join(f"{n}: {v}\r\n" for n, v in told.items()), preview)[2])
        assert sorted((n, v) for n, v in seen if n in told) == sorted((told | {"x-forwarded-proto": believed}).items())
        assert ",".join(v.replace(" ", "") for n, v in seen if n == "x-forwarded-for") == "9.9.9.9,127.0.0.1"
        assert [v for n, v in _seen(site.get("/headers", preview=preview)[2]) if n == "x-forwarded-proto"] == ["http"]

    def test_a_killed_proxy_that_is_started_again_serves_as_before(self, live: Site, fleet: Fleet) -> None:
        live.prepare(fleet.routing({}, BLUE))
        live.route(fleet.routing({GREEN: 100}))
        self.kill(live)
        with pytest.raises(Problem):
            live.get()
        live.up()
        assert {live.get()[:2] for _ in range(20)} == {(200, "green")}
        assert live.get(preview=True)[:2] == (200, "blue")

    def test_an_address_that_a_process_which_ends_still_holds_is_waited_for(self, make: Make) -> None:
        """A process that was killed is a zombie for a while before its last thread has closed its sockets: nobody can be seen to hold them."""
        script = (
            "import ctypes, socket, sys, threading\nheld = socket.create_server((sys.argv[1], int(sys.argv[2])))\n"
            "threading.Thread(target=threading.Event().wait).start()\nctypes.CDLL(None).pthread_exit(None)"
        )
        site = make()
        with subprocess.Popen([sys.executable, "-c", script, *site.listen.split(":")]) as ending:
            until("it is a zombie that listens", lambda: processes.listening(int(site.listen.rpartition(":")[2])) and processes.find(ending.pid) is None)
            later = threading.Timer(1.5, ending.kill)
            later.start()
            try:
                site.up()
            finally:
                later.join()
        assert site.get()[:2] == (503, "")

    def test_what_a_proxy_writes_is_bounded_while_it_runs(self, live: Site) -> None:
        (log,) = live.place.glob("*.log")
        with log.open("ab") as written:
            written.write(b"a line of many\n" * (1 << 20))
            written.write(b"the last line\n")
        live.up()
        assert log.stat().st_size == 0
        assert logs.tail(log, 1) == ["the last line"]
        assert sum(each.stat().st_size for each in live.place.glob("*.log*")) < 10 << 20
        assert self.copies(live) == 1

    def test_down_leaves_nobody_listening(self, live: Site) -> None:
        self.down(live)
        for preview in (False, True):
            with pytest.raises(Problem, match="refused"):
                live.get(preview=preview)

    def down(self, site: Site) -> None:
        until("it is down", lambda: site.router.down(1) is None)

    @pytest.mark.parametrize("path", ["/sleep?s=2", "/stream?s=60", "/ws"])
    @pytest.mark.parametrize("preview", [False, True], ids=["production", "preview"])
    def test_an_environment_is_not_drained_before_its_last_request(self, live: Site, fleet: Fleet, path: str, preview: bool) -> None:
        """Targets leave the router, requests in flight and open streams get `drain: 30s`."""
        busy, idle = (GREEN, BLUE) if preview else (BLUE, GREEN)
        live.prepare(fleet.routing({}, GREEN if preview else None))
        address = live.preview if preview else live.listen
        before = sum(each.facts()["busy"] for each in self.of(fleet, busy))
        if path == "/ws":
            client: Client | WebSocket = WebSocket(address)
        else:
            client = Client(address)
            client.begin("GET", path)
        until("the request has arrived", lambda: sum(each.facts()["busy"] for each in self.of(fleet, busy)) > before)
        live.prepare(fleet.routing({}))
        live.route(fleet.routing({idle: 100}) if not preview else fleet.routing({BLUE: 100}))
        for elapsed in (0.1, 0.2, 0.3):
            assert isinstance(live.router.drained(busy, elapsed), NotYet)
        assert live.router.traffic()[busy].open == 1
        if isinstance(client, Client) and "sleep" in path:
            assert client.finish()[0] == 200
        client.close()
        live.drained(fleet.routing({idle: 100}))
        assert live.router.traffic()[busy].open == 0

    def of(self, fleet: Fleet, environment: Environment) -> list[Application]:
        return fleet.blue if environment == BLUE else fleet.green

    def test_requests_and_errors_are_counted_for_each_environment(self, live: Site, fleet: Fleet) -> None:
        was = live.router.traffic()
        for _ in range(10):
            live.get()
        for _ in range(3):
            assert live.get("/status?code=500")[:2] == (500, "blue")
        assert live.get("/status?code=404")[:2] == (404, "blue")
        until("all are counted", lambda: live.router.traffic()[BLUE].requests >= was[BLUE].requests + 14)
        now = live.router.traffic()
        assert now[BLUE].requests - was[BLUE].requests == 14
        assert now[BLUE].errors - was[BLUE].errors == 3
        assert now[GREEN] == was[GREEN]

    def test_a_target_that_refuses_connections_costs_no_request(self, make: Make, fleet: Fleet) -> None:
        """A request is sent again only if it provably never reached the application: this one did not."""
        site = make(probe=Probe("/health", interval=30.0, patience=1.0, fall=3))
        with Application("blue") as second:
            wanted = Routing({BLUE: 100}, None, {BLUE: (fleet.blue[0].target, second.target)})
            site.up()
            site.prepare(wanted)
            site.route(wanted)
            until("both answer", lambda: {site.get()[2] for _ in range(10)} == {b"blue 1\n", b"blue \n"})
        with Load(site.listen) as load:
            load.wait(200)
        assert not load.report().failures, str(load.report())

    @pytest.mark.parametrize("copies", [1, 3])
    def test_an_environment_whose_targets_all_refuse_keeps_nobody_waiting(self, live: Site, fleet: Fleet, copies: int) -> None:
        """The proxy goes on trying them: it does not pause in between for as long as it takes to start one."""
        with ExitStack() as stack:
            gone = [stack.enter_context(Application("gone")).target for _ in range(copies)]
            wanted = Routing({GREEN: 100}, BLUE, {**fleet.targets(BLUE), GREEN: tuple(gone)})
            live.prepare(wanted)
            live.route(wanted)
        until("nobody is there", lambda: live.get()[0] == 503)
        other = Client(live.preview)
        other.begin("GET", "/sleep?s=2.5")
        until("it has arrived", lambda: live.router.traffic()[BLUE].open == 1)
        assert live.get()[0] == 503
        assert live.router.traffic()[BLUE].open == 1
        assert other.finish()[0] == 200

    @pytest.mark.parametrize("method", ["POST", "GET"])
    def test_a_request_that_reached_the_application_is_never_sent_again(self, live: Site, fleet: Fleet, method: str) -> None:
        """A request is sent again only if it provably never reached the application."""
        client = Client(live.listen)
        for number in range(10):
            id = f"{method}-{number}-{os.getpid()}-{time.monotonic()}"
            client.ask("GET", "/")  # so that there is a connection to the application to be reused
            try:
                status, fields, _ = client.ask(method, f"/cut?id={id}", b"once" if method == "POST" else b"")
            except Problem:
                status, fields = 502, {}
            assert status in (502, 503)
            assert "x-served-by" not in fields
            assert sum(int(each.ask(f"/seen?id={id}")) for each in fleet.blue) == 1

    @pytest.mark.parametrize("was", [1.0, 60.0], ids=["from-the-beginning", "once-that-was-corrected"])
    def test_an_idle_connection_is_closed_before_the_application_would(self, make: Make, was: float) -> None:
        """Idle upstream connections are closed before the application's keep-alive would."""
        keep_alive = 1.0
        site = make(keep_alive=was)
        with Application("blue", "--keep-alive", str(keep_alive)) as application:
            wanted = Routing({BLUE: 100}, None, {BLUE: (application.target,)})
            site.up()
            site.prepare(wanted)
            site.route(wanted)
            if was != keep_alive:
                done(lambda: site.router.down(1))
                site.listener = site.listener._replace(keep_alive=keep_alive)
                site.router = site.again()
                site.up()
            with Load(site.listen, clients=16, mix=("get", "post")) as load:
                load.wait(200)
            ended = time.monotonic()
            with Load(site.listen, clients=8, mix=("get", "post"), pause=keep_alive * 0.99) as load:
                while time.monotonic() < ended + 3 * keep_alive:
                    assert application.facts()["by_us"] == 0, "the application closed a connection that the proxy held idle"
                    time.sleep(0.05)
            assert not load.report().failures, str(load.report())

    def test_tls_is_spoken_where_it_is_asked_for(self, make: Make, fleet: Fleet, certificate: Mapping[str, str]) -> None:
        """`tls: {certificate, key}` for the listener."""
        site = make(tls=certificate)
        self.started(site, fleet)
        status, who, body = site.get("/headers")
        assert (status, who) == (200, "blue")
        assert [value for name, value in _seen(body) if name == "x-forwarded-proto"] == ["https"]
        self.kill(site)
        site.up()
        assert site.get()[:2] == (200, "blue")

    @pytest.fixture(scope="class")
    @classmethod
    def certificate(cls, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
        return self_signed(tmp_path_factory.mktemp("certificate"))

    def test_a_certificate_that_cannot_be_used_is_refused_before_anything_starts(self, make: Make, certificate: Mapping[str, str], tmp_path: Path) -> None:
        locked = tmp_path / "locked.pem"
        argv = ["openssl", "ec", "-in", certificate["key"], "-out", str(locked), "-aes128", "-passout", "pass:secret"]
        subprocess.run(argv, check=True, capture_output=True)
        other = tmp_path / "rsa.pem"
        subprocess.run(["openssl", "genrsa", "-out", str(other), "2048"], check=True, capture_output=True)
        others = "the key is not this certificate's"
        said = {"/nowhere/key.pem": "", self_signed(tmp_path)["key"]: others, str(other): others, str(locked): "the key has a passphrase"}
        for key, why in said.items():
            site = make(tls={**certificate, "key": key})
            with pytest.raises(Refused, match=f"the certificate .*{key}.*{why}"):
                site.up()
            assert self.copies(site) == 0

    @pytest.mark.parametrize("how", ["written over", "renamed", "linked"])
    def test_a_renewed_certificate_is_shown_without_a_restart_or_a_cut(self, make: Make, fleet: Fleet, tmp_path: Path, how: str) -> None:
        """`tls: {certificate, key}` for the listener. Equal behaviour whichever it is."""
        names = {which: str(tmp_path / f"{which}.pem") for which in ("certificate", "key")}
        site = make(tls=names)
        for number in range(3):
            made = self_signed(tmp_path / f"made{number}")
            issued = Path(made["certificate"]).read_text()
            Path(made["certificate"]).write_text(f"Issued for the shop:\n\n{issued}\n\n")
            for which in ("key", "certificate"):
                put(Path(made[which]), Path(names[which]), how)
            if number == 0:
                self.started(site, fleet)
                client = Client(site.listen, trust=names["certificate"])
                client.begin("GET", "/stream?s=3&every=0.1")
            done(lambda: site.router.up(Routing(), 1))
            assert shown(site) == issued
            assert site.get()[:2] == (200, "blue")
        assert client.finish()[2].endswith(b"end")
        assert self.copies(site) == 1

    def test_a_proxy_that_does_not_run_while_its_address_or_its_launch_is_held_is_told_with_the_holder(self, make: Make) -> None:
        site, me = make(), rf"by pid {os.getpid()} \(.*\)"
        with self.held(site, site.listen.replace("127.0.0.1", "127.0.0.2")), pytest.raises(Unavailable, match=r"[:;] `bleen up` starts it$"):
            site.router.routing()  # whoever has the port at another address is in nobody's way
        envoy, haproxy = (files.locked(site.place / f"{each}.lock", 5, "") for each in ("envoy", "haproxy"))
        with envoy, haproxy, pytest.raises(Unavailable, match=rf"its launch is under way \(.*\.lock is locked {me}\)$"):
            site.router.routing()
        for address in (site.listen, site.preview):
            with self.held(site, address), pytest.raises(Unavailable, match=rf"{address} is held {me}: stop that, then `bleen up` starts it$"):
                site.router.routing()

    def test_a_certificate_that_cannot_be_used_is_refused_and_the_old_one_is_shown_after_a_restart_too(self, make: Make, fleet: Fleet, tmp_path: Path) -> None:
        old, new = self_signed(tmp_path / "old"), self_signed(tmp_path / "new")
        before = Path(old["certificate"]).read_text()
        site = make(tls=old)
        self.started(site, fleet)
        for which, text in (("certificate", Path(new["certificate"]).read_text()), ("certificate", ""), ("certificate", before[:-100]), ("key", "")):
            kept = Path(old[which]).read_text()
            Path(old[which]).write_text(text)
            for _ in range(2):
                with pytest.raises(Refused, match=f"{old[which]}.*goes on with the certificate that it has"):
                    site.router.up(Routing(), 1)
                assert shown(site) == before
            Path(old[which]).write_text(kept)
            done(lambda: site.router.up(Routing(), 1))
        mark, kept_pem = (site.place / f"certificate.{suffix}" for suffix in ("taken", "pem"))

        def name_no_paths() -> None:
            mark.write_text("".join(mark.read_text().splitlines(keepends=True)[-2:]))

        name_no_paths()  # as a bleen left them that kept nothing
        kept_pem.unlink()
        kept_pem.symlink_to(old["certificate"])
        done(lambda: site.router.up(Routing(), 1))
        Path(old["key"]).unlink()
        with pytest.raises(Refused, match=old["key"]):
            site.router.up(Routing(), 1)
        name_no_paths()  # as one left it that kept a copy: what has gone wrong since must not make it nobody's
        self.kill(site)

        def goes_on() -> bool:
            try:
                return site.router.up(Routing(), 1) is None
            except Refused as refusal:
                return old["key"] in str(refusal) and "goes on with the certificate that it has" in str(refusal)

        until("it is back with the one that it had", goes_on)
        assert shown(site) == before
        assert site.get()[:2] == (200, "blue")
        put(Path(new["key"]), Path(old["key"]), "renamed")
        put(Path(new["certificate"]), Path(old["certificate"]), "renamed")
        done(lambda: site.router.up(Routing(), 1))
        assert shown(site) != before
        assert self.copies(site) == 1

    def test_a_proxy_that_hangs_for_a_while_loses_no_request(self, live: Site, fleet: Fleet) -> None:
        """And a route that was asked for meanwhile ends one way or the other, as a repetition then makes sure."""
        with Load(live.listen) as load:
            load.wait(50)
            live.signal(signal.SIGSTOP)
            threading.Timer(0.3, lambda: live.signal(signal.SIGCONT)).start()
            live.route(fleet.routing({GREEN: 100}))
            served = load.now()
            load.wait(50)
        assert not load.report().failures, str(load.report())
        assert set(load.report().who(after=served)) == {"green"}

    def test_a_long_request_a_stream_and_an_idle_websocket_live_through_three_switches(self, patience: Patience) -> None:
        """A switch cuts nothing. No time limit on a request unless configured (Envoy's default of 15 s cut a 20 s request), idle WebSockets live: 60 s."""
        assert patience.request.finish()[0] == 200
        status, fields, body = patience.stream.finish()
        assert (status, fields["x-served-by"]) == (200, "blue")
        assert body.endswith(b"end")
        assert patience.socket.served_by == "blue"
        assert patience.socket.echo(b"still there?") == b"still there?"


def self_signed(place: Path, curve: str = "prime256v1") -> dict[str, str]:
    """The paths of a certificate for localhost, signed by itself, and of its key; made by the openssl that is installed."""
    place.mkdir(exist_ok=True)
    files = {"certificate": str(place / "cert.pem"), "key": str(place / "key.pem")}
    argv = f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:{curve} -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    subprocess.run([*argv.split(), "-out", files["certificate"], "-keyout", files["key"]], check=True, capture_output=True)
    Path(files["key"]).chmod(0o600)
    return files


def put(new: Path, path: Path, how: str) -> None:
    """Puts a new file in the place of another, in one of the ways in which certificates are renewed."""
    beside = path.with_name("beside")
    if how == "written over":
        path.write_bytes(new.read_bytes())
    elif how == "renamed":
        beside.write_bytes(new.read_bytes())
        beside.rename(path)
    else:
        path.unlink(missing_ok=True)
        path.symlink_to(new)


def shown(site: Site) -> str:
    """The certificate that the production listener shows, PEM."""
    host, _, port = site.listen.rpartition(":")
    return ssl.get_server_certificate((host, int(port)), timeout=10)
