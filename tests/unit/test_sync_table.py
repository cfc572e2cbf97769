"""The decision table of two-way sync, by itself; real servers are held against it in tests/database."""

from itertools import product
from typing import get_args

import pytest

from bleen.database.migration import OnConflict
from bleen.database.sync.table import TABLE, Decision, Side, Touch, Written, decide

WRITERS: tuple[Side | None, ...] = (None, "old", "new")
EVERY = [
    Written(insert, old, new, forward, backward, writer, only_old)
    for insert, old, new, forward, backward, writer, only_old in product(
        (True, False), get_args(Touch), get_args(Touch), (True, False), (True, False), WRITERS, (True, False)
    )
    if insert or "open" not in (old, new)
]


@pytest.mark.parametrize("choice", get_args(OnConflict))
def test_there_is_a_decision_for_every_write(choice: OnConflict) -> None:
    assert {decide(row, choice).source for row in EVERY} <= {None, "old", "new"}


def test_every_rule_decides_some_write_that_no_rule_before_it_decides() -> None:
    first = {next(number for number, rule in enumerate(TABLE) if rule.fits(row)) for row in EVERY}
    assert first == set(range(len(TABLE)))


def test_the_derived_side_changes_only_if_its_source_changed_or_was_not_yet_in_step() -> None:
    """semantics.md: "the derived side changes only if its source changed or was not yet in step; an unrelated UPDATE changes no byte of either"."""
    unrelated = [row for row in EVERY if not row.insert and row.old == row.new == "untouched"]
    assert all(decide(row, "error").source is None for row in unrelated if row.forward or row.backward)
    assert all(decide(row, "error") == Decision("old") for row in unrelated if not (row.forward or row.backward))


@pytest.mark.parametrize("choice", get_args(OnConflict))
def test_what_a_writer_wrote_is_never_overwritten_by_its_own_echo(choice: OnConflict) -> None:
    """semantics.md: the same words. If one side was written and the other was not, the one that was written counts, or nothing is done."""
    assert all(decide(row, choice).source in (None, "old") for row in EVERY if row.old == "touched" and row.new == "untouched")
    assert all(decide(row, choice).source in (None, "new") for row in EVERY if row.new == "touched" and row.old == "untouched")


def test_a_row_whose_new_side_follows_from_its_old_one_is_left_alone_whoever_writes() -> None:
    assert all(decide(row, "error") == Decision(None) for row in EVERY if row.forward)


def test_an_insert_that_gives_the_new_columns_nothing_is_the_old_versions_unless_the_new_one_says_that_it_is_its_own() -> None:
    """semantics.md: "An INSERT of an unknown writer that gives the new columns nothing, where old ones have a value, is the old version's, also if that value
    is the default"."""
    nothing = [row for row in EVERY if row.insert and row.new == "untouched" and row.only_old and not row.forward and not row.backward]
    assert all(decide(row, "new").source == ("new" if row.writer == "new" and row.old != "touched" else "old") for row in nothing)
    assert not any(decide(row, "error").error for row in nothing)


def test_what_cannot_be_decided_is_told_by_the_writer_and_is_no_conflict() -> None:
    for row in EVERY:
        if decide(row, "error").conflict:
            assert row.writer is None
            assert decide(row._replace(writer="old"), "error") == Decision("old")
            assert decide(row._replace(writer="new"), "error") == Decision("new")


def test_on_conflict_decides_for_an_unknown_writer_and_is_counted() -> None:
    """semantics.md: "Undecidable (an unknown writer changed both sides inconsistently, an INSERT that leaves it open because both sides have defaults)"."""
    both = Written(False, "touched", "touched", False, False, None, False)
    leaves_open = Written(True, "open", "untouched", False, False, None, False)
    for row in (both, leaves_open):
        assert decide(row, "old") == Decision("old", conflict=True)
        assert decide(row, "new") == Decision("new", conflict=True)
        assert decide(row, "error") == Decision(None, conflict=True, error=True)
