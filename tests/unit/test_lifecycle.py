"""The table of the life of a release: every row, every verb in every phase, and what follows from it. No clock, no I/O."""

import itertools
import re
from collections.abc import Iterator

import pytest

from bleen.lifecycle import (
    BEYOND,
    RETURNING,
    REVERSIBLE,
    TABLE,
    TERMINAL,
    UNMOVED,
    Ask,
    Event,
    Phase,
    Release,
    ReleaseId,
    Verb,
    after,
    fold,
    goes_on,
    halt,
    obey,
    settled,
    way_back,
    ways_on,
)
from bleen.model import Done, Environment, Failed
from bleen.plan import Plan, Probe, Step

P, V = Phase, Verb
OLD = Environment("blue", 1)
PLAN = Plan("shop", "1.1", "green", OLD, "1.0", 2, {"kind": "fake"}, Probe(), (), (Step(100, 5.0),), "auto", 60, "abort", 900, 30, 0)
STEPS = (Step(10, 1.0), Step(50, 1.0), Step(100, 5.0))
FIRST = PLAN._replace(old=None, old_version="", old_replicas=0, environment="blue", version="1.0")

DESIGN = """
PLANNED             EXPANDING           ABORTED       abort
EXPANDING           PROVISIONING        UNDOING       abort
PROVISIONING        TESTING             UNDOING       abort
TESTING             AWAITING_PROMOTION  UNDOING       abort           watched
AWAITING_PROMOTION  PROMOTING           UNDOING       promote,abort   watched
PROMOTING           BAKING              ROLLING_BACK  rollback        watched
BAKING              HOLDING             ROLLING_BACK  rollback        watched
HOLDING             RETIRING            ROLLING_BACK  rollback,retire watched
RETIRING            CONTRACTING         halts         -
CONTRACTING         COMPLETED           halts         -
ROLLING_BACK        UNDOING             halts         rollback
UNDOING             ROLLED_BACK         halts         -
"""
"""design.md, "The life of a release", written down a second time."""
ROWS = DESIGN.strip().splitlines()

CHANGES, ALREADY, REFUSED = "changes", "already", "refused"
# fmt: off
ANSWERS: dict[Verb, dict[str, tuple[tuple[Phase, ...], str]]] = {
    V.PROMOTE: {
        CHANGES: ((P.AWAITING_PROMOTION,), "is being promoted"),
        ALREADY: ((*REVERSIBLE, *BEYOND), "1.1 is promoted already"),
        REFUSED: ((P.PLANNED, P.EXPANDING, P.PROVISIONING, P.TESTING), "wait for AWAITING_PROMOTION"),
        "refused for good": ((*RETURNING, P.ABORTED, P.ROLLED_BACK), "`bleen deploy 1.1` tries again"),
        "refused, closed": ((P.CLOSED,), "`bleen status` shows what serves"),
    },
    V.ABORT: {
        CHANGES: (UNMOVED, "users saw nothing"),
        ALREADY: ((P.ABORTED,), "aborted already"),
        REFUSED: (REVERSIBLE, "`bleen rollback` returns to 1.0"),
        "refused, goes back": (RETURNING, "`bleen wait` waits for it"),
        "refused, given up": ((P.RETIRING, P.CONTRACTING), "`bleen deploy 1.0` is the way back"),
        "refused, ended": ((P.COMPLETED, P.ROLLED_BACK, P.CLOSED), "has ended"),
    },
    V.ROLLBACK: {
        CHANGES: ((*UNMOVED, *REVERSIBLE), ""),
        ALREADY: ((P.ROLLING_BACK,), "already going back to 1.0"),
        "already there": ((P.UNDOING, P.ROLLED_BACK), "already on 1.0"),
        "already aborted": ((P.ABORTED,), "aborted already"),
        REFUSED: (BEYOND, "`bleen deploy 1.0` is the way back"),
        "refused, closed": ((P.CLOSED,), "`bleen status` shows what serves"),
    },
    V.RETIRE: {
        CHANGES: ((P.HOLDING,), "1.0 is being retired"),
        ALREADY: (BEYOND, "given up already"),
        REFUSED: ((*UNMOVED, P.PROMOTING, P.BAKING, *RETURNING, P.ABORTED, P.ROLLED_BACK, P.CLOSED), "no rollback window to close"),
    },
    V.RESUME: {ALREADY: (tuple(Phase), "not halted")},
    V.CLOSE: {
        ALREADY: ((P.CLOSED,), "closed already"),
        REFUSED: (tuple(p for p in Phase if p is not P.CLOSED), "only a halted release can be closed"),
    },
}
# fmt: on


def release(phase: Phase, plan: Plan = PLAN, **facts: object) -> Release:
    """A release in a phase, as a life without surprises would have brought it there."""
    moved = phase not in UNMOVED and phase is not P.ABORTED
    return Release(ReleaseId("shop", 2), plan, phase, moved=moved, entered=10.0)._replace(**facts)  # type: ignore[arg-type]


@pytest.mark.parametrize("keep", [1, None])
def test_an_old_environment_that_is_kept_is_not_called_given_up(keep: int | None) -> None:
    _, event, answer = obey(release(P.COMPLETED, PLAN._replace(keep=keep)), Ask(1, V.RETIRE, "somebody"), 20.0, 0.0)
    assert event is None
    assert "1.0 stays as `after_window` says, until the next deploy" in answer.text


@pytest.mark.parametrize("verb", [V.PROMOTE, V.ABORT])
def test_who_meets_a_rollback_that_halted_is_told_what_ends_that(verb: Verb) -> None:
    """What was told once led to a deploy, which is refused, or to the rollback that had just failed."""
    _, _, answer = obey(release(P.ROLLING_BACK, halted="1.0 is not healthy"), asked(verb), 20.0, 1.7e9)
    assert answer.text.endswith("it is halted: `bleen status` shows why, then `bleen resume`, `bleen rollback` or `bleen close`")


@pytest.mark.parametrize(
    ("phase", "plan", "back"), [(P.BAKING, PLAN, True), (P.PLANNED, FIRST, True), (P.BAKING, FIRST, False), (P.RETIRING, PLAN, False), (P.UNDOING, PLAN, False)]
)
def test_who_cannot_go_back_is_not_told_to(phase: Phase, plan: Plan, back: bool) -> None:
    assert ("`bleen rollback`" in ways_on(release(phase, plan))) is back


def test_who_may_have_users_on_two_versions_is_told_when_a_close_is_obeyed() -> None:
    """It is refused as long as the traffic is split, which it still is as the last step begins."""
    steps = PLAN._replace(steps=(Step(10, 1.0), Step(100, 1.0)))
    close = " or, where all users are on one version, `bleen close`"
    for phase, step, force in ((P.BAKING, 0, ""), (P.PROMOTING, 1, ""), (P.ROLLING_BACK, 0, " --force"), (P.ROLLING_BACK, 1, " --force")):
        assert ways_on(release(phase, steps, step=step)) == f"`bleen resume`, `bleen rollback{force}`{close}"
    assert ways_on(release(P.BAKING, steps, step=1)) == "`bleen resume`, `bleen rollback` or `bleen close`"
    halted = release(P.RETIRING, halted="the router says something else")
    assert way_back(halted) == "`bleen close` ends this, then `bleen deploy 1.0` is the way back"


def every_release() -> Iterator[Release]:
    """In whatever state one can be."""
    for plan, phase, approved, forced in itertools.product((PLAN, FIRST, PLAN._replace(steps=STEPS)), Phase, (False, True), (False, True)):
        if plan.old or phase is not P.ROLLING_BACK:
            for step, halted in itertools.product(range(len(plan.steps)), ("", "it broke") if phase in TABLE else ("",)):
                yield release(phase, plan, approved=approved, forced=forced, step=step, halted=halted)


def leads_on(now: Release, verb: str, force: bool) -> bool:
    """Whether a verb that a person is told of does something there."""
    if verb == "wait":
        return not now.ended and not now.halted
    if verb == "deploy":
        return now.ended or (now.phase in (*BEYOND, *RETURNING) and not now.halted)  # it waits for what comes to its end by itself
    return not (verb == V.CLOSE and now.split) and settled(now, Verb(verb), {"force": force}) is None


def test_whatever_a_person_is_told_to_do_is_obeyed_where_it_is_told() -> None:
    """What an answer names first leads on from here; what stands behind a "then", from there."""
    told = 0
    for now in every_release():
        texts = [obey(now, asked(verb, force), 20.0, 1.7e9)[2].text for verb in Verb for force in (False, True)]
        texts += (
            [ways_on(now)] * bool(now.halted) + [way_back(now)] * (now.phase in BEYOND and now.plan.old is not None) + [goes_on(now, verb) for verb in Verb]
        )
        for text in texts:
            first, *_ = re.split(r"`bleen close` ends this, then |once it has ended, | or, where all users are on one version, ", text)
            for verb, options in re.findall(r"`bleen (\w+)([^`]*)`", first):
                told += 1
                assert verb == "status" or leads_on(now, verb, "--force" in options), (now.phase, now.halted, text)
            if first != text and "ends this" in text:
                assert leads_on(now, V.CLOSE, False), (now.phase, text)
    assert told > 1000


def every_answer() -> Iterator[tuple[Verb, Phase, str, str]]:
    for verb, kinds in ANSWERS.items():
        for kind, (phases, text) in kinds.items():
            for phase in phases:
                yield verb, phase, kind.split()[0].rstrip(","), text


def asked(verb: Verb, force: bool = False) -> Ask:
    return Ask(7, verb, "ann", {"force": True} if force else {})


@pytest.mark.parametrize("line", ROWS, ids=lambda line: line.split()[0])
def test_a_row_of_the_table_is_the_row_of_the_design(line: str) -> None:
    phase, then, fails, may, *watched = line.split()
    row = TABLE[Phase(phase)]
    assert (row.then, row.fails, row.watched) == (Phase(then), None if fails == "halts" else Phase(fails), bool(watched))
    assert {str(verb) for verb in row.may} == (set() if may == "-" else set(may.split(",")))
    assert row.does


def test_every_phase_has_one_row_or_is_terminal() -> None:
    assert {Phase(line.split()[0]) for line in ROWS} == set(TABLE)
    assert set(TABLE) | set(TERMINAL) == set(Phase)
    assert not set(TABLE) & set(TERMINAL)
    assert (*UNMOVED, *REVERSIBLE, P.RETIRING, P.CONTRACTING, *RETURNING) == tuple(TABLE)


@pytest.mark.parametrize("phase", TABLE)
def test_done_leads_to_the_next_phase_and_forgets_what_was_waited_for(phase: Phase) -> None:
    now, event = after(release(phase, until=99.0, why="a while", memo={"seen": 1}), Done({"ready": 2}), 20.0, 1.7e9)
    assert now.phase is TABLE[phase].then
    assert (now.why, now.memo, now.entered, now.since) == ("", {}, 20.0, 1.7e9)
    assert now.until == (20.0 + PLAN.window if now.phase is P.HOLDING else None)
    assert event.facts == {"ready": 2}


def test_the_end_of_a_hold_is_known_as_soon_as_it_begins_and_a_first_release_has_none() -> None:
    assert after(release(P.BAKING), Done(), 20.0, 1.7e9)[0].until == 20.0 + PLAN.window
    assert after(release(P.BAKING, FIRST), Done(), 20.0, 1.7e9)[0].until is None


@pytest.mark.parametrize("phase", TABLE)
def test_failure_takes_the_failure_edge_or_halts(phase: Phase) -> None:
    now, event = after(release(phase), Failed("it broke", {"log": []}), 20.0, 1.7e9)
    if edge := TABLE[phase].fails:
        assert (now.phase, now.halted, now.reason) == (edge, "", "it broke")
    else:
        assert (now.phase, now.halted) == (phase, "it broke")
    assert "it broke" in event.text


@pytest.mark.parametrize("phase", [p for p in TABLE if p is not P.ROLLING_BACK])
def test_a_first_release_halts_where_others_roll_back(phase: Phase) -> None:
    """A first release has nothing to return to: a failure before promotion is ABORTED; after it halted, still serving."""
    now, _ = after(release(phase, FIRST), Failed("it broke"), 20.0, 1.7e9)
    assert now.phase is not P.ROLLING_BACK
    assert bool(now.halted) is (phase not in UNMOVED)


def test_undoing_ends_aborted_if_traffic_never_moved_and_rolled_back_if_it_did() -> None:
    for moved, end in ((False, P.ABORTED), (True, P.ROLLED_BACK)):
        assert after(release(P.UNDOING, moved=moved), Done(), 20.0, 1.7e9)[0].phase is end


def test_steps_are_promoted_and_judged_one_after_the_other() -> None:
    now, went = release(P.PROMOTING, PLAN._replace(steps=STEPS)), []
    while now.phase is not P.HOLDING:
        went.append((now.phase, now.step, dict(now.shares or {})))
        now, _ = after(now, Done(), 20.0, 1.7e9)
    new = now.environment
    assert went == [
        (P.PROMOTING, 0, {new: 10, OLD: 90}),
        (P.BAKING, 0, {}),
        (P.PROMOTING, 1, {new: 50, OLD: 50}),
        (P.BAKING, 1, {}),
        (P.PROMOTING, 2, {new: 100}),
        (P.BAKING, 2, {}),
    ]


def test_a_first_release_gets_all_of_the_traffic_at_its_first_step() -> None:
    assert release(P.PROMOTING, FIRST._replace(steps=STEPS)).shares == {Environment("blue", 2): 100}


def test_only_promoting_and_rolling_back_intend_a_change_of_traffic() -> None:
    assert {p for p in Phase if release(p).shares is not None} == {P.PROMOTING, P.ROLLING_BACK}


def test_the_table_of_answers_has_every_verb_in_every_phase() -> None:
    assert sorted((v, p) for v, p, _, _ in every_answer()) == sorted(itertools.product(Verb, Phase))


@pytest.mark.parametrize(("verb", "phase", "kind", "text"), [pytest.param(*each, id=f"{each[0]} in {each[1]}") for each in every_answer()])
def test_a_verb_is_obeyed_refused_or_fulfilled_already(verb: Verb, phase: Phase, kind: str, text: str) -> None:
    """`promote`: the only thing that moves users forward. `abort`: before PROMOTING. `rollback`: from RETIRING on it changes nothing."""
    before = release(phase)
    now, event, answer = obey(before, asked(verb), 20.0, 1.7e9)
    assert (answer.number, text in answer.text, answer.obeyed) == (7, True, kind != REFUSED), answer
    assert (event is not None) == (kind == CHANGES)
    assert (settled(before, verb) is None) == (kind == CHANGES)
    if kind != CHANGES:
        assert now == before
    assert "None" not in answer.text


@pytest.mark.parametrize("phase", TABLE)
@pytest.mark.parametrize("halted", ["", "it broke"], ids=["under way", "halted"])
@pytest.mark.parametrize("force", [False, True], ids=["", "forced"])
@pytest.mark.parametrize("verb", Verb)
def test_a_verb_given_twice_equals_once(verb: Verb, phase: Phase, halted: str, force: bool) -> None:
    """Each names an end, so that given twice it equals once."""
    once, _, answer = obey(release(phase, halted=halted), asked(verb, force), 20.0, 1.7e9)
    twice, event, again = obey(once, asked(verb, force), 30.0, 1.8e9)
    assert (twice, event, again.obeyed) == (once, None, answer.obeyed)


def test_the_way_back_after_the_window_is_no_promise_where_a_contract_may_forbid_it() -> None:
    """ "After it, deploy, promote and rollback refuse a version that does not." """
    plan = PLAN._replace(database={"migrations": ["0006", "0007"], "before": ["0006"], "contracts": ["0006", "0007"]})
    _, _, answer = obey(release(P.COMPLETED, plan), asked(V.ROLLBACK), 20.0, 1.7e9)
    assert answer.text.endswith("`bleen deploy 1.0` is the way back, unless what it needs was contracted (0007): `bleen migrate status`")
    shipped = plan._replace(database={**plan.database, "before": ["0006", "0007"]})
    _, _, answer = obey(release(P.COMPLETED, shipped), asked(V.ROLLBACK), 20.0, 1.7e9)
    assert answer.text.endswith("`bleen deploy 1.0` is the way back")


@pytest.mark.parametrize("phase", [p for p in Phase if p not in UNMOVED])
@pytest.mark.parametrize("verb", Verb)
def test_no_command_but_promote_moves_users_forward(verb: Verb, phase: Phase) -> None:
    """`promote`: the only thing that moves users forward."""
    for halted in ("", "it broke"):
        now, _, _ = obey(release(phase, halted=halted), asked(verb, True), 20.0, 1.7e9)
        assert now.phase is phase or now.phase not in (P.PROMOTING, P.BAKING, P.HOLDING, P.COMPLETED)


@pytest.mark.parametrize("verb", [verb for verb in Verb if verb is not Verb.PROMOTE])
def test_no_command_but_promote_approves_of_a_release(verb: Verb) -> None:
    """`promote`: the only thing that moves users forward."""
    assert [phase for phase in UNMOVED if obey(release(phase), asked(verb), 20.0, 1.7e9)[0].approved] == []


def test_no_edge_leads_back_once_the_old_environment_is_given_up() -> None:
    """From RETIRING on it changes nothing, names `deploy 1.0`, exit 2."""
    for phase, halted in itertools.product(BEYOND, ("", "it broke")):
        ways = [obey(release(phase, halted=halted), asked(verb, True), 20.0, 1.7e9)[0].phase for verb in Verb]
        ways += [after(release(phase), outcome, 20.0, 1.7e9)[0].phase for outcome in (Done(), Failed("it broke")) if phase in TABLE]
        assert not {P.ROLLING_BACK, P.UNDOING, P.PROMOTING} & set(ways)


@pytest.mark.parametrize("phase", [p for p in TABLE if p not in UNMOVED])
def test_a_halted_release_is_resumed_closed_or_what_its_row_allows(phase: Phase) -> None:
    """A halted release: `resume` tries again, `rollback` where its row allows it, `close` accepts what the router serves now as the truth."""
    stuck, event = halt(release(phase), "both are dead", 1.7e9)
    assert (stuck.phase, event.halted) == (phase, "both are dead")
    resumed, _, answer = obey(stuck, asked(V.RESUME), 20.0, 1.7e9)
    assert (answer.obeyed, resumed.phase, resumed.halted, resumed.entered) == (True, phase, "", 20.0)
    closed, _, answer = obey(stuck, asked(V.CLOSE), 20.0, 1.7e9)
    assert (answer.obeyed, closed.phase, closed.halted, closed.ended) == (True, P.CLOSED, "", True)
    assert closed.reason.startswith("close by ")
    for verb in TABLE[phase].may:
        now, told, answer = obey(stuck, asked(verb), 20.0, 1.7e9)
        assert answer.obeyed
        assert told is not None
        assert now.halted == ""


def test_rollback_of_a_first_release_says_that_there_is_nothing_to_go_back_to() -> None:
    for phase in (*REVERSIBLE, P.RETIRING, P.COMPLETED):
        _, event, answer = obey(release(phase, FIRST), asked(V.ROLLBACK), 20.0, 1.7e9)
        assert (event, answer.obeyed) == (None, False)
        assert "1.0 is the first release" in answer.text


def test_retire_of_a_first_release_says_that_there_was_nothing_to_give_up() -> None:
    for phase in BEYOND:
        answer = settled(release(phase, FIRST), V.RETIRE)
        assert answer is not None
        assert (answer.obeyed, answer.text) == (True, "1.0 is the first release: there is no old environment to give up")


def test_force_is_remembered_and_said() -> None:
    now, event, _ = obey(release(P.ROLLING_BACK, halted="1.0 is not healthy"), asked(V.ROLLBACK, force=True), 20.0, 1.7e9)
    assert (now.forced, now.phase, now.halted) == (True, P.ROLLING_BACK, "")
    assert event is not None
    assert "by force" in event.text


def test_the_first_reason_of_a_rollback_is_kept() -> None:
    failed, _ = after(release(P.BAKING), Failed("1.1 is dead"), 20.0, 1.7e9)
    stuck, _ = halt(failed, "1.0 is not healthy", 1.7e9)
    assert obey(stuck, asked(V.ROLLBACK, force=True), 20.0, 1.7e9)[0].reason == "1.1 is dead"


def test_folded_events_equal_the_row_whatever_happened() -> None:
    """Folding a release's events gives its row's phase, step, moved and halted: for every outcome and command, to a depth of three, from every phase."""
    steps: list[tuple[str, Done | Failed | Ask | None]] = [
        ("done", Done()),
        ("failed", Failed("it broke")),
        ("halt", None),
        *((str(v), asked(v, True)) for v in Verb),
    ]
    for phase, plan in itertools.product(TABLE, (PLAN._replace(steps=STEPS), FIRST)):
        for way in itertools.product(steps, repeat=3):
            now, events = release(phase, plan), [Event(0, 0.0, phase, 0, release(phase).moved, "", "")]
            for _, step in way:
                if isinstance(step, Ask):
                    now, event, _ = obey(now, step, 20.0, 1.7e9)
                elif now.ended:
                    break
                else:
                    now, event = halt(now, "both are dead", 1.7e9) if step is None else after(now, step, 20.0, 1.7e9)
                events += [event] if event else []
            assert fold(events) == (now.phase, now.step, now.moved, now.halted), [name for name, _ in way]


def test_what_was_forced_is_not_forced_again_by_who_only_tries_again() -> None:
    """ "Traffic goes back only to an environment that is healthy now"; force is asked for each time."""
    forced, _, _ = obey(release(P.HOLDING), Ask(1, V.ROLLBACK, "somebody", {"force": True}), 20.0, 0.0)
    assert forced.forced
    halted, _ = halt(forced, "the router does not answer", 0.0)
    for verb in (V.ROLLBACK, V.RESUME):
        assert not obey(halted, Ask(2, verb, "somebody"), 30.0, 0.0)[0].forced
