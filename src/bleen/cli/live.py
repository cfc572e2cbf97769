"""The picture for terminals: what phase, what it waits for and how long that may take, requests per environment."""

import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from bleen.cli import picture, show
from bleen.cli.access import Access
from bleen.errors import PortError
from bleen.lifecycle import Event, Release

COLOURS = {"blue": "bright_blue", "green": "bright_green"}


def watch(access: Access) -> None:
    """Shows a service until Ctrl-C."""
    with suppress(KeyboardInterrupt), Live(console=Console(), refresh_per_second=4) as screen:
        while True:
            screen.update(_drawn(picture.of(access)))
            access.journal.changed(0.5)


class Screen:
    """Shows a release while it is followed: events scroll by, the picture stays below."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._screen = Live(console=Console(), refresh_per_second=4, transient=True)
        self._screen.start()
        self._drawn_at = 0.0

    def close(self) -> None:
        self._screen.stop()

    def told(self, release: Release, events: Sequence[Event]) -> None:
        for event in events:
            self._screen.console.print(Text(show.event_line(event, release.plan), style="bold red" if event.halted else ""))
            for line in show.failure_lines(event):
                self._screen.console.print(Text(line, style="red"))
        if events or time.monotonic() > self._drawn_at + 0.5:
            self._drawn_at = time.monotonic()
            with suppress(PortError):  # the router may be starting: the next look shows it
                self._screen.update(_drawn(picture.of(self._access)))


def _drawn(seen: dict[str, Any]) -> Group:
    table = Table(box=None, pad_edge=False)
    for heading in ("", "version", "traffic", "running", "requests", "errors", "open"):
        table.add_column(heading, justify="left" if heading in ("", "version") else "right")
    for name, each in seen["environments"].items():
        share = seen["router"]["shares"].get(name, 0)
        cells = [f"{share} %", f"{each['alive']}/{each['wanted']}", *(str(each[c]) if each[c] is not None else "-" for c in ("requests", "errors", "open"))]
        table.add_row(Text(name, style=COLOURS.get(name.partition("-")[0], "")), each["version"], *cells)
    words = [Text(line) for line in picture.lines(seen) if not line.startswith("  ") or line.startswith("  waits")]
    return Group(Text(), *words, table)
