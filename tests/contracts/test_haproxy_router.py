"""HAProxy keeps the router contract; and what is HAProxy's own."""

import os
import re
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from bleen.errors import Refused, Unavailable
from bleen.model import Environment, NotYet, Routing, Target
from bleen.plan import Listener, Probe
from bleen.ports import Router
from bleen.providers.routers.haproxy import HAProxy
from bleen.providers.routers.haproxy_config import BACKUP, BERTHS, Server, Settings, Way, read_map, read_servers, render, render_map
from bleen.testing.load import Client
from bleen.testing.proxies import ProxyContract
from bleen.testing.routers import BLUE, GREEN, LATER, Fleet, Make, settled
from bleen.testing.site import Application, Site, done, until


class TestHAProxy(ProxyContract):
    def build(self, site: Site) -> Router:
        return HAProxy(site.place, site.fence, site.reserve, site.listener, site.asked)

    def say(self, site: Site, *commands: str) -> str:
        """Somebody else at the stats socket."""
        assert isinstance(site.router, HAProxy)
        return site.router._runtime.ask(commands)

    def server(self, site: Site, environment: Environment, number: int = 0) -> str:
        """Berth and name of one of its servers that take traffic."""
        rows = [line.split() for line in self.say(site, "show servers state").splitlines() if f" {environment}:" in line]
        names = sorted(f"{row[1]}/{row[3]}" for row in rows if not row[1].endswith(BACKUP))
        return names[number]

    def meddle(self, site: Site, routing: Routing) -> None:
        """By the socket, past the files."""
        (environment,) = routing.serving
        self.say(site, f"set map routes.map production {self.server(site, environment).partition('/')[0]}:100:none")

    def confuse(self, site: Site, fleet: Fleet) -> None:
        self.say(site, f"set map routes.map production {self.server(site, GREEN).partition('/')[0]}:100")  # without its last word HAProxy serves it, too

    def test_a_server_taken_out_by_hand_is_drift_and_preparing_puts_it_back(self, live: Site, fleet: Fleet) -> None:
        """Drift is a routing that equals neither the last one confirmed nor the one intended."""
        for change in ("state maint", "state drain", "weight 50%", "addr 127.0.0.1 port 9"):
            server = self.server(live, BLUE)
            self.say(live, f"set server {server} {change}")
            seen = live.router.routing()
            assert server.partition("/")[2] in seen.strange
            assert seen.reaches_beyond(fleet.routing({BLUE: 100})) == change.startswith("addr"), "who is led elsewhere would lose whom they have"
            assert not seen.same_production(fleet.routing({BLUE: 100}))
            live.prepare(fleet.routing({BLUE: 100}))
            assert settled(live.router.routing()) == settled(fleet.routing({BLUE: 100})), change

    def test_a_server_taken_out_by_hand_is_not_forgotten_by_who_names_it(self, live: Site, fleet: Fleet) -> None:
        """Undoes `prepare`: environments that `wanted.targets` does not name are forgotten, and nothing else."""
        server = self.server(live, BLUE)
        self.say(live, f"set server {server} state maint")
        live.router.settle(fleet.routing({BLUE: 100}), 1)
        assert server in {f"{row[1]}/{row[3]}" for row in map(str.split, self.say(live, "show servers state").splitlines()) if len(row) > 18}
        live.prepare(fleet.routing({BLUE: 100}))
        assert settled(live.router.routing()) == settled(fleet.routing({BLUE: 100}))

    def test_a_stranger_in_a_berth_is_drift_and_a_route_puts_it_out(self, live: Site, fleet: Fleet) -> None:
        """`rollback` goes ahead with drift in the router."""
        berth = self.server(live, BLUE).partition("/")[0]
        for name in (f"{berth}/stranger", f"{berth}/x:y"):
            self.say(live, f"add server {name} {fleet.green[0].target}", f"set server {name} state ready")
            assert name in live.router.routing().unknown
        known = live.router.routing()
        self.say(live, f"add server berth8/maintenance {fleet.green[0].target}", "set server berth8/maintenance state ready")
        assert live.router.routing() == known, "nobody is led there"
        live.route(fleet.routing({BLUE: 100}))
        assert settled(live.router.routing()) == settled(fleet.routing({BLUE: 100}))
        assert {live.get()[1] for _ in range(20)} == {"blue"}

    def test_a_preview_that_was_shut_down_for_good_is_in_the_way_of_no_route(self, live: Site, fleet: Fleet) -> None:
        """From PROMOTING to HOLDING it always works: [...] with drift in the router."""
        self.say(live, "shutdown frontend preview")
        assert "the preview listener was shut down by hand, for good" in live.router.routing().beside
        live.route(fleet.routing({GREEN: 100}))
        assert live.get()[1] == "green"
        self.say(live, "shutdown frontend production")
        live.router.route(fleet.routing({BLUE: 100}), 1)
        with pytest.raises(Refused, match="`bleen up --apply` starts it anew"):
            live.router.served(fleet.routing({BLUE: 100}), 0.0)

    @pytest.mark.parametrize("way", ["berth8:100:none", "berth99:100:none", "x", "berth1:100"])
    def test_a_way_that_is_not_ours_is_drift_and_a_route_sets_it_right(self, live: Site, fleet: Fleet, way: str) -> None:
        self.say(live, f"set map routes.map production {way}")
        seen = live.router.routing()
        assert way.partition(":")[0] in seen.unknown
        assert seen.shares == {}
        assert isinstance(live.router.served(fleet.routing({BLUE: 100}), 1.0), NotYet)
        live.route(fleet.routing({BLUE: 100}))
        assert live.router.routing().unknown == ""

    def in_flight(self, live: Site, fleet: Fleet) -> Client:
        """A request that is on its way to green, by the preview."""
        before = sum(each.facts()["busy"] for each in fleet.green)
        live.prepare(fleet.routing({}, GREEN))
        client = Client(live.preview)
        client.begin("GET", "/sleep?s=1")
        until("the request has arrived", lambda: sum(each.facts()["busy"] for each in fleet.green) > before)
        return client

    def test_an_environment_with_a_request_in_flight_is_forgotten_at_once_and_deleted_later(self, live: Site, fleet: Fleet) -> None:
        """A switch cuts nothing."""
        client = self.in_flight(live, fleet)
        only_blue = fleet.routing({BLUE: 100}, know=(BLUE,))
        live.router.settle(only_blue, 1)
        assert settled(live.router.routing()) == settled(only_blue)
        assert isinstance(live.router.drained(GREEN, 0.0), NotYet)
        assert live.router.traffic()[GREEN].open == 1
        with pytest.raises(Refused):
            live.router.route(fleet.routing({GREEN: 100}), 1)
        live.prepare(Routing({BLUE: 100}, LATER, fleet.targets(LATER)))
        assert live.get(preview=True)[1] == "later"
        assert client.finish()[:1] == (200,)
        live.drained(fleet.routing({BLUE: 100}))

        def deleted() -> bool:  # once HAProxy has closed the connection that the request leaves behind
            live.router.settle(only_blue, 1)
            return str(GREEN) not in self.say(live, "show servers state")

        until("green is deleted", deleted)
        assert set(live.router.traffic()) == {BLUE}

    def test_an_environment_that_was_leaving_can_come_back(self, live: Site, fleet: Fleet) -> None:
        client = self.in_flight(live, fleet)
        live.router.settle(fleet.routing({BLUE: 100}, know=(BLUE,)), 1)
        live.prepare(fleet.routing({BLUE: 100}))
        live.route(fleet.routing({GREEN: 100}))
        assert settled(live.router.routing()) == settled(fleet.routing({GREEN: 100}))
        assert {live.get()[1] for _ in range(20)} == {"green"}
        assert client.finish()[:1] == (200,)

    def test_an_idle_environment_has_the_targets_last_named_and_an_active_one_loses_none(self, live: Site, fleet: Fleet) -> None:
        fewer = {e: targets[:1] for e, targets in fleet.targets(BLUE, GREEN).items()}
        live.prepare(Routing({BLUE: 100}, None, fewer))
        assert settled(live.router.routing()) == settled(Routing({BLUE: 100}, None, {**fewer, **fleet.targets(BLUE)}))
        live.router.settle(Routing({BLUE: 100}, None, fewer), 1)
        assert settled(live.router.routing()) == settled(Routing({BLUE: 100}, None, fewer))
        live.prepare(fleet.routing({BLUE: 100}))
        assert settled(live.router.routing()) == settled(fleet.routing({BLUE: 100}))

    def test_there_is_room_for_an_environment_in_each_berth_and_one_more_waits(self, live: Site, fleet: Fleet) -> None:
        many = {Environment("green", n): fleet.targets(GREEN)[GREEN] for n in range(10, 10 + len(BERTHS) - 2)}
        live.prepare(Routing({BLUE: 100}, None, many))
        with pytest.raises(Unavailable, match="no room"):
            live.router.prepare(Routing({BLUE: 100}, None, fleet.targets(LATER)), 1)
        live.router.settle(fleet.routing({BLUE: 100}), 1)
        live.prepare(Routing({BLUE: 100}, None, fleet.targets(LATER)))

    def test_a_proxy_that_an_earlier_bleen_started_has_the_first_eight_berths_only(self, live: Site, fleet: Fleet) -> None:
        self.say(live, *[f"del map routes.map {berth}" for berth in BERTHS[8:]])
        live.probe = live.probe._replace(patience=3.0)
        live.prepare(Routing({BLUE: 100}, LATER, fleet.targets(BLUE, LATER)))
        assert self.server(live, LATER).partition("/")[0] in BERTHS[:8]
        assert live.get(preview=True)[1] == "later"

    def test_a_request_that_never_ends_keeps_down_waiting_for_a_few_seconds_only(self, live: Site, fleet: Fleet) -> None:
        before = sum(each.facts()["busy"] for each in fleet.blue)
        client = Client(live.listen)
        client.begin("GET", "/sleep?s=60")
        until("the request has arrived", lambda: sum(each.facts()["busy"] for each in fleet.blue) > before)
        assert isinstance(live.router.down(1), NotYet)
        done(lambda: live.again().down(1), 10)
        assert live.processes() == []
        client.close()

    def test_a_proxy_that_hangs_is_ended_all_the_same(self, live: Site) -> None:
        live.signal(signal.SIGSTOP)
        done(lambda: live.router.down(1), 10)
        assert live.processes() == []

    def test_up_after_a_down_that_was_broken_off_serves_again(self, live: Site, fleet: Fleet) -> None:
        client = Client(live.listen)
        client.begin("GET", "/sleep?s=60")
        live.router.down(1)
        live.up()
        assert len(live.processes()) == 1
        assert settled(live.router.routing()) == settled(fleet.routing({BLUE: 100}))
        client.close()

    def test_the_socket_is_for_its_owner_only_and_its_directory_may_have_a_long_path(self, make: Make, tmp_path: Path) -> None:
        site = make()
        long = tmp_path / ("long" * 40) / "router"
        long.mkdir(parents=True)
        site.place = long
        site.router = site.again()
        site.up()
        assert os.stat(f"{long}/haproxy.sock").st_mode & 0o077 == 0
        assert settled(site.router.routing()) == settled(Routing())

    def test_the_key_of_a_certificate_is_kept_in_one_file_that_is_for_its_owner_only(self, make: Make, certificate: Mapping[str, str]) -> None:
        site = make(tls=certificate)
        site.up()
        secret = Path(certificate["key"]).read_text().splitlines()[1]
        held = [path for path in site.place.rglob("*") if path.is_file() and secret in path.read_text(errors="replace")]
        assert [(path.name, path.stat().st_mode & 0o777) for path in held] == [("certificate.pem", 0o600)]

    def test_a_mark_of_the_certificate_that_cannot_be_read_has_it_given_once_more(self, make: Make, certificate: Mapping[str, str]) -> None:
        site = make(tls=certificate)
        site.up()
        taken = (mark := site.place / "certificate.taken").read_text()
        mark.write_bytes(b"\xff")
        site.up()
        assert mark.read_text() == taken

    @pytest.mark.parametrize("name", ["haproxy.cfg", "routes.map"])
    def test_a_file_that_is_damaged_is_no_memory(self, live: Site, fleet: Fleet, name: str) -> None:
        journalled = [fleet.routing({GREEN: 100}), fleet.routing({BLUE: 100})]
        for number, damage in enumerate(_DAMAGES[name]):
            self.kill(live)
            (live.place / name).write_text(damage((live.place / name).read_text()))
            live.up(journalled[number % 2])
            assert settled(live.router.routing()) == settled(journalled[number % 2]), number

    def test_a_map_that_a_hand_has_led_elsewhere_is_what_it_starts_with(self, live: Site, fleet: Fleet) -> None:
        live.prepare(fleet.routing({}, GREEN))
        there = (live.place / "routes.map").read_text()
        before, after = (self.server(live, each).partition("/")[0] for each in (BLUE, GREEN))
        self.kill(live)
        (live.place / "routes.map").write_text(there.replace(f"production {before}:", f"production {after}:"))
        live.up(fleet.routing({BLUE: 100}))
        assert live.get()[1] == "green"

    @pytest.mark.parametrize("name", ["haproxy.cfg", "routes.map"])
    def test_a_file_that_cannot_be_read_keeps_nobody_from_the_way_back_and_is_written_again(self, live: Site, fleet: Fleet, name: str) -> None:
        """From PROMOTING to HOLDING it always works."""
        sound = (live.place / name).read_text()
        (live.place / name).write_bytes(b"\xff")
        live.prepare(fleet.routing({GREEN: 100}))
        live.route(fleet.routing({GREEN: 100}))
        (live.place / name).write_bytes(b"\xff")
        live.prepare(fleet.routing({BLUE: 100}))
        live.route(fleet.routing({BLUE: 100}))
        live.settle(fleet.routing({BLUE: 100}, know=(BLUE, GREEN)))
        assert live.get()[1] == "blue"
        assert (live.place / name).read_text() == sound

    @pytest.mark.parametrize("note", [b"\xff", b"x"])
    def test_a_note_of_its_ending_that_nobody_of_us_wrote_says_nothing(self, live: Site, fleet: Fleet, note: bytes) -> None:
        (live.place / "ending").write_bytes(note)
        live.up()
        assert live.get()[1] == "blue"
        done(lambda: live.router.down(1))
        assert live.processes() == []

    @pytest.mark.parametrize("name", ["haproxy.cfg", "routes.map", "haproxy.json"])
    def test_a_directory_in_place_of_a_file_is_said_with_the_way_out(self, live: Site, fleet: Fleet, name: str) -> None:
        self.kill(live)
        (live.place / name).unlink()
        (live.place / name).mkdir()
        with pytest.raises(Unavailable, match=f"/{name} cannot be (read|written): Is a directory; remove it"):
            live.router.up(fleet.routing({BLUE: 100}), 1)
        with pytest.raises(Unavailable):
            live.router.routing()
        (live.place / name).rmdir()
        live.up(fleet.routing({BLUE: 100}))
        assert live.get()[1] == "blue"

    def test_a_directory_in_place_of_the_note_of_its_ending_says_nothing(self, live: Site, fleet: Fleet) -> None:
        self.kill(live)
        (live.place / "ending").mkdir()
        live.up(fleet.routing({BLUE: 100}))
        assert live.get()[1] == "blue"
        with pytest.raises(Unavailable, match="/ending cannot be written: Is a directory; remove it"):
            live.router.down(1)

    def test_a_host_name_is_refused_as_a_target(self, live: Site, fleet: Fleet) -> None:
        with pytest.raises(Refused, match="localhost"):
            live.router.prepare(Routing({BLUE: 100}, None, {GREEN: (Target("localhost", fleet.green[0].target.port),)}), 1)
        assert settled(live.router.routing()) == settled(fleet.routing({BLUE: 100}))

    def test_a_new_target_is_sent_to_before_its_first_check(self, make: Make, fleet: Fleet) -> None:
        site = make(probe=Probe("/health", interval=60.0))
        site.up()
        for number in range(20):
            new = Environment("blue", number)
            wanted = Routing({new: 100}, None, {new: fleet.targets(BLUE)[BLUE]})
            site.prepare(wanted)
            site.route(wanted)
            assert site.get()[:2] == (200, "blue")
            site.router.settle(wanted, 1)

    @pytest.mark.parametrize("why", ["x;y\\z'\"%20#", "<<", "\\<<"])
    def test_each_environment_is_checked_as_its_own_release_says(self, live: Site, fleet: Fleet, why: str) -> None:
        """Command, variables, directory and replicas belong to a release."""
        live.router.settle(fleet.routing({BLUE: 100}, know=(BLUE,)), 1)
        live.probe = live.probe._replace(path=f"/status?code=500&why={why}")
        live.router = live.again()
        live.prepare(fleet.routing({BLUE: 100}, GREEN))
        for _ in range(2):
            assert f" {live.probe.path}\n" in self.say(live, "show map routes.map")
            until("green is found unwell", lambda: self.well(live, GREEN) == {False})
            assert self.well(live, BLUE) == {True}
            live.signal(signal.SIGKILL)
            live.up()

    def well(self, site: Site, environment: Environment) -> set[bool]:
        """What the checks say of its targets."""
        rows = [line.split() for line in self.say(site, "show servers state").splitlines() if f" {environment}:" in line]
        return {row[5] == "2" for row in rows if not row[1].endswith(BACKUP)}

    def test_a_map_that_somebody_has_emptied_is_drift_and_is_filled_again(self, live: Site, fleet: Fleet) -> None:
        self.say(live, "clear map routes.map")
        assert "None" in live.router.routing().unknown
        live.prepare(fleet.routing({BLUE: 100}))
        live.route(fleet.routing({BLUE: 100}))
        assert settled(live.router.routing()) == settled(fleet.routing({BLUE: 100}))
        assert live.get()[1] == "blue"
        until("it is found well", lambda: self.well(live, BLUE) == {True})

    def test_a_target_that_comes_back_is_used_again_without_anybody_asking(self, live: Site, fleet: Fleet) -> None:
        with Application("alone") as first:
            wanted = Routing({GREEN: 100}, None, {GREEN: (first.target,)})
            live.prepare(wanted)
            live.route(wanted)
            assert live.get()[1] == "alone"
        until("nobody is there", lambda: live.get()[0] == 503)
        with Application("alone", port=first.target.port):
            until("it serves again", lambda: live.get()[:2] == (200, "alone"))


def test_haproxy_has_no_complaint_about_any_path_or_address(tmp_path: Path) -> None:
    """Bad input is data: no shell, no way out of a word of the configuration."""

    def asking(path: str) -> Callable[[Environment], Probe]:
        return lambda _: Probe(path, interval=0.0001, patience=1.5, fall=1)

    for path in ("/", "/it's", '/a"b', "/#x", "/a\\b", "/%[env(HOME)]", "/$HOME", "/${HOME}", "/a?b=c&d=%20"):
        servers = [Server("berth2", GREEN, Target("::1", 80)), Server("berth1", BLUE, Target("127.0.0.1", 81))]
        for keep_alive in (None, 0.0, 75.0):
            settings = Settings(Listener("127.0.0.1:18080", "[::1]:18081", keep_alive=keep_alive), asking(path))
            text = render(settings, servers)
            (tmp_path / "haproxy.cfg").write_text(text)
            entries = {"production": str(Way("berth1", 90, "berth2")), "preview": str(Way())}
            (tmp_path / "routes.map").write_text(render_map(settings, servers, entries))
            assert read_map((tmp_path / "routes.map").read_text()) == {**dict.fromkeys(BERTHS, "/"), **entries, "berth1": path, "berth2": path}
            found = subprocess.run(["haproxy", "-c", "-f", "haproxy.cfg"], cwd=tmp_path, capture_output=True, text=True, check=False, env=_PATH)
            assert (found.returncode, "WARNING" in found.stderr) == (0, False), found.stderr
            assert sorted(read_servers(text)) == sorted(servers)
    for path in ("/a b", "/a\nb", "/é", "", "/a\0"):
        with pytest.raises(Refused):
            render_map(Settings(Listener("x", "y"), asking(path)), servers, {})
        with pytest.raises(Refused):
            render(Settings(Listener(path, "y"), asking("/")), [])


def test_a_way_is_read_as_it_was_written() -> None:
    for way in (Way(), Way("berth1"), Way("berth1", 90, "berth8"), Way("berth3", 0, "berth2")):
        assert Way.parse(str(way)) == way
    assert Way("berth3", 0, "berth2").shares == {"berth2": 100}
    for text in ("", "x", "berth1:101:none", "berth1:-1:none", "berth1:100", "berth99:100:none", "a:b:c:d"):
        with pytest.raises(ValueError, match=r"."):
            Way.parse(text)


_SERVER = "    server "
_DAMAGES: Mapping[str, Sequence[Callable[[str], str]]] = {
    "haproxy.cfg": (
        lambda text: "",
        lambda text: "\0" * len(text),
        lambda text: text[: text.index(_SERVER, text.index(_SERVER) + 1)],
        lambda text: text[: text.index(" check") - 1],
        lambda text: text.replace(_SERVER, f"{_SERVER}mine:"),
        lambda text: re.sub(rf"({_SERVER}\S+) .*", r"\1", text),
    ),
    "routes.map": (
        lambda text: "",
        lambda text: "\0" * len(text),
        lambda text: text[:-2],
        lambda text: text[: len(text) // 2],
        lambda text: text.replace("production", "product"),
        lambda text: re.sub(r"production \S+", "production berth9:100:none", text),
        lambda text: text.replace("/health", "/he\0\0\0\0"),
    ),
}
"""What a disk, or a hand, does to the text of a file."""
_PATH = {"PATH": f"{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin:/sbin"}
