"""What the verbs that command a release have in common: ask, follow, say."""

import signal
import sys
from argparse import Namespace
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from bleen.cli import exits, show
from bleen.cli.access import Access, open_service, who
from bleen.errors import UserError
from bleen.lifecycle import Answer, Release, Verb, goes_on, settled


class Commanded(NamedTuple):
    """A command, and what came of it."""

    access: Access
    before: Release
    answer: Answer
    release: Release


def command(args: Namespace, verb: Verb, done: Callable[[Release], bool], options: Mapping[str, Any] = {}) -> Commanded:
    """Has a command obeyed, and follows the release until ``done``. A command that would change nothing is answered from the journal, unless what it is
    about has not come to its end: who drove it may have died, or hang.
    """
    access = open_service(args)
    release = before = access.newest()
    answer = settled(release, verb, options)
    if answer is None or (answer.obeyed and not (release.ended or release.halted or done(release))):
        be_told_of_the_end()
        if not access.service.up:
            raise UserError(f"{access.name} is down: `bleen up` first, then `bleen {verb}`")
        driver, answer = access.driver(), None
        try:
            answer = driver.ask(release.id, verb, who(), options)
            release = driver.follow(release.id, done if answer.obeyed else lambda _: True, show.Waiting(args).told)
        except KeyboardInterrupt:
            release = access.newest()
            if (answer := answer or settled(release, verb, options)) is None:  # nobody has obeyed it, or nobody could tell us yet
                print(f"bleen: {verb} was asked for, and is obeyed by whoever drives within a minute, or not: `bleen status` shows it", file=sys.stderr)
            elif answer.obeyed:
                print(f"bleen: {goes_on(release, verb)}", file=sys.stderr)
            raise
        finally:
            access.leave(driver, release)
    return Commanded(access, before, answer, release)


def be_told_of_the_end() -> None:
    """TERM, and the end of the terminal, are heard as Ctrl-C is: what we drove is left to an engine."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)


def tell(args: Namespace, commanded: Commanded, text: str = "", code: int | None = None) -> int:
    """Says how a command ended; returns the exit code."""
    answer, release = commanded.answer, commanded.release
    if not answer.obeyed:
        code, text = exits.USAGE, answer.text
    elif release.halted:
        code, text = exits.HALTED, f"halted in {release.phase}: {release.halted}"
    show.result(args, text or answer.text, ok=code in (None, exits.DONE), release=show.of_release(release, commanded.access.journal.now()))
    return exits.DONE if code is None else code
