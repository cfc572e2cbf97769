"""Bring a version to the idle environment, prove it, and move traffic to it.

The new version is started beside the old one, looked after until it is healthy, tested through the preview, and then gets the traffic; the old one stays
warm for the rollback window. Any failure before the switch leaves users where they are (exit 3); one after it takes them back (exit 4).
Ctrl-C or TERM before PROMOTING aborts; from PROMOTING on it detaches, and the release goes on.
Where nobody reads what it prints any more (`| head`), it says so, and the release goes on.
The version that serves already is not released again, unless its settings have changed or --again is said: exit 2 if no copy of it is well.
A deploy waits for an earlier release that is ending; one that is not ending is in the way (exit 6), but for --replace and --end-window.
"""

import signal
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import FrameType

from bleen.cli import exits, picture, planning, show
from bleen.cli.access import Access, start_engine, who
from bleen.engine.drive import Driver
from bleen.errors import Busy, Unavailable, UserError
from bleen.host.files import room
from bleen.lifecycle import UNMOVED, Event, Phase, Release, Verb

_ROOM = 1 << 20
"""Bytes that a release needs to be written down, with something to spare."""


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("version", help="the version; fills {version} in bleen.yaml")
    parser.add_argument("--replace", action="store_true", help="abort an earlier release that has not been promoted yet")
    parser.add_argument("--again", action="store_true", help="release the active version once more, from its directory as it is now")
    parser.add_argument("--end-window", action="store_true", help="give up the warm environment of an earlier release: its rollback window ends now")


_UNREAD = (
    "bleen: nobody reads what this prints any more; the release goes on, promotion included: `bleen wait` waits for it, `bleen abort` ends it before the switch"
)


class Detached(Exception):
    """A signal came after the switch: the release goes on without us."""


class Following:
    """Tells how a release goes; a signal aborts it, or detaches from it."""

    def __init__(self, args: Namespace, access: Access, driver: Driver) -> None:
        self._access, self._driver, self._teller = access, driver, _teller(args, access)
        self._signal, self._waiting = 0, show.Waiting(args)

    def __enter__(self) -> "Following":
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._caught)
        return self

    def __exit__(self, *_: object) -> None:
        self._teller.close()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def told(self, release: Release, events: Sequence[Event]) -> None:
        self._teller.told(self._access.as_it_is(release), events)
        if not self._signal or release.ended or release.phase is Phase.UNDOING:
            return
        if release.phase not in UNMOVED or not self._driver.ask(release.id, Verb.ABORT, f"{who()}, by a signal").obeyed:
            raise Detached

    def waits(self, release: Release, events: Sequence[Event]) -> None:
        """While an earlier release ends, there is nothing of ours to abort. Says why that takes long."""
        self._waiting.told(release, events)
        if self._signal:
            raise KeyboardInterrupt

    def _caught(self, number: int, frame: FrameType | None) -> None:
        self._signal = number


def _teller(args: Namespace, access: Access) -> show.Teller:
    if args.json:
        return show.Silence()
    if not sys.stdout.isatty():
        return show.Lines()
    from bleen.cli import live

    return live.Screen(access)


def run(args: Namespace) -> int:
    planned = planning.make(args)
    access = planned.access
    _tell_rolled_back(args, access)
    if (code := _nothing_to_do(args, planned)) is not None:
        return code
    driver = access.driver()
    opened: Release | int = exits.DONE
    with Following(args, access, driver) as following:
        try:
            opened = _open(args, access, driver, following)
            if isinstance(opened, int):
                access.leave(driver, access.newest())
                return opened
            release = opened
            if not args.json:
                print("".join(f"note: {warning}\n" for warning in release.plan.warnings), end="", flush=True)
            if not args.json and not access.watched:
                print("nobody watches: no resident engine runs, this process drives the release; `bleen up` starts one")
            release = driver.follow(release.id, exits.arrived, following.told)
        except Detached:
            access.leave(driver, access.newest())
            show.result(args, "detached: the release goes on; `bleen wait` waits for it, `bleen rollback` takes it back", ok=False)
            return exits.INTERRUPTED
        except BaseException as error:  # whatever breaks us off: what we drove, and an engine that we ended, is somebody's again
            if newest := access.journal.latest(access.name):
                access.leave(driver, newest)
            if isinstance(error, BrokenPipeError) and isinstance(opened, Release):
                print(_UNREAD, file=sys.stderr)
            raise
    if driver.ended_resident:  # it did not answer; the hold is watched again
        start_engine(access.place)
    if release.phase is Phase.HOLDING and release.plan.old and not release.halted:  # a first release holds nothing
        _tell_hold(args, access, release)
    return _end(args, access, release)


def _open(args: Namespace, access: Access, driver: Driver, following: Following) -> Release | int:
    """Records the release, once nothing is in its way; the exit code instead, if by then it would bring nothing."""
    while True:
        _make_way(args, access, driver, following)
        planned = planning.make(args)  # what is active may be another one now
        if (code := _nothing_to_do(args, planned)) is not None:
            return code
        if release := _record(planned, driver):
            access.place.remember(planned.config.path)
            access.place.comes_from(planned.config.path)
            return release


def _record(planned: planning.Planned, driver: Driver) -> Release | None:
    """Records the release; None if somebody else was faster. What was staged for one that was not recorded is removed."""
    access = planned.access
    planning.sweep(access)
    secrets = planning.stage(access.place, planned.config)
    plan = planned.plan._replace(platform={**planned.plan.platform, "secrets": secrets})
    try:
        return driver.unblocked(partial(access.journal.open, access.name, plan, who()))
    except Exception as error:
        Path(secrets).unlink(missing_ok=True)
        if isinstance(error, Unavailable):
            raise UserError(f"nothing was changed: {error}") from None
        if not isinstance(error, Busy):
            raise
        return None


def _make_way(args: Namespace, access: Access, driver: Driver, following: Following) -> None:
    """Waits for an earlier release that is ending. Raises Busy for one that is not, unless the person said what is to become of it."""
    _must_have_room(access)  # or an earlier release is given up for one that cannot be written down, or that hangs once it is
    earlier = access.journal.latest(access.name)
    if earlier is None or earlier.ended:
        return
    name = f"release {earlier.id.number} ({earlier.plan.version})"
    if args.replace and earlier.phase in UNMOVED and not earlier.halted:
        driver.ask(earlier.id, Verb.ABORT, f"{who()}, to deploy {args.version}")
    elif args.end_window and earlier.phase is Phase.HOLDING and not earlier.halted:
        answer = driver.ask(earlier.id, Verb.RETIRE, f"{who()}, to deploy {args.version}")
        if not answer.obeyed:
            raise Busy(answer.text)
    elif why := planning.in_the_way(access, earlier, args.version):
        raise Busy(why)
    if not args.json:
        print(f"waits for {name}, which is ending", flush=True)
    ended = driver.follow(earlier.id, lambda _: False, following.waits)
    if ended.halted:
        raise Busy(f"{name} halted in {ended.phase}: {ended.halted}")


def _must_have_room(access: Access) -> None:
    if room(access.place.path) < _ROOM:
        planning.sweep(access)  # what has ended may be what takes it
    if room(access.place.path) < _ROOM:
        raise UserError(f"the disk of {access.place.path} is full: nothing was changed; make room, then try again")


def _nothing_to_do(args: Namespace, planned: planning.Planned) -> int | None:
    """The exit code, if the plan would bring nothing: that of the release that brought it, where it halted since. None if there is something to do."""
    if args.again:
        return None
    newest = planned.access.journal.latest(planned.access.name)
    under_way = newest is not None and not newest.ended and newest.phase is not Phase.HOLDING
    if under_way or not planning.unchanged(planned):
        return None
    if newest is not None and newest.halted:
        return _end(args, planned.access, newest)
    said, well = planning.serves_already(planned)
    show.result(
        args,
        f"{said}; --again releases it once more" if well else said,
        ok=well,
        release=show.of_release(planned.current, planned.access.journal.now()) if planned.current else None,
    )
    return exits.DONE if well else exits.USAGE


def _tell_rolled_back(args: Namespace, access: Access) -> None:
    """A rollback that happened since the last deploy is the first thing that the next one says."""
    newest = access.journal.latest(access.name)
    if newest is not None and newest.phase in (Phase.UNDOING, Phase.ROLLED_BACK) and newest.moved and not args.json:
        print(f"note: release {newest.id.number} ({newest.plan.version}) was rolled back: {show.headline(newest.reason)}")


def _tell_hold(args: Namespace, access: Access, release: Release) -> None:
    if args.json:
        return
    back = picture.of(access)["rollback"]
    way = f"stays warm for {show.span(release.plan.window)}: `bleen rollback` returns to it" if back["ready"] else f"is no way back: {back['reason']}"
    print(f"{release.plan.new_words} serves; {release.plan.old_words} {way}")
    if access.unreserved:
        print(f"note: {access.unreserved}")
    if not access.watched:
        print("nobody watches the hold: no resident engine runs; `bleen up` starts one")


def _end(args: Namespace, access: Access, release: Release) -> int:
    code, why = exits.of(release), release.halted or release.reason
    if not args.json:  # the event that tells all of it has been printed
        why = show.headline(why)
    text = {
        exits.DONE: f"{release.plan.version} is released",
        exits.ABORTED: f"aborted, users saw nothing: {why}",
        exits.ROLLED_BACK: f"rolled back to {release.plan.old_words}: {why}",
        exits.HALTED: f"halted in {release.phase}, needs a person: {why}",
        exits.WAITS: f"{release.plan.version} waits for `bleen promote`",
    }[code]
    show.result(args, text, ok=code in (exits.DONE, exits.WAITS), release=show.of_release(release, access.journal.now()))
    return code
