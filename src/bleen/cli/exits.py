"""Exit codes: they tell CI the truth. A release that was rolled back did not succeed."""

from bleen.lifecycle import RETURNING, TERMINAL, UNMOVED, Phase, Release

DONE = 0
SAID_NO = 1
USAGE = 2
ABORTED = 3
ROLLED_BACK = 4
HALTED = 5
BUSY = 6
WAITS = 7
BUG = 70
INTERRUPTED = 130


def of(release: Release) -> int:
    """What the state of a release means to whoever deployed it."""
    if release.halted:
        return HALTED
    if release.phase in RETURNING or release.phase in (Phase.ABORTED, Phase.ROLLED_BACK):
        return ROLLED_BACK if release.moved else ABORTED
    if release.phase is Phase.CLOSED:
        return HALTED
    if release.phase in UNMOVED:
        return WAITS
    return DONE


def arrived(release: Release) -> bool:
    """Whether ``deploy`` has nothing more to wait for: HOLDING was reached, or an end, or a person is asked."""
    if release.phase is Phase.AWAITING_PROMOTION:
        return release.plan.mode == "manual" and not release.approved and release.until is not None
    return release.phase in (Phase.HOLDING, Phase.RETIRING, Phase.CONTRACTING) or release.phase in TERMINAL
