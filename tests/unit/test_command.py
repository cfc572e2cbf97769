"""What Alembic and Django are asked to do, and what they say, read by their words; with the tools themselves: tests/database."""

import pytest

from bleen.database.command import alembic, django


@pytest.mark.parametrize(
    ("words", "goal"),
    [
        ("python manage.py migrate shop 0002", ("shop", "0002")),
        ("uv run manage.py --settings=site migrate --database other shop 0002 -v 0", ("shop", "0002")),
        ("python -m django migrate shop", ("shop", "")),
        ("django-admin migrate", ("", "")),
        ("./migrate up 7", None),
        ("flask db migrate", None),
    ],
)
def test_django_s_migrate_is_known_by_its_words(words: str, goal: tuple[str, str] | None) -> None:
    assert django.goal(words.split()) == goal


@pytest.mark.parametrize(
    ("words", "beyond"),
    [
        ("manage.py migrate auth", ["shop.0002_note", "shop.0001_initial"]),
        ("manage.py migrate shop 0001", ["shop.0002_note"]),
        ("manage.py migrate shop 0002", []),
        ("manage.py migrate", []),
    ],
)
def test_what_django_takes_back_beyond_what_it_has_brought(words: str, beyond: list[str]) -> None:
    """`revert` undoes what was done: of a whole app, not what others have built on it."""
    goal, planned = django.goal(words.split()), ["shop.0002_note", "shop.0001_initial", "auth.0001_initial"]
    assert goal
    assert goal.beyond(planned) == beyond
    assert goal.beyond(planned, ["shop.0002_note", "crm.0001"]) == planned[1:], "what was noted, whatever the words say"


def test_the_plan_of_django_is_read_behind_what_its_settings_print() -> None:
    plan = "settings.local\nPlanned operations:\nshop.0002_note\n    Add field note to user\n    Raw Python operation -> Fills it.\nblog.0003_más\n"
    assert django.planned(plan) == ["shop.0002_note", "blog.0003_más"]
    assert django.planned("settings.local\nPlanned operations:\n  No planned migration operations.\n") == []


HISTORY = """\
settings.local
<base> -> x9 (head), of another line
m1, c2 -> m2 (head) (mergepoint), both
e3 -> e4 (expand) (head), not run
e2 (c1) -> e3 (expand), needs a contract -> first
e1 -> e2 (expand), by hand
r0 -> e1 (expand), note
c1 -> c2 (contract), no name
r0 -> c1 (contract), no surname
<base> -> r0 (branchpoint), first
"""


@pytest.mark.parametrize(
    ("expand", "revert", "current", "others", "gone"),
    [
        ("e1", "expand@r0", "e1", [], []),
        ("e1", "expand@r0", "e2\nc2", [], ["e2"]),
        ("e1", "r0", "e1\nc1", [], ["c1"]),
        ("e1", "e1", "e2", [], ["e2"]),
        ("e2", "expand@r0", "e2", ["r0", "e1"], ["e1"]),
        ("e3", "expand@e2", "settings.local\ne3 (head)", ["c1"], []),
        ("c1", "contract@r0", "e3", [], ["e3"]),
        ("r0", "base", "r0\nx9 (head)", [], ["x9"]),
        ("gone", "expand@e1", "e2", [], ["e2"]),
        ("expand@head", "expand@e1", "e3\nc1", ["e1", "c1"], []),
        ("e1", "-1", "e2", [], []),
        ("e", "expand@r0", "e1", [], ["e1"]),
        ("e1", "expand@r0", "", [], []),
    ],
)
def test_what_a_downgrade_takes_back_beyond_what_an_upgrade_has_brought(expand: str, revert: str, current: str, others: list[str], gone: list[str]) -> None:
    book = alembic.Book(HISTORY, current)
    assert book.beyond(revert, expand, others) == gone
    assert book.beyond("r0", "e2", [], ["e1", "r0"]) == [each for each in book.taken("r0") if each != "e2"], "what was noted, whatever the words say"


@pytest.mark.parametrize(
    ("words", "goal"),
    [
        ("alembic upgrade 1a2b", "1a2b"),
        ("python -m alembic -c my.ini -x a=b downgrade --tag t expand@0f0f", "expand@0f0f"),
        (".venv/bin/alembic upgrade --sql 0f0f:1a2b", "0f0f:1a2b"),
        ("alembic stamp 1a2b", ""),
        ("flask db upgrade 1a2b", ""),
    ],
)
def test_alembic_s_commands_are_known_by_their_words(words: str, goal: str) -> None:
    assert alembic.goal(words.split()) == goal
