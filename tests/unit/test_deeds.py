"""What statements do, by name."""

import pytest

from bleen.database.deeds import Names, read, same
from bleen.database.statements import Dialect


@pytest.mark.parametrize(
    ("one", "other", "may_be"),
    [
        (("table", "users"), ("table", "app", "users"), True),
        (("table", "shop", "users"), ("table", "app", "users"), False),
        (("table", "users"), ("index", "users"), False),
        (("table", "Users"), ("table", "users"), False),
        (("column", "users", "a"), ("column", "app", "users", "a"), True),
        (("routine", "half", "(?)"), ("routine", "app", "half", "(integer)"), True),
        (("routine", "half", "(text)"), ("routine", "half", "(integer)"), False),
        (("table",), ("table", "app", "users"), True),
    ],
    ids=lambda each: ".".join(each) if isinstance(each, tuple) else "",
)
def test_two_names_may_be_one_thing_where_what_both_say_is_the_same(one: Names, other: Names, may_be: bool) -> None:
    assert same(one, other) is same(other, one) is may_be


@pytest.mark.parametrize("dialect", ["postgres", "mysql"])
def test_what_is_new_goes_by_the_name_that_its_table_has_by_then(dialect: Dialect) -> None:
    made: set[Names] = set()
    for part in read("CREATE TABLE notes (id int); ALTER TABLE notes ADD COLUMN a int; ALTER TABLE notes RENAME TO remarks", dialect)[0]:
        made = part.leaves(made)
    assert {("table", "remarks"), ("column", "remarks", "a")} <= made
