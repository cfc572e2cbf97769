"""Envoy keeps the router contract; and what holds of Envoy alone."""

import json
from pathlib import Path

import pytest

from bleen.errors import Refused, Unavailable
from bleen.model import Environment, Routing
from bleen.plan import Probe
from bleen.ports import Router
from bleen.providers.routers import certificate as certificates
from bleen.providers.routers import envoy, envoy_config
from bleen.providers.routers.certificate import Certificate
from bleen.providers.routers.envoy import Envoy
from bleen.testing.load import Client, Load
from bleen.testing.proxies import ProxyContract, self_signed
from bleen.testing.routers import BLUE, GREEN, Fleet, Make, settled
from bleen.testing.site import Site, WebSocket, done, until


class TestEnvoy(ProxyContract):
    def build(self, site: Site) -> Router:
        return Envoy(site.place, site.fence, site.reserve, site.listener, site.asked)

    def write(self, site: Site, name: str, text: str) -> None:
        """A hand that edits one of Envoy's files, as an editor does: beside it, then renamed."""
        beside = site.place / "envoy" / f"{name}.by-hand"
        beside.write_text(text)
        beside.rename(site.place / "envoy" / f"{name}.json")

    def confuse(self, site: Site, fleet: Fleet, side: str = "production") -> None:
        routes = json.loads((site.place / "envoy" / "production.json").read_text())["resources"][0]
        routes["name"] = side
        routes["virtual_hosts"][0]["routes"].insert(0, {"match": {"prefix": "/beta"}, "route": {"cluster": str(GREEN)}})
        self.write(site, side, json.dumps({"version_info": "by hand", "resources": [routes]}))

    @pytest.mark.parametrize("side", ["production", "preview"])
    def test_routes_that_somebody_wrote_by_hand_are_told_as_unknown_and_overwritten(self, live: Site, fleet: Fleet, side: str) -> None:
        """Drift is a routing that equals neither the last one confirmed nor the one intended. `rollback` goes ahead."""
        self.confuse(live, fleet, side)
        until("it is seen", lambda: side in live.router.routing().strange)
        assert live.router.routing().same_production(fleet.routing({BLUE: 100})) == (side == "preview")
        live.prepare(fleet.routing({BLUE: 100}))
        live.route(fleet.routing({BLUE: 100}))
        assert settled(live.router.routing()) == settled(fleet.routing({BLUE: 100}))

    def test_a_rollback_is_served_while_the_preview_does_what_is_not_ours(self, live: Site, fleet: Fleet) -> None:
        """From PROMOTING to HOLDING it always works: [...] with drift in the router."""
        routes = json.loads((live.place / "envoy" / "preview.json").read_text())["resources"][0]
        routes["virtual_hosts"][0]["routes"][0]["direct_response"]["status"] = 418
        self.write(live, "preview", json.dumps({"version_info": "by hand", "resources": [routes]}))
        until("it is seen", lambda: "418" in live.router.routing().beside)
        live.route(fleet.routing({GREEN: 100}))
        assert live.get()[1] == "green"

    def known(self, site: Site) -> str:
        """What Envoy says of its clusters."""
        assert isinstance(site.router, Envoy)
        with site.router._admin() as admin:
            return admin.get("/clusters?format=json").decode()

    def test_a_cluster_that_is_not_ours_harms_nobody_until_routes_lead_to_it_and_is_forgotten(self, live: Site, fleet: Fleet) -> None:
        """Drift is a routing that equals neither the last one confirmed nor the one intended: users are not led to it, and no verb waits for its end."""
        clusters = json.loads((live.place / "envoy" / "clusters.json").read_text())["resources"]
        strange = {**clusters[0], "name": "maintenance"}
        strange["load_assignment"] = {**strange["load_assignment"], "cluster_name": "maintenance"}
        self.write(live, "clusters", json.dumps({"version_info": "by hand", "resources": [*clusters, strange]}))
        until("it is known", lambda: "maintenance" in self.known(live))
        assert settled(live.router.routing()) == settled(fleet.routing({BLUE: 100}))
        live.router.settle(fleet.routing({BLUE: 100}), 1)
        assert "maintenance" not in (live.place / "envoy" / "clusters.json").read_text()
        assert live.get()[1] == "blue"

    def test_a_file_that_is_damaged_is_no_memory(self, live: Site, fleet: Fleet) -> None:
        for damage in ("", "{", '{"resources": [{"name": "production"}]}', '{"resources": []}'):
            self.kill(live)
            self.write(live, "production", damage)
            live.up(fleet.routing({GREEN: 100}))
            assert settled(live.router.routing()) == settled(fleet.routing({GREEN: 100}))

    @pytest.mark.parametrize("name", ["envoy/preview.json", "envoy/bootstrap.json", "envoy.json"])
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

    def test_an_environment_keeps_the_checks_of_its_own_release(self, live: Site, fleet: Fleet) -> None:
        """Command, variables, directory and replicas belong to a release."""
        live.probe = Probe("/only-in-the-new-version", 0.3, 0.5, 9.0, 5)
        later = Environment("green", 7)
        live.router = live.again()
        live.prepare(Routing({BLUE: 100}, None, {**fleet.targets(BLUE), later: fleet.targets(GREEN)[GREEN]}))
        assert '"/health"' in self.cluster(live, BLUE)
        assert "/only-in-the-new-version" in self.cluster(live, later)

    def cluster(self, site: Site, environment: Environment) -> str:
        """What the file says of an environment, word for word."""
        clusters = json.loads((site.place / "envoy" / "clusters.json").read_text())["resources"]
        return next(json.dumps(c, sort_keys=True) for c in clusters if c["name"] == str(environment))

    def test_what_is_in_flight_lives_on_and_is_counted_after_its_environment_was_forgotten(self, live: Site, fleet: Fleet) -> None:
        """A switch cuts nothing."""
        request, web_socket = Client(live.listen), WebSocket(live.listen)
        request.begin("GET", "/sleep?s=1")
        until("both are in flight", lambda: live.router.traffic()[BLUE].open == 2)
        green = fleet.routing({GREEN: 100}, know=(GREEN,))
        live.route(green)
        live.router.settle(green, 1)
        assert BLUE not in live.router.routing().targets
        assert live.router.drained(BLUE, 0.1) is not None
        assert request.finish()[0] == 200
        assert web_socket.echo(b"still there?") == b"still there?"
        web_socket.close()
        done(lambda: live.router.drained(BLUE, 0.1))

    def test_targets_that_change_while_they_serve_cost_no_request(self, live: Site, fleet: Fleet) -> None:
        first = fleet.targets(BLUE)[BLUE][:1]
        with Load(live.listen) as load:
            for targets in (first, fleet.targets(BLUE)[BLUE], first):
                wanted = Routing({BLUE: 100}, None, {BLUE: targets})
                live.prepare(wanted)
                done(lambda wanted=wanted: live.router.served(wanted, 0.0))  # type: ignore[misc]
                load.wait(100)
        assert not load.report().failures, str(load.report())

    def test_a_target_that_is_a_name_is_refused(self, live: Site) -> None:
        target = live.router.routing().targets[BLUE][0]._replace(host="localhost")
        with pytest.raises(Refused, match="localhost"):
            live.router.prepare(Routing({}, None, {GREEN: (target,)}), 1)

    def test_shares_that_do_not_add_up_are_refused_and_nothing_changes(self, live: Site, fleet: Fleet) -> None:
        for shares in ({BLUE: 50}, {BLUE: 100, GREEN: 100}, {BLUE: 150, GREEN: -50}):
            with pytest.raises(Refused, match="100"):
                live.router.route(fleet.routing(shares), 1)
        assert live.router.routing().shares == {BLUE: 100}

    def test_clients_cannot_steer_the_proxy_by_headers(self, live: Site) -> None:
        """No time limit on a request unless configured."""
        assert live.get("/sleep?s=0.5", headers="x-envoy-upstream-rq-timeout-ms: 100\r\n")[0] == 200

    def test_a_state_directory_may_be_longer_than_the_name_of_a_socket(self, make: Make, fleet: Fleet) -> None:
        site = make()
        site.place = site.place / ("d" * 120)
        site.place.mkdir()
        site.router = site.again()
        self.started(site, fleet)
        assert site.get()[1] == "blue"

    def test_an_envoy_that_cannot_start_is_refused_with_its_last_words(self, make: Make) -> None:
        site = make()
        (site.place / "envoy" / "admin.sock").mkdir(parents=True)
        with pytest.raises(Refused, match=r"admin\.sock"):
            site.up()
        assert self.copies(site) == 0

    def test_a_certificate_that_only_openssl_can_use_is_refused(self, make: Make, tmp_path: Path) -> None:
        """`tls: {certificate, key}` for the listener. Envoy would be up, and reset every connection."""
        with pytest.raises(Refused, match=r"cert\.pem .* cannot be used: Envoy says: Failed to load certificate chain"):
            make(tls=self_signed(tmp_path, "secp256k1")).up()

    @pytest.mark.parametrize("ends", ["kill -9 $$", "kill -6 $$", "echo cannot execute >&2; exit 126"])
    def test_an_envoy_that_did_not_come_to_look_at_a_certificate_has_not_refused_it(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: str) -> None:
        """Killed for want of memory, say: what it was to look at may be good, and the old one runs out."""
        (short := tmp_path / "envoy").write_text(f"#!/bin/sh\n{ends}\n")
        short.chmod(0o755)
        monkeypatch.setattr(envoy, "_binary", lambda: str(short))
        tls = self_signed(tmp_path)
        certificate = Certificate(tmp_path, tls, envoy.fault)
        with pytest.raises(Refused, match=r"cannot be used: Envoy ended with .* before it had looked at them"):
            certificate.check()
        monkeypatch.undo()
        certificate.check()

    def test_a_certificate_that_was_refused_is_looked_at_again_once_it_changes_or_after_a_while(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The engine asks several times a second, and Envoy takes a tenth of one to answer."""
        tls, answers = self_signed(tmp_path), ["it hangs", "a curve", "none", "short of memory"]

        def fault(chain: str, key: str) -> str:
            answer = answers.pop(0)
            if answer == "it hangs":
                raise Unavailable(answer)
            return answer

        certificate = Certificate(tmp_path, tls, fault)
        for wrong in ("it hangs", "a curve", "a curve", "a curve"):
            with pytest.raises(Refused, match=wrong):
                certificate.check()
        Path(tls["certificate"]).touch()
        with pytest.raises(Refused, match="none"):
            certificate.check()
        monkeypatch.setattr(certificates, "JUDGED", 0.0)
        with pytest.raises(Refused, match="short of memory"):
            certificate.check()


@pytest.mark.parametrize(
    ("routes", "said"),
    [
        (
            [{"match": {"prefix": "/beta"}, "route": {"cluster": "green-2"}}, {"match": {"prefix": "/"}, "route": {"cluster": "blue-1"}}],
            "routes for some hosts",
        ),
        ([{"match": {"prefix": "/"}, "route": {"cluster": "page"}}], "a route to page, which is no environment"),
        ([{"match": {"prefix": "/"}, "direct_response": {"status": 418}}], "every request is answered 418"),
        ([{"match": {"prefix": "/"}, "redirect": {}}], "routes that are not ours"),
        ([], "routes that are not ours"),
    ],
    ids=["two", "a foreign cluster", "an answer", "neither", "none"],
)
def test_a_route_that_somebody_wrote_is_told_in_words(routes: list[dict[str, object]], said: str) -> None:
    """ "No traceback reaches a user", nor what Python calls it."""
    shares, trouble = envoy_config.shares_of({"virtual_hosts": [{"domains": ["*"], "routes": routes}]})
    assert (shares, trouble[0].startswith(said)) == ({}, True)
