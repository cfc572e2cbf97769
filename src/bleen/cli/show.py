"""What people and programs get to see. Plain lines, or JSON with ``--json``; ``live`` has the picture for terminals."""

import json
import sys
import time
from argparse import Namespace
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from bleen.host import clock
from bleen.lifecycle import TABLE, TERMINAL, Event, Phase, Release
from bleen.plan import Plan, duration


def result(args: Namespace, text: str, ok: bool = True, **facts: Any) -> None:
    """The end of a verb: a line, on standard error if it is bad news; or one JSON object."""
    if args.json:
        print(json.dumps({"ok": ok, "text": text, **facts}))
    else:
        print(text, file=sys.stdout if ok else sys.stderr)


class Teller(Protocol):
    """Tells a person how a release goes while it is followed."""

    def told(self, release: Release, events: Sequence[Event]) -> None: ...

    def close(self) -> None: ...


class Silence:
    """Programs are told the end alone."""

    def told(self, release: Release, events: Sequence[Event]) -> None:
        pass

    def close(self) -> None:
        pass


QUIET, MUTE = 10.0, 60.0
"""Seconds without a line after which another wait is told, and after which the same one is told again: CI ends jobs that say nothing."""


class Lines(Silence):
    """A line an event, and one for what takes long, for logs and pipes."""

    def __init__(self) -> None:
        self._said, self._since = "", time.monotonic()

    def told(self, release: Release, events: Sequence[Event]) -> None:
        for event in events:
            print("\n".join([event_line(event, release.plan), *failure_lines(event)]), flush=True)
        now = time.monotonic()
        if events:
            self._said, self._since = "", now
        elif release.why and not release.halted and now >= self._since + (MUTE if release.why == self._said else QUIET):
            self._said, self._since = release.why, now
            print(f"{clock.local(clock.wall())}  {release.phase!s:18}  waits for {release.why}", flush=True)


class Waiting(Silence):
    """Says what is waited for, once it has taken a second: on standard error, so that no program stumbles over it."""

    def __init__(self, args: Namespace) -> None:
        self._quiet = args.json
        self._said, self._since = "", time.monotonic()

    def told(self, release: Release, events: Sequence[Event]) -> None:
        if not self._quiet and not release.halted and release.why not in (self._said, "") and time.monotonic() > self._since + 1:
            self._said, self._since = release.why, time.monotonic()
            print(f"{release.phase!s}: waits for {release.why}", file=sys.stderr, flush=True)


def of_release(release: Release, now: float) -> dict[str, Any]:
    """A release as ``--json`` has it everywhere; ``now`` is the journal's."""
    left = None if release.until is None or release.ended else release.until - now
    until, seconds = (None, None) if left is None else (stamp(clock.wall() + left), round(left, 1))
    return {
        "number": release.id.number,
        "version": release.plan.version,
        "phase": str(release.phase),
        "halted": release.halted or None,
        "since": stamp(release.since),
        "waiting": {"until": until, "seconds": seconds, "why": release.why or None},
        "approved": release.approved,
        "environment": release.plan.environment,
        "reason": release.reason or None,
    }


def of_event(event: Event) -> dict[str, Any]:
    """An event as ``--json`` has it everywhere."""
    return {"number": event.number, "at": stamp(event.at), "phase": str(event.phase), "halted": event.halted or None, "text": event.text, "facts": event.facts}


def event_line(event: Event, plan: Plan) -> str:
    """An event as a line: when, where the release is now, and what that means for this plan. One more before it where requests were cut, or failed."""
    done = not event.halted and event.text.endswith(" done")
    does = _does(event, plan) if done else event.text
    line = f"{clock.local(event.at)}  {event.phase!s:18}  {'; '.join([does, *_written(event, plan), *_left(event, plan)])}"
    if lost := _cut(event) or _failed(event, plan):  # in the phase that has ended
        return f"{clock.local(event.at)}  {event.text.removesuffix(' done') if done else event.phase!s:18}  {lost}\n{line}"
    return line


def _cut(event: Event) -> str:
    """What a drain did not wait for."""
    cut = event.facts.get("cut", 0)
    return f"{cut} request{'' if cut == 1 else 's'} in flight had not ended in time, and {'was' if cut == 1 else 'were'} cut" if cut else ""


def _failed(event: Event, plan: Plan) -> str:
    """What a bake shows and does not act on."""
    errors, requests = event.facts.get("errors", 0), event.facts.get("requests", 0)
    way = f"; `bleen rollback` returns to {plan.old_version}" if plan.old else ""
    return f"{errors} of {requests} requests to {plan.version} so far ended in errors (5xx, or broken off): nothing is moved for that{way}" if errors else ""


def _written(event: Event, plan: Plan) -> list[str]:
    """After a rollback: what the new version had written in the new shape, how much of it the old one cannot read, and what of it the old one would overwrite,
    by pair of columns.
    """
    said = []
    for pair, each in event.facts.get("written", {}).items():
        lost = each.get("lost", 0)  # an older bleen did not count it
        reads = f"all but {each['unreadable']}" if each["unreadable"] else "" if lost else "them all"
        wrote = f"{each['written']} rows" if "written" in each else "rows that nobody counts"  # not every server has a counter that writers do not wait for
        said.append(f"{plan.version} wrote {wrote} of {pair}" + (f", and {plan.old_version} reads {reads}" if reads else ""))
        if lost:
            such = f" (such as {_harmless(each['such'])})" if each["such"] else ""
            say = "row says" if lost == 1 else "rows say"
            said.append(f"{lost} {say} more in the new columns than {plan.old_version} sees{such}: where it updates the old ones, that is overwritten")
    return said


def _left(event: Event, plan: Plan) -> list[str]:
    """What the database was left with: contracts that wait, those of another service as that one's, and what could not be asked or tidied up."""
    waits = []
    for each in event.facts.get("pending", ()):
        owner = each.get("service", "")  # an earlier bleen did not say
        waits.append((each["migration"] if owner in ("", plan.service) else f"{each['migration']} of {owner}", each["waits"]))
    said = [f"{name} stays pending" + (f": {headline(why[0])}" if why else "") for name, why in waits]
    return said + [f"the database: {each}" for each in [event.facts.get("database")] if each]


def _does(event: Event, plan: Plan) -> str:
    if event.phase is Phase.COMPLETED and plan.old is None:
        return "the new version serves"
    if event.phase in TERMINAL:
        return TERMINAL[event.phase]
    if event.phase in (Phase.EXPANDING, Phase.CONTRACTING) and not plan.database:
        return "nothing: no database is configured"
    if event.phase is Phase.EXPANDING and not plan.database.get("expands", True):  # an old plan does not say
        return "nothing: the database has every migration of it"
    if event.phase in (Phase.HOLDING, Phase.RETIRING) and plan.old is None:
        return "nothing: a first release has no old environment"
    if event.phase is Phase.RETIRING and plan.keep is None:
        return "nothing: the old environment stays as it is"
    share = f" ({plan.steps[event.step].share} %)" if event.phase in (Phase.PROMOTING, Phase.BAKING) and len(plan.steps) > 1 else ""
    return TABLE[event.phase].does + share


def stamp(seconds: float) -> str:
    """A time for programs: RFC 3339, UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{int(seconds % 1 * 1000):03d}Z"


def span(seconds: float) -> str:
    """How long, for people: rounded to what matters."""
    seconds = max(seconds, 0)
    if seconds < 10:
        return duration(round(seconds, 1 if seconds >= 1 else 3)) if seconds >= 0.001 else "0s"
    if seconds < 600:
        return f"{int(seconds // 60)}m{int(seconds % 60):02d}s" if seconds >= 60 else f"{int(seconds)}s"
    return f"{int(seconds // 3600)}h{int(seconds % 3600 // 60):02d}m" if seconds >= 3600 else f"{int(seconds // 60)}m"


def headline(text: str) -> str:
    """The first line of what went wrong, which may be all that a tool has said: for tables, and where the event has told the rest."""
    first, more, _ = text.partition("\n")
    return f"{first.rstrip(':')} ..." if more else text


def failure_lines(event: Event) -> list[str]:
    """The report of what went wrong: the failing checks, the last log lines."""
    return [*evidence_lines(event.facts.get("evidence", ())), *(f"  log: {line}" for line in event.facts.get("log", ()))]


def evidence_lines(evidence: Iterable[Mapping[str, Any]]) -> list[str]:
    """The checks that did not pass, with request, answer and expectation."""
    said = []
    for each in evidence:
        if each["result"] != "pass":
            said.append(f"  {each['test']}: {each['why']}")
            said += _message("request", "{method} {url}", each.get("request", {}))
            said += _message("answer", "{status}, {bytes} bytes", each.get("answer", {}))
            said += [f"    expected: {'; '.join(_expectations(each['expected']))}"] if each.get("expected") else []
    return said


def _message(part: str, first: str, shown: Mapping[str, Any]) -> list[str]:
    """A request or an answer as HTTP writes it."""
    if not shown:
        return []
    headers = [f"{name}: {value}" for name, value in shown["headers"]]
    body = shown.get("body", "").splitlines()
    lines = [*headers, *([""] if headers and body else []), *body]
    return [f"    {part}: {_harmless(first.format(**shown))}", *(f"      {_harmless(line)}".rstrip() for line in lines)]


def _harmless(line: str) -> str:
    """With nothing in it that a terminal would obey."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in line)


def _expectations(expected: Mapping[str, Any]) -> list[str]:
    said = []
    for name, value in expected.items():
        if isinstance(value, Mapping):
            said += [f"{name} {what} {_json(each)}" for what, each in value.items()]
        else:
            each_or_all = " or " if name == "status" else " and "
            said.append(f"{name.replace('_', ' ')} {each_or_all.join(map(_json, value if isinstance(value, list) else [value]))}")
    return [_harmless(each) for each in said]


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
