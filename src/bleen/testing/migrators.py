"""What every migrator must do. Subclass ``MigratorContract``, and give ``build`` and what comes in its way.

::

    class TestMine(MigratorContract):
        def build(self, stand: Stand, contract: str = "manual") -> Migrator:
            return Mine(stand.root, ...)   # of a release that brings 0007_full_name

        def hold(self, stand: Stand) -> None: ...      # its statements wait
        def let_go(self, stand: Stand) -> None: ...    # they may go on
        def refuse(self, stand: Stand) -> None: ...    # the database takes none of them
        def break_down(self, stand: Stand) -> None: ...  # the database does not answer
        def mend(self, stand: Stand) -> None: ...      # all is well again
        def write(self, stand: Stand) -> None: ...     # the version that is released writes a row in the new shape
"""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from bleen.model import Environment, Memo, NotYet, Result, Verdict
from bleen.ports import Migrator, Shipping
from bleen.testing.checks import Stand
from bleen.testing.interrupt import fork
from bleen.testing.site import until

NAME = "0007_full_name"
OLD, NEW = Shipping(Environment("blue", 4), "1.0", frozenset(), 0, 0), Shipping(Environment("green", 5), "1.1", frozenset({NAME}), 0, 0)

Look = Callable[[Memo], Verdict | NotYet]


def begun(look: Look) -> Memo:
    """Begins it; the memo as a journal gives it back."""
    answer = look({})
    assert isinstance(answer, NotYet)
    assert answer.why
    assert answer.memo, "it has begun, and the next look would not know"
    memo: Memo = json.loads(json.dumps(answer.memo))
    return memo


def verdict(look: Look, memo: Memo) -> Verdict:
    """Asks until there is one, as an engine does."""
    memos = [memo]

    def ended() -> Verdict | None:
        answer = look(memos[-1])
        if isinstance(answer, NotYet):
            memos.append(memos[-1] if answer.memo is None else json.loads(json.dumps(answer.memo)))
            return None
        return answer

    found = until("there is a verdict", ended, 30)
    assert isinstance(found, Verdict)
    return found


def answered(look: Look) -> Verdict:
    """The verdict of what may be known at once."""
    first = look({})
    return first if isinstance(first, Verdict) else verdict(look, first.memo or {})


def done(look: Look) -> dict[str, Any]:
    """The evidence of what ended well."""
    found = verdict(look, begun(look))
    assert found.result is Result.PASS, found.why
    evidence: dict[str, Any] = json.loads(json.dumps(found.evidence[0]))
    return evidence


class MigratorContract:
    """What a migrator says, as its port tells it."""

    def build(self, stand: Stand, contract: str = "manual") -> Migrator:
        """The migrator on trial. All objects of one stand change one database."""
        raise NotImplementedError

    def hold(self, stand: Stand) -> None:
        raise NotImplementedError

    def let_go(self, stand: Stand) -> None:
        raise NotImplementedError

    def refuse(self, stand: Stand) -> None:
        raise NotImplementedError

    def break_down(self, stand: Stand) -> None:
        raise NotImplementedError

    def mend(self, stand: Stand) -> None:
        raise NotImplementedError

    def write(self, stand: Stand) -> None:
        raise NotImplementedError

    @pytest.fixture
    def stand(self, tmp_path: Path) -> Iterator[Stand]:
        with ExitStack() as stack:
            yield Stand(tmp_path, stack)

    def expand(self, migrator: Migrator) -> Look:
        return lambda memo: migrator.expand([NEW, OLD], memo)

    def account(self, migrator: Migrator) -> Look:
        return lambda memo: migrator.account([OLD], memo)

    def tidy(self, migrator: Migrator) -> Look:
        return lambda memo: migrator.tidy([OLD], memo)

    def contract(self, migrator: Migrator, *environments: Shipping) -> Look:
        return lambda memo: migrator.contract(environments or [NEW], memo)

    def test_expand_tells_what_was_new_and_does_nothing_twice(self, stand: Stand) -> None:
        """Evidence: ``expanded``, what was new."""
        assert done(self.expand(self.build(stand)))["expanded"] == [NAME]
        assert done(self.expand(self.build(stand)))["expanded"] == []

    def test_what_is_under_way_is_taken_up_by_whoever_has_no_memo_of_it(self, stand: Stand) -> None:
        """An empty one takes up what is under way, or begins."""
        self.hold(stand)
        begun(self.expand(self.build(stand)))
        second = self.build(stand)
        memo = begun(self.expand(second))
        assert isinstance(second.expand([NEW, OLD], memo), NotYet)
        self.let_go(stand)
        assert verdict(self.expand(second), memo).evidence == ({"expanded": [NAME]},)

    def test_the_work_outlives_the_engine(self, stand: Stand) -> None:
        self.hold(stand)
        first = self.build(stand)
        assert os.waitpid(fork(lambda: begun(self.expand(first))), 0)[1] == 0
        self.let_go(stand)
        assert verdict(self.expand(self.build(stand)), begun(self.expand(self.build(stand)))).result is Result.PASS

    def test_copies_that_come_and_go_do_not_disturb_it(self, stand: Stand) -> None:
        self.hold(stand)
        migrator = self.build(stand)
        memo = begun(self.expand(migrator))
        self.let_go(stand)
        found = verdict(lambda memo: migrator.expand([NEW._replace(processes=3, share=7)], memo), memo)
        assert found.evidence == ({"expanded": [NAME]},)

    def test_a_statement_that_the_database_does_not_take_is_a_failure_and_a_later_one_goes_on(self, stand: Stand) -> None:
        """What a killed one has done stays done, and is gone on with."""
        self.refuse(stand)
        migrator = self.build(stand)
        found = verdict(self.expand(migrator), begun(self.expand(migrator)))
        assert found.result is Result.FAIL
        assert "the database says" in found.why or "line 1" in found.why
        self.mend(stand)
        assert done(self.expand(self.build(stand)))["expanded"] == [NAME]

    def test_a_database_that_does_not_answer_is_inconclusive_whatever_is_asked(self, stand: Stand) -> None:
        """INCONCLUSIVE if the database could not be asked."""
        self.break_down(stand)
        migrator = self.build(stand)
        for look in (self.expand(migrator), self.contract(migrator), self.account(migrator)):
            found = verdict(look, begun(look))
            assert found.result is Result.INCONCLUSIVE
            assert "the database does not answer" in found.why

    def test_a_contract_that_was_not_asked_for_is_pending(self, stand: Stand) -> None:
        """`contract: manual` is the default."""
        migrator = self.build(stand)
        done(self.expand(migrator))
        found = done(self.contract(migrator))
        assert found["contracted"] == []
        assert [each["migration"] for each in found["pending"]] == [NAME]

    def test_a_contract_waits_for_an_environment_that_does_not_ship_it(self, stand: Stand) -> None:
        """Only when every environment that exists, a warm idle one included, ships that migration."""
        migrator = self.build(stand, "auto")
        done(self.expand(migrator))
        found = done(self.contract(migrator, NEW, OLD))
        assert found["contracted"] == []
        (pending,) = found["pending"]
        assert any("blue-4" in why for why in pending["waits"])
        assert {"migration", "description", "since", "waits"} <= set(pending)

    def test_a_contract_that_was_asked_for_is_done_once_nobody_needs_the_old_shape(self, stand: Stand) -> None:
        migrator = self.build(stand, "auto")
        done(self.expand(migrator))
        assert done(self.contract(migrator, NEW, OLD))["contracted"] == []
        assert done(self.contract(migrator)) == {"contracted": [NAME], "pending": []}
        assert done(self.contract(migrator)) == {"contracted": [], "pending": []}

    def test_a_contract_that_failed_before_it_took_anything_away_is_pending_and_begun_anew_by_who_has_no_memo(self, stand: Stand) -> None:
        """`resume` tries again; one that failed before it took anything away is no failure, and pending."""
        migrator = self.build(stand, "auto")
        done(self.expand(migrator))
        self.refuse(stand)
        (pending,) = done(self.contract(migrator))["pending"]
        assert pending["migration"] == NAME
        assert pending["failed"]
        self.mend(stand)
        assert done(self.contract(migrator))["contracted"] == [NAME]

    def test_an_account_tells_what_the_new_shape_was_given(self, stand: Stand) -> None:
        migrator = self.build(stand)
        done(self.expand(migrator))
        self.write(stand)
        (counts,) = done(self.account(migrator))["written"].values()
        assert counts["written"] == 1

    def test_cancelling_is_success_whatever_was_begun_and_it_may_be_begun_again(self, stand: Stand) -> None:
        """Ends an expand that was begun; already ended is success."""
        migrator = self.build(stand)
        migrator.cancel()
        self.hold(stand)
        begun(self.expand(migrator))
        for _ in range(2):
            migrator.cancel()
        self.let_go(stand)
        assert done(self.expand(self.build(stand)))["expanded"] == [NAME]

    def test_what_ended_with_production_is_gone_on_with(self, stand: Stand) -> None:
        """Ends whatever of this is under way [...]; the next call goes on with it."""
        migrator = self.build(stand, "auto")
        assert migrator.down({}) == {}
        for work, found in ((self.expand, "expanded"), (self.contract, "contracted")):
            memo = begun(work(migrator))
            for _ in range(2):
                memo = migrator.down(memo)
            assert verdict(work(self.build(stand, "auto")), memo).evidence[0][found] == [NAME]

    def test_tidying_after_an_expand_that_was_ended_leaves_it_to_be_gone_on_with(self, stand: Stand) -> None:
        migrator = self.build(stand)
        self.hold(stand)
        begun(self.expand(migrator))
        migrator.cancel()
        self.let_go(stand)
        for _ in range(2):
            assert answered(self.tidy(migrator)).result is Result.PASS
        assert done(self.expand(self.build(stand)))["expanded"] == [NAME]

    def test_tidying_a_database_that_does_not_answer_is_inconclusive_once_something_was_begun(self, stand: Stand) -> None:
        """INCONCLUSIVE if the database could not be asked."""
        self.hold(stand)
        migrator = self.build(stand)
        begun(self.expand(migrator))
        migrator.cancel()
        self.let_go(stand)
        self.break_down(stand)
        assert answered(self.tidy(self.build(stand))).result is Result.INCONCLUSIVE
