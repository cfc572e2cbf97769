"""Many releases of one service: what grows, and what must not.

Sizes are taken while a release holds, so with as much running each time: early, in the middle, at the end. The journal grows with every release; that is told,
and has no limit; nor have the logs of engine and proxy, which are cut at a MiB each, after more releases than these, and of the copies, which say what they
like. Disk is all the rest of the service's state but the reserve.
"""

import os
import socket
import time
from pathlib import Path

from benchmarks.service import ROUTERS, Service, up, users
from benchmarks.table import Table
from bleen.providers.routers.envoy_admin import Admin
from bleen.providers.routers.unanswering import Proxy
from bleen.testing.site import until

RELEASES = 300
GROWTH = 1.1


def run(table: Table, place: Path, scale: float) -> None:
    count = max(60, round(RELEASES * scale))
    looks = (count // 4, count // 2, count)  # the first once as much is kept of ended environments as ever is
    for router in ROUTERS:
        sizes: list[dict[str, float]] = []
        with up(Service(place / router, router, bake="0s", rollback_window="1h", drain="1s", replicas=1)) as service:
            service.bleen("deploy", "0")
            took = []
            with users(service, 2, 0.02) as load:
                for number in range(1, count + 1):
                    took.append(service.bleen("deploy", "--end-window", str(number)).seconds)
                    if number in looks:
                        sizes.append(_sizes(service))
        table.add(f"{router}: failed requests of {len(load.report())}", [len(load.report().failures)], "", limit=0)
        early = table.add(f"{router}: `deploy`, the first {looks[0]}", took[: looks[0]], "s")
        table.add(f"{router}: `deploy`, the last {looks[0]}", took[-looks[0] :], "s", base=early, limit=1.5)
        for what, unit in _UNITS.items():
            first = table.add(f"{router}: {what}, after {looks[0]}", [sizes[0][what]], unit)
            for at, size in zip(looks[1:], sizes[1:], strict=True):
                table.add(f"{router}: {what}, after {at}", [size[what]], unit, base=first, limit=None if what in ("journal", "logs") else GROWTH)


_UNITS = {
    "memory of the engine": "MB",
    "memory of the proxy": "MB",
    "descriptors of the engine": "",
    "descriptors of the proxy": "",
    "processes": "",
    "configuration of the proxy": "kB",
    "disk": "kB",
    "files": "",
    "journal": "kB",
    "logs": "kB",
}


def _sizes(service: Service) -> dict[str, float]:
    """With the release before retired, so that what runs is the same each time."""
    until("two environments run", lambda: len(_processes(service)) == 4)
    files = {path: path.stat().st_size for path in service.state.rglob("*") if path.is_file() and path.name != "reserve"}  # once, as logs grow meanwhile
    journal = sum(size for path, size in files.items() if path.name.startswith("journal.db"))
    logs = sum(size for path, size in files.items() if ".log" in path.name)
    return {
        "memory of the engine": _memory(service.engine),
        "memory of the proxy": _memory(service.proxy),
        "descriptors of the engine": _descriptors(service.engine),
        "descriptors of the proxy": _descriptors(service.proxy),
        "processes": len(_processes(service)),
        "configuration of the proxy": _configuration(service) / 1000,
        "disk": (sum(files.values()) - journal - logs) / 1000,
        "files": len(files),
        "journal": journal / 1000,
        "logs": logs / 1000,
    }


def _descriptors(pid: int) -> float:
    """The fewest of some looks: connections come and go."""
    looks = []
    for _ in range(20):
        looks.append(len(os.listdir(f"/proc/{pid}/fd")))
        time.sleep(0.02)
    return min(looks)


def _memory(pid: int) -> float:
    """Resident, in MB."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(status["VmRSS"].split()[0]) / 1000


def _processes(service: Service) -> list[int]:
    """What was launched for this service and is alive, whoever it belongs to by now."""
    mark = f"BLEEN_RECORD={service.state}/".encode()
    found = []
    for each in filter(str.isdecimal, os.listdir("/proc")):
        try:
            if any(variable.startswith(mark) for variable in Path(f"/proc/{each}/environ").read_bytes().split(b"\0")):
                found.append(int(each))
        except OSError:  # it has ended meanwhile
            continue
    return found


def _configuration(service: Service) -> float:
    """Bytes of what the running proxy says that it does."""
    if service.router == "envoy":
        place = service.state / "router"
        with Admin(place / "envoy" / "admin.sock", Proxy(place / "envoy.json", service.listen, service.listen)) as admin:
            return len(admin.get("/config_dump")) + len(admin.get("/stats?usedonly"))
    said = b""
    for command in (b"show map routes.map\n", b"show servers state\n", b"show stat\n"):
        with socket.socket(socket.AF_UNIX) as stats:
            stats.connect(str(service.state / "router" / "haproxy.sock"))
            stats.sendall(command)
            while more := stats.recv(65536):
                said += more
    return len(said)
