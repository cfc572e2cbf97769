"""What can be said of two routings."""

import pytest

from bleen.model import Environment, Routing, Target

BLUE, GREEN = Environment("blue", 1), Environment("green", 2)
ONE, TWO, PAGE = Target("127.0.0.1", 1), Target("127.0.0.1", 2), Target("127.0.0.1", 9)
CONFIRMED = Routing({GREEN: 100}, None, {BLUE: (TWO,), GREEN: (ONE, TWO)})


@pytest.mark.parametrize(
    ("now", "beyond"),
    [
        (CONFIRMED._replace(shares={GREEN: 100, BLUE: 0}), False),
        (CONFIRMED._replace(shares={}), False),
        (CONFIRMED._replace(amiss="the production listener was closed by hand", preview=BLUE), False),
        (CONFIRMED._replace(targets={GREEN: (ONE,)}), False),
        (CONFIRMED._replace(targets={BLUE: (PAGE,), GREEN: (TWO, ONE)}), False),
        (CONFIRMED._replace(targets={GREEN: (ONE, PAGE)}), True),
        (CONFIRMED._replace(shares={BLUE: 100}), True),
        (CONFIRMED._replace(shares={BLUE: 50, GREEN: 50}), True),
        (CONFIRMED._replace(unknown="the server berth1/maintenance is not ours"), True),
        (CONFIRMED._replace(shares={}, unknown="routes for some hosts only"), True),
    ],
    ids=[
        "the same",
        "nobody",
        "beside production",
        "a copy less",
        "where nobody is led",
        "another address",
        "another share",
        "a split",
        "a stranger",
        "riddles",
    ],
)
def test_who_would_lose_what_they_have_is_known(now: Routing, beyond: bool) -> None:
    """Traffic goes back only to an environment that is healthy now; where nobody is taken away from anybody, nobody's health is asked for."""
    assert now.reaches_beyond(CONFIRMED) is beyond
