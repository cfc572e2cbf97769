"""The routers of bleen over running applications, and the same proxies switched by hand with nothing more than is needed."""

import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from bleen.host.files import write_durably
from bleen.model import Environment, Target
from bleen.providers.routers.envoy import Envoy
from bleen.providers.routers.haproxy import HAProxy
from bleen.testing.load import Client
from bleen.testing.routers import BLUE, GREEN, Fleet
from bleen.testing.site import Site, free_address, until

BOTH = (BLUE, GREEN)


@contextmanager
def routers(place: Path) -> Iterator[tuple[Mapping[str, Site], Fleet]]:
    """Envoy and HAProxy, up, serving blue and knowing green."""
    fleet = Fleet()
    sites = {
        "envoy": Site(place / "e", lambda s: Envoy(s.place, s.fence, s.reserve, s.listener, s.asked)),
        "haproxy": Site(place / "h", lambda s: HAProxy(s.place, s.fence, s.reserve, s.listener, s.asked)),
    }
    try:
        for site in sites.values():
            site.up()
            site.prepare(fleet.routing({BLUE: 100}))
            site.route(fleet.routing({BLUE: 100}))
        yield sites, fleet
    finally:
        for site in sites.values():
            site.signal(9)
        fleet.close()


class HAProxyByHand:
    """``set map`` on the socket, the map's file made durable, ``show map`` as confirmation."""

    def __init__(self, site: Site, fleet: Fleet) -> None:
        self._socket, self._file = str(site.place / "haproxy.sock"), site.place / "routes.map"
        self._ways, self._texts = {}, {}
        for environment in BOTH:
            site.route(fleet.routing({environment: 100}))
            self._texts[environment] = self._file.read_text()
            rows = (line.split() for line in self._say("show map routes.map").splitlines())
            self._ways[environment] = next(row[2] for row in rows if len(row) == 3 and row[1] == "production")

    def switch(self, environment: Environment) -> None:
        self._say(f"set map routes.map production {self._ways[environment]}")
        write_durably(self._file, self._texts[environment])
        if f"production {self._ways[environment]}" not in self._say("show map routes.map"):
            raise RuntimeError("HAProxy did not take the way")

    def _say(self, command: str) -> str:
        with socket.socket(socket.AF_UNIX) as admin:
            admin.connect(self._socket)
            admin.sendall(command.encode() + b"\n")
            answer = b""
            while more := admin.recv(65536):
                answer += more
        return answer.decode()


class EnvoyByHand:
    """The file of routes replaced durably; confirmed when config_dump shows it."""

    def __init__(self, site: Site, fleet: Fleet) -> None:
        self._file, self._socket = site.place / "envoy" / "production.json", str(site.place / "envoy" / "admin.sock")
        self._texts = {}
        for environment in BOTH:
            site.route(fleet.routing({environment: 100}))
            self._texts[environment] = self._file.read_text()

    def switch(self, environment: Environment) -> None:
        write_durably(self._file, self._texts[environment])
        wanted = f'"cluster": "{environment}"'.encode()
        with socket.socket(socket.AF_UNIX) as admin:
            admin.connect(self._socket)
            while wanted not in self._dump(admin):
                time.sleep(0.0002)

    def _dump(self, admin: socket.socket) -> bytes:
        admin.sendall(b"GET /config_dump?resource=dynamic_route_configs HTTP/1.1\r\nHost: envoy\r\n\r\n")
        answer = b""
        while not answer.endswith(b"\r\n0\r\n\r\n"):
            answer += admin.recv(65536)
        return answer


class NginxByHand:
    """Its configuration replaced durably and ``nginx -s reload``; confirmed when a new connection is answered by the new one."""

    def __init__(self, place: Path, fleet: Fleet) -> None:
        self._place, self.listen, self._fleet = place, free_address(), fleet
        (place / "logs").mkdir(parents=True)
        self._write(BLUE)
        subprocess.run([*self._nginx], check=True, stderr=subprocess.DEVNULL)
        until("nginx answers", lambda: self._who() == "blue")

    @property
    def _nginx(self) -> list[str]:
        return ["nginx", "-p", str(self._place), "-c", "nginx.conf", "-e", str(self._place / "logs/error.log")]

    def switch(self, environment: Environment) -> None:
        self._write(environment)
        subprocess.run([*self._nginx, "-s", "reload"], check=True, stderr=subprocess.DEVNULL)
        while self._who() != environment.name:
            time.sleep(0.0002)

    def end(self) -> None:
        subprocess.run([*self._nginx, "-s", "stop"], check=True, stderr=subprocess.DEVNULL)
        until("nginx is gone", lambda: not (self._place / "nginx.pid").exists())

    def _who(self) -> str:
        return Client(self.listen).ask("GET", "/", close=True)[1].get("x-served-by", "")

    def _write(self, environment: Environment) -> None:
        servers = "".join(f"server {target};" for target in _targets(self._fleet, environment))
        write_durably(
            self._place / "nginx.conf",
            f"""worker_processes 2; pid nginx.pid; error_log logs/error.log; events {{ worker_connections 4096; }}
            http {{ access_log off; client_body_temp_path logs; proxy_temp_path logs; fastcgi_temp_path logs; uwsgi_temp_path logs; scgi_temp_path logs;
            upstream service {{ {servers} keepalive 64; }}
            server {{ listen {self.listen}; location / {{ proxy_pass http://service; proxy_http_version 1.1; proxy_set_header Connection ""; }} }} }}""",
        )


def _targets(fleet: Fleet, environment: Environment) -> tuple[Target, ...]:
    return fleet.targets(environment)[environment]
