"""What every check must do. Subclass ``CheckContract``, or ``ProgramContract`` where a check runs as a program of this host, and give ``build`` and ``let_go``.

::

    class TestMine(CheckContract):
        def build(self, stand: Stand, result: Result) -> Check:
            return Mine(stand.root, ...)   # one that is going to end so

        def let_go(self, stand: Stand) -> None: ...   # it may end now
"""

import json
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from bleen.host.processes import Process
from bleen.model import Environment, Memo, NotYet, Result, Verdict
from bleen.ports import Check
from bleen.testing.interrupt import fork
from bleen.testing.site import until

BLUE, GREEN = Environment("blue", 4), Environment("green", 5)


class Stand:
    """Where one check is tried: a directory of its own. What ``build`` enters in ``stack`` is left when the test ends."""

    def __init__(self, root: Path, stack: ExitStack) -> None:
        self.root, self.stack = root, stack


def begun(check: Check, environment: Environment = GREEN) -> Memo:
    """Begins it; the memo as a journal gives it back."""
    answer = check.run(environment, {})
    assert isinstance(answer, NotYet)
    assert answer.memo, "it has begun, and the next look would not know"
    memo: Memo = json.loads(json.dumps(answer.memo))
    return memo


def verdict(check: Check, memo: Memo, environment: Environment = GREEN) -> Verdict:
    """Asks until there is one, as an engine does."""
    return ended(check, memo, environment)[0]


def ended(check: Check, memo: Memo, environment: Environment = GREEN) -> tuple[Verdict, Memo]:
    """The verdict, and the memo with which it was found."""
    memos = [memo]

    def look() -> tuple[Verdict, Memo] | None:
        answer = check.run(environment, memos[-1])
        if isinstance(answer, Verdict):
            return answer, memos[-1]
        if answer.memo is not None:
            memos.append(json.loads(json.dumps(answer.memo)))
        return None

    found = until("there is a verdict", look)
    assert found is not None, "`until` returns what is true"
    return found


class CheckContract:
    """What a check says, as its port tells it."""

    def build(self, stand: Stand, result: Result) -> Check:
        """The check on trial, which is not to end before ``let_go``, and then so. All objects of one stand are one check."""
        raise NotImplementedError

    def let_go(self, stand: Stand) -> None:
        """What was begun on this stand, and what will be, may end."""
        raise NotImplementedError

    @pytest.fixture
    def stand(self, tmp_path: Path) -> Iterator[Stand]:
        with ExitStack() as stack:
            stand = Stand(tmp_path, stack)
            yield stand
            self.clear(stand)

    def clear(self, stand: Stand) -> None:
        """A test has ended: so does what it began."""
        self.let_go(stand)

    @pytest.mark.parametrize("result", Result)
    def test_a_check_is_begun_then_says_how_it_ended_and_why_with_its_evidence(self, stand: Stand, result: Result) -> None:
        """PASS, FAIL or INCONCLUSIVE, with the evidence."""
        check = self.build(stand, result)
        memo = begun(check)
        self.let_go(stand)
        found = verdict(check, memo)
        assert found.result is result
        assert found.why
        assert json.loads(json.dumps(found.evidence)) == [*map(dict, found.evidence)]

    def test_a_verdict_stays_the_same_for_whoever_asks_again(self, stand: Stand) -> None:
        check = self.build(stand, Result.FAIL)
        memo = begun(check)
        self.let_go(stand)
        found, memo = ended(check, memo)
        for each in (check, self.build(stand, Result.FAIL)):
            assert each.run(GREEN, memo) == found

    def test_another_instance_goes_on_from_the_memo(self, stand: Stand) -> None:
        """The memo of the last NotYet comes back."""
        memo = begun(self.build(stand, Result.PASS))
        self.let_go(stand)
        assert verdict(self.build(stand, Result.PASS), memo).result is Result.PASS

    def test_the_engine_that_began_it_may_be_killed_before_it_could_remember(self, stand: Stand) -> None:
        """Killed at any instant, the next run reads the row and the world, and ends where the first would have."""

        first = self.build(stand, Result.PASS)

        def engine() -> None:
            begun(first)
            os.kill(os.getpid(), signal.SIGKILL)

        assert os.waitstatus_to_exitcode(os.waitpid(fork(engine), 0)[1]) == -signal.SIGKILL
        check = self.build(stand, Result.PASS)
        memo = begun(check)
        self.let_go(stand)
        assert verdict(check, memo).result is Result.PASS

    def test_what_holds_of_one_environment_says_nothing_of_another(self, stand: Stand) -> None:
        check = self.build(stand, Result.PASS)
        memo = begun(check)
        self.let_go(stand)
        verdict(check, memo)
        assert verdict(check, begun(check, BLUE), BLUE).result is Result.PASS

    def test_cancelling_is_success_whatever_was_begun_and_it_may_be_begun_again(self, stand: Stand) -> None:
        """Ends what was begun, remembered or not; already ended is success."""
        check = self.build(stand, Result.PASS)
        check.cancel()
        begun(check)
        for _ in range(2):
            check.cancel()
        memo = begun(check)
        self.let_go(stand)
        ended(check, memo)
        check.cancel()

    def test_calls_may_come_from_any_thread(self, stand: Stand) -> None:
        check, found = self.build(stand, Result.PASS), list[Any]()
        memo = begun(check)
        self.let_go(stand)
        thread = threading.Thread(target=lambda: found.append(verdict(check, memo)))
        thread.start()
        thread.join()
        assert [each.result for each in found] == [Result.PASS]


class ProgramContract(CheckContract):
    """A check that runs as a program beside the engine, which may die and be succeeded meanwhile."""

    def processes(self, stand: Stand) -> list[Process]:
        """What runs of this stand's checks."""
        raise NotImplementedError

    def clear(self, stand: Stand) -> None:
        super().clear(stand)
        until("nothing runs any more", lambda: not self.processes(stand))

    def test_looking_does_not_wait_for_the_program(self, stand: Stand) -> None:
        """Bounded, like every call."""
        check = self.build(stand, Result.PASS)
        memo = begun(check)
        until("it runs", lambda: self.processes(stand))
        for _ in range(3):
            assert isinstance(check.run(GREEN, memo), NotYet)

    def test_however_many_engines_begin_it_one_program_runs(self, stand: Stand) -> None:
        first = begun(self.build(stand, Result.PASS))
        until("it runs", lambda: self.processes(stand))
        was = self.processes(stand)
        second = begun(self.build(stand, Result.PASS))
        assert self.processes(stand) == was
        self.let_go(stand)
        for memo in (first, second):
            assert verdict(self.build(stand, Result.PASS), memo).result is Result.PASS

    def test_the_program_outlives_the_engine_that_began_it(self, stand: Stand) -> None:
        first = self.build(stand, Result.PASS)
        assert os.waitpid(fork(lambda: begun(first)), 0)[1] == 0
        until("it runs", lambda: self.processes(stand))
        was = self.processes(stand)
        check = self.build(stand, Result.PASS)
        memo = begun(check)
        assert self.processes(stand) == was
        self.let_go(stand)
        assert verdict(check, memo).result is Result.PASS

    def test_a_program_that_was_killed_has_not_passed(self, stand: Stand) -> None:
        """Fail closed: a check that could not run is not a pass."""
        check = self.build(stand, Result.PASS)
        memo = begun(check)
        until("it runs", lambda: self.processes(stand))
        for process in self.processes(stand):
            process.signal(signal.SIGKILL)
        until("it is gone", lambda: not self.processes(stand))
        assert verdict(check, memo).result is Result.INCONCLUSIVE

    def test_cancelling_leaves_nothing_that_runs_whoever_began_it(self, stand: Stand) -> None:
        begun(self.build(stand, Result.PASS))
        until("it runs", lambda: self.processes(stand))
        check = self.build(stand, Result.PASS)
        for _ in range(2):
            check.cancel()
            assert self.processes(stand) == []

    def test_a_verdict_that_was_cancelled_is_not_found_again(self, stand: Stand) -> None:
        check = self.build(stand, Result.PASS)
        memo = begun(check)
        self.let_go(stand)
        ended(check, memo)
        check.cancel()
        begun(check)
