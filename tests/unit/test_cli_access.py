"""What a verb leaves behind when it ends."""

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from bleen.cli.access import Access
from bleen.lifecycle import Phase
from bleen.testing.service import NAME, FakeService


@pytest.mark.parametrize(("up", "starts"), [(True, 1), (False, 0)])
def test_what_a_verb_drove_goes_on_under_an_engine_but_what_was_taken_down_stays_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, up: bool, starts: int
) -> None:
    """`down` ends production"""
    started: list[list[str]] = []

    def spawn(path: str, argv: list[str], environ: Mapping[str, str], **_: object) -> int:
        started.append(argv)
        return 0

    service = FakeService(tmp_path)
    service.stand()
    release = service.deploy("1.1", Phase.HOLDING)
    driver = service.driver()
    driver.ended_resident = True
    service.journal.register(NAME, service.service.router, up)
    monkeypatch.setattr(os, "posix_spawn", spawn)
    Access(service.place, service.journal).leave(driver, release)
    assert len(started) == starts
    service.close()
