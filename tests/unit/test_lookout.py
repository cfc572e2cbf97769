"""Who looks on while a statement is at work, and no longer."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from bleen.database import lookout
from bleen.database.lookout import AtWork, looking_out
from bleen.testing.site import until


def test_once_a_statement_has_ended_nobody_is_connected_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes next may be a command that needs the last connection that its role may have."""
    monkeypatch.setattr(lookout, "EVERY", 0.01)
    work, connections, told = AtWork(), list[str](), list[str]()

    @contextmanager
    def connected() -> Iterator[Callable[[], str]]:
        connections.append("one")
        yield lambda: "waits for a lock"
        connections.clear()

    with looking_out(work, connected, told.append):
        for _ in range(3):
            with work:
                until("it is told", lambda: told)
                assert connections
            assert not connections
            told.clear()
    assert not work.seconds
