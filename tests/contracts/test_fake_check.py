"""The fake check keeps the contract; so a test of the engine over it tells of checks that do."""

from bleen.model import NotYet, Result, Verdict
from bleen.ports import Check
from bleen.testing.checks import CheckContract, Stand
from bleen.testing.fakes import FakeCheck


class TestFakeCheck(CheckContract):
    def build(self, stand: Stand, result: Result) -> Check:
        return FakeCheck(NotYet("it runs"), Verdict(result, "as the test wished", ({"request": "GET /"},)))

    def let_go(self, stand: Stand) -> None:
        pass  # it ends at the second look
