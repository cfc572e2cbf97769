"""The main job under load: 1.0 live, 1.1 promoted, back to 1.0, then a 1.2 that its smoke tests stop. Ends with 0 only if no request failed.

Everything lies in a temporary directory, listens on free ports of loopback, and is gone at the end, after Ctrl-C too.
"""

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from bleen.testing.load import Load, Report
from bleen.testing.site import free_address

HERE = Path(__file__).parent
BOLD, DIM, PLAIN = ("\033[1m", "\033[2m", "\033[0m") if sys.stdout.isatty() else ("", "", "")


class Wrong(Exception):
    """The demonstration did not go as it should."""


class Ran(NamedTuple):
    """A command that has ended, on the clock of the load."""

    began: float
    ended: float


class Shop:
    """A copy of the demo's service, and bleen at work on it."""

    def __init__(self, place: Path, router: str) -> None:
        self.place, self.listen = place / "shop", free_address()
        shutil.copytree(HERE, self.place, symlinks=True, ignore=shutil.ignore_patterns("show.py", "__pycache__"))
        ports = random.randrange(20000, 29900)  # so that two demonstrations at once do not reach for the same
        changes = {
            "  envoy: {listen.*": f'  {router}: {{listen: "{self.listen}", preview: "{free_address()}"}}',
            "    replicas: 2": f"    replicas: 2\n    ports: {ports}-{ports + 99}",
            "bake: 5s": "bake: 3s",
        }
        file = self.place / "bleen.yaml"
        text = file.read_text()
        for was, now in changes.items():
            text = re.sub(f"^{was}.*$", now, text, flags=re.MULTILINE)
        file.write_text(text)
        self.env = {**os.environ, "BLEEN_STATE": str(place / "state"), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

    def bleen(self, *words: str, ends: int = 0) -> Ran:
        """Runs a command in front of everybody. Raises Wrong if it does not end with this exit code."""
        print(f"\n{BOLD}$ bleen {' '.join(words)}{PLAIN}", flush=True)
        began = time.monotonic()
        with subprocess.Popen(["bleen", *words], cwd=self.place, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as running:
            assert running.stdout is not None
            for line in running.stdout:
                print(f"  {line.rstrip()[:150]}", flush=True)
        ended = time.monotonic()
        print(f"  {DIM}exit {running.returncode}, {ended - began:.2f} s{PLAIN}")
        if running.returncode != ends:
            raise Wrong(f"`bleen {' '.join(words)}` ended with {running.returncode}, not with {ends}")
        return Ran(began, ended)

    def events(self, number: int) -> list[dict[str, Any]]:
        """The life of a release."""
        answer = subprocess.run(["bleen", "history", str(number), "--json"], cwd=self.place, env=self.env, check=True, capture_output=True, text=True)
        events: list[dict[str, Any]] = json.loads(answer.stdout)["events"]
        return events

    def proven(self, number: int, left: str) -> float:
        """Seconds from entering PROMOTING or ROLLING_BACK until the router was seen to serve it."""
        events = self.events(number)
        entered = next(at for at, event in enumerate(events) if event["phase"] == left)
        return float(events[entered + 1]["facts"]["seconds"])

    def down(self) -> None:
        """Ends everything that runs, whatever state it is in."""
        if (self.place.parent / "state").exists():
            argv = ["bleen", "down", "--yes"]
            answer = subprocess.run(argv, cwd=self.place, env=self.env, check=False, capture_output=True, text=True, start_new_session=True)
            if answer.returncode:
                raise Wrong(f"`bleen down --yes` ended with {answer.returncode}: {answer.stderr}")


@contextmanager
def shop(router: str) -> Iterator[Shop]:
    """A shop that leaves nothing behind, however it ends."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="bleen-demo-") as place:
        made = Shop(Path(place), router)
        try:
            yield made
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)
            made.down()


@contextmanager
def users(shop: Shop) -> Iterator[Load]:
    """Eight clients that do not rest: GET and POST, on connections that are kept and on new ones."""
    load = Load(shop.listen, clients=8, pause=0.002, echo="/orders")
    was = signal.signal(signal.SIGINT, signal.SIG_IGN)  # inherited by the clients: on Ctrl-C we end them
    try:
        load.__enter__()
    finally:
        signal.signal(signal.SIGINT, was)
    try:
        yield load
    finally:
        load.__exit__()


def show(shop: Shop) -> None:
    shop.bleen("up")
    shop.bleen("deploy", "1.0")
    with users(shop) as load:
        load.wait(500)
        print(f"\n{DIM}from here on {shop.listen} is under load, by clients that try nothing twice{PLAIN}")
        shop.bleen("deploy", "1.1")
        load.wait(500)
        back = shop.bleen("rollback")
        load.wait(500)
        shop.bleen("deploy", "1.2", ends=3)
        load.wait(500)
    shop.bleen("status")
    tell(shop, load.report(), back)


def tell(shop: Shop, report: Report, back: Ran) -> None:
    """The figures; raises Wrong if they are not what was promised."""
    versions = {version: sum(n for who, n in report.who().items() if who.startswith(f"{version}/")) for version in ("1.0", "1.1", "1.2")}
    new = [a.start for a in report if a.who.startswith("1.1/")]
    old = [a.start for a in report if a.who.startswith("1.0/") and a.start < back.began]
    mixed, felt = max(*old, min(new)) - min(new), max(new) - back.began
    switch = shop.proven(2, "PROMOTING")
    seconds = max(a.end for a in report) - min(a.start for a in report)
    print(f"""
{BOLD}requests    {len(report)} in {seconds:.0f} s, half of them POST, half of them on new connections
failed      {len(report.failures)}{PLAIN}
answered by {", ".join(f"{version}: {count}" for version, count in versions.items())}
switch      {switch * 1000:.1f} ms from the decision until the router was seen to serve 1.1; both versions answered for {mixed * 1000:.1f} ms
rollback    {felt * 1000:.0f} ms from pressing return until nobody was sent to 1.1 any more
""")
    if report.failures:
        raise Wrong(str(report))
    if late := [a for a in report if a.start > back.ended and not a.who.startswith("1.0/")]:
        raise Wrong(f"{len(late)} requests were answered by {late[0].who} after the rollback")
    if versions["1.2"] or not all((versions["1.0"], versions["1.1"])):
        raise Wrong("the wrong versions answered")


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/demo", description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--haproxy", action="store_true", help="with HAProxy, which must be installed, instead of Envoy, which comes with bleen")
    router = "haproxy" if parser.parse_args().haproxy else "envoy"
    try:
        with shop(router) as made:
            show(made)
    except KeyboardInterrupt:
        print("\ninterrupted; nothing is left behind")
        return 130
    except Wrong as wrong:
        print(f"{BOLD}wrong: {wrong}{PLAIN}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
