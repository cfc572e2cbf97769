"""Runs smoke tests against an environment, one after the other, and says what was asked, answered and expected.

A program of its own (``python -m bleen.providers.checks.smoke_runner SPEC REPORT``), so that a test that takes a minute blocks nobody and outlives the
engine; ``bleen smoke`` calls ``run`` itself. HTTP/1.1 as in RFC 9112; redirects are not followed; nothing that was secret is in what is returned.
"""

import http.client
import io
import json
import re
import socket
import ssl
import sys
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urljoin, urlsplit

from bleen import __version__
from bleen.host.files import write_durably
from bleen.host.redaction import Excerpt, Redaction, secret
from bleen.model import Result, Verdict

LARGEST = 4 << 20
"""Bytes of an answer that are read."""
PAUSE = 0.5
"""Seconds before a test is tried again."""
_REFERENCE = re.compile(r"\$\$\{|\$\{((?:capture\.)?[A-Za-z_][A-Za-z0-9_]*)\}")
_ABSENT = object()


class CouldNotRun(Exception):
    """The test was not carried out, which says nothing about the service; its text may hold secrets."""


class NoAnswer(Exception):
    """The request was sent and no whole answer came back; its text may hold secrets."""


class _Strict(io.BufferedReader):
    """What a response is read from: http.client takes a connection that closes inside the headers for their end, and would call it a 200."""

    def readline(self, size: int | None = -1, /) -> bytes:
        line = super().readline(size)
        if not line.endswith(b"\n") and len(line) != size:
            raise http.client.IncompleteRead(line)
        return line


class _Response(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **named: Any) -> None:
        super().__init__(sock, *args, **named)
        self.fp = _Strict(self.fp.detach())


class Request(NamedTuple):
    method: str
    url: str
    headers: Mapping[str, str]
    body: str | None


class Answer(NamedTuple):
    status: int
    headers: Sequence[tuple[str, str]]
    text: str
    """The body, decoded as it says."""
    size: int
    whole: bool
    """False if the body is longer than what is read."""
    seconds: float
    """From connecting to the last byte."""

    def header(self, name: str) -> list[str]:
        return [value for known, value in self.headers if known.lower() == name.lower()]


def run(
    tests: Sequence[Mapping[str, Any]],
    base: str,
    values: Mapping[str, str],
    production: str = "",
    given: Mapping[str, str] = {},
    hidden: Collection[str] = (),
) -> Verdict:
    """Runs tests, as ``config.load_tests`` makes them, in order, and judges them together: FAIL if one failed, INCONCLUSIVE if one could not run, else PASS.

    Relative URLs are resolved against ``base``; ``values`` are those of the references; no test sends to ``production``, the address that users are served at.
    ``given`` are references whose values are no secrets, and come before ``values``. ``hidden``: what else no report may show.
    """
    redaction = Redaction([*values.values(), *hidden])
    captured: dict[str, Any] = {}
    rows = []
    for test in tests:
        row = _tried(test, base, {**values, **given, **{f"capture.{name}": value for name, value in captured.items()}}, production, redaction)
        captured.update(row.pop("captured"))
        rows.append(row)
    bad = [row for row in rows if row["result"] is not Result.PASS]
    evidence = tuple(_cleaned(row, redaction) for row in rows)
    if not rows:
        return Verdict(Result.INCONCLUSIVE, "there are no tests, which proves nothing")
    if not bad:
        return Verdict(Result.PASS, f"{len(rows)} of {len(rows)} passed", evidence)
    result = Result.FAIL if any(row["result"] is Result.FAIL for row in bad) else Result.INCONCLUSIVE
    first = next(row for row in evidence if row["result"] == result.value)
    return Verdict(result, f"{len(rows) - len(bad)} of {len(rows)} passed; {first['test']}: {first['why']}", evidence)


def _cleaned(row: Mapping[str, Any], redaction: Redaction) -> dict[str, Any]:
    clean = redaction.clean(row, keep=("test", "expected"))
    return {**clean, "result": row["result"].value, "why": "".join(clean["why"])}


def _tried(test: Mapping[str, Any], base: str, words: Mapping[str, Any], production: str, redaction: Redaction) -> dict[str, Any]:
    """The evidence of a test, tried as often as it asks for; ``captured`` holds what later tests may use."""
    for attempt in range(1, test["retries"] + 2):
        row = {"test": test["name"], "attempts": attempt, "captured": {}}
        try:
            request = _filled_request(test, base, words)
            row["request"] = _request_row(request, redaction)
            wanted = _fill({name: test[name] for name in _EXPECTATIONS}, words)
            answer = _ask(request, test, production)
        except (CouldNotRun, NoAnswer) as error:
            row.update(result=Result.FAIL if isinstance(error, NoAnswer) else Result.INCONCLUSIVE, why=[str(error)], expected=_expected_row(test))
        else:
            _judge(row, test, wanted, answer, redaction)
        if row["result"] is Result.PASS or "request" not in row:
            break
        if attempt <= test["retries"]:
            time.sleep(PAUSE)
    return row


def _judge(row: dict[str, Any], test: Mapping[str, Any], wanted: Mapping[str, Any], answer: Answer, redaction: Redaction) -> None:
    row["milliseconds"] = round(answer.seconds * 1000)
    parsed = _parsed(answer)
    captured = {name: _captured(place, answer, parsed) for name, place in test["capture"].items()}
    for value in captured.values():
        redaction.hide(value if isinstance(value, str) else json.dumps(value) if value is not _ABSENT else "")
    shown = {"status": answer.status, "headers": redaction.headers(answer.headers), "body": Excerpt(answer.text), "bytes": answer.size}
    problems = [*_problems(wanted, answer, parsed), *([f"{name} could not be captured"] for name, value in captured.items() if value is _ABSENT)]
    if problems:
        why = [piece for problem in problems for piece in ("; ", *problem)][1:]
        row.update(result=Result.FAIL, why=why, answer=shown, expected=_expected_row(test))
    else:
        row.update(result=Result.PASS, why=[], captured=captured)


_EXPECTATIONS = ("expect_status", "expect_body_contains", "expect_json", "expect_header", "max_response_time_ms")


def _problems(wanted: Mapping[str, Any], answer: Answer, parsed: Any) -> Iterator[list[str]]:
    """What is not as expected, each in pieces: those that were sent or answered are shortened when they are clean."""
    statuses = wanted["expect_status"]
    if answer.status not in (statuses or range(200, 300)):
        yield [f"the status was {answer.status}, not {' or '.join(map(str, statuses)) if statuses else '200 to 299'}"]
    part = "" if answer.whole else f" in its first {LARGEST >> 20} MiB"
    for text in wanted["expect_body_contains"]:
        if text not in answer.text:
            yield ["the body does not contain ", _brief(text), part]
    for each in wanted["expect_json"]:
        found = _walk(parsed, each["steps"])
        if parsed is _ABSENT:
            yield [f"the body is not JSON{part}, so {each['path']} is not ", _brief(each["value"])]
        elif found is _ABSENT:
            yield [f"{each['path']} is not in the answer; expected ", _brief(each["value"])]
        elif not same(found, each["value"]):
            yield [f"{each['path']} was ", _brief(found), ", not ", _brief(each["value"])]
    for name, value in wanted["expect_header"].items():
        present = answer.header(name)
        if not present:
            yield [f"there was no header {name}; expected ", _brief(value)]
        elif value not in present:
            yield [f"the header {name} was ", _brief(", ".join(present)), ", not ", _brief(value)]
    most = wanted["max_response_time_ms"]
    if most is not None and answer.seconds * 1000 > most:
        yield [f"the answer took {answer.seconds * 1000:.0f} ms, more than {most} ms"]


def same(one: Any, other: Any) -> bool:
    """Whether two JSON values are equal: 1 and 1.0 are, 1 and true are not."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def _brief(value: Any) -> Excerpt:
    return Excerpt(json.dumps(value, ensure_ascii=False), 200)


def _parsed(answer: Answer) -> Any:
    try:
        return json.loads(answer.text) if answer.whole else _ABSENT
    except (ValueError, RecursionError):
        return _ABSENT


def _walk(value: Any, steps: Sequence[str | int]) -> Any:
    for step in steps:
        inside = (isinstance(value, dict) and step in value) if isinstance(step, str) else (isinstance(value, list) and step < len(value))
        if not inside:
            return _ABSENT
        value = value[step]
    return value


def _captured(place: Mapping[str, Any], answer: Answer, parsed: Any) -> Any:
    """A value for later tests; JSON's null is none."""
    if "json" in place:
        found = _walk(parsed, place["steps"])
        return _ABSENT if found is None else found
    if "header" in place:
        return next(iter(answer.header(place["header"])), _ABSENT)
    cookies = (part.partition(";")[0].partition("=") for part in answer.header("Set-Cookie"))
    return next((value.strip() for name, _, value in cookies if name.strip() == place["cookie"]), _ABSENT)


def _filled_request(test: Mapping[str, Any], base: str, words: Mapping[str, Any]) -> Request:
    headers = dict(_fill(test["headers"], words))
    body = _fill(test["body"], words) if "body" in test else None
    if "json" in test:
        body = json.dumps(_fill(test["json"], words))
        if not any(name.lower() == "content-type" for name in headers):
            headers["Content-Type"] = "application/json"
    for name, value in headers.items():
        if not value.isprintable():
            raise CouldNotRun(f"the header {name} has a line break or a control character in it, once it is filled in")
    url = _as_text(_fill(test["url"], words))
    if not re.fullmatch(r"[!-~]+", url):
        raise CouldNotRun("the URL has a character that none can have, once it is filled in")
    try:
        return Request(test["method"], urljoin(base, url), headers, body)
    except ValueError as error:
        raise CouldNotRun(f"{url} and {base} do not make a URL: {error}") from None


def _fill(value: Any, words: Mapping[str, Any]) -> Any:
    """A JSON value with its references filled in; a string that is one captured value and nothing else becomes that value, number or not."""
    if isinstance(value, Mapping):
        return {name: _fill(each, words) for name, each in value.items()}
    if isinstance(value, list):
        return [_fill(each, words) for each in value]
    if not isinstance(value, str):
        return value
    if (alone := _REFERENCE.fullmatch(value)) and alone[1]:
        return _word(alone[1], words)
    return _REFERENCE.sub(lambda m: _as_text(_word(m[1], words)) if m[1] else "${", value)


def _word(name: str, words: Mapping[str, Any]) -> Any:
    if name in words:
        return words[name]
    if name.startswith("capture."):
        raise CouldNotRun(f"it needs ${{{name}}}, which no earlier test that passed has captured")
    raise CouldNotRun(f"${{{name}}} has no value; set the variable {name} where bleen runs, or, for a release, in env_file")


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _ask(request: Request, test: Mapping[str, Any], production: str) -> Answer:
    """Sends a request once and reads the answer, all of it within the timeout of the test."""
    began = time.monotonic()
    connection = _connection(request.url, test)
    expired = threading.Event()
    try:
        connection.response_class = _Response
        _connect(connection, production)
        handle = connection.sock
        assert handle is not None
        timer = threading.Timer(max(0.0, test["timeout"] - (time.monotonic() - began)), _give_up, (handle, expired))
        timer.start()
        try:
            answer = _exchange(connection, request, began)
            if expired.is_set():
                raise TimeoutError
            return answer
        except (OSError, http.client.HTTPException, ValueError) as error:
            if expired.is_set():
                raise NoAnswer(f"no whole answer within {test['timeout']:g} s") from None
            raise NoAnswer(f"the connection broke before a whole answer: {type(error).__name__} {error}".rstrip()) from None
        finally:
            timer.cancel()
    finally:
        connection.close()


def _connection(url: str, test: Mapping[str, Any]) -> http.client.HTTPConnection:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or parts.scheme not in ("http", "https"):
        raise CouldNotRun(f"{url} is not an http or https URL")
    if parts.scheme == "http":
        return http.client.HTTPConnection(host, port or 80, timeout=test["timeout"])
    context = ssl.create_default_context()
    if not test["verify_tls"]:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return http.client.HTTPSConnection(host, port or 443, timeout=test["timeout"], context=context)


def _connect(connection: http.client.HTTPConnection, production: str) -> None:
    where = f"{connection.host}:{connection.port}"
    try:
        connection.connect()
        if production and _reaches(connection.sock, production):
            raise CouldNotRun(f"{where} is {production}, where users are served; write /path, which leads to the new environment through the preview")
    except TimeoutError:
        raise CouldNotRun(f"{where} did not accept a connection within {connection.timeout:g} s") from None
    except (OSError, UnicodeError) as error:
        raise CouldNotRun(f"{where} cannot be connected to: {error}") from None


def _reaches(handle: socket.socket, production: str) -> bool:
    """Whether a connection leads to a listener, whatever the name was: to its address, or from this host to this host if it listens on every address."""
    host, _, port = production.rpartition(":")
    peer, own = handle.getpeername()[:2], handle.getsockname()[:2]
    return peer[1] == int(port) and (peer[0] == host.strip("[]") or (host in ("0.0.0.0", "[::]") and peer[0] == own[0]))


def _give_up(handle: socket.socket, expired: threading.Event) -> None:
    """Wakes whoever reads from a connection; a TLS one keeps its state, which another thread is using."""
    expired.set()
    try:
        socket.socket.shutdown(handle, socket.SHUT_RDWR)
    except OSError:
        return  # it is closed already, so nobody reads


def _exchange(connection: http.client.HTTPConnection, request: Request, began: float) -> Answer:
    parts = urlsplit(request.url)
    own = {"User-Agent": f"bleen/{__version__}", "Connection": "close"}
    given = {name.lower() for name in request.headers}
    headers = {**{name: value for name, value in own.items() if name.lower() not in given}, **request.headers}
    connection.request(
        request.method,
        (parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
        request.body.encode() if request.body is not None else None,
        {name: value.encode() for name, value in headers.items()},
    )
    response = connection.getresponse()
    data = response.read(LARGEST + 1)
    if len(data) <= LARGEST and response.length:  # read() with a limit does not complain
        raise http.client.IncompleteRead(data, response.length)
    text = _decoded(data[:LARGEST], response.headers.get_content_charset("utf-8"))
    return Answer(response.status, response.getheaders(), text, min(len(data), LARGEST), len(data) <= LARGEST, time.monotonic() - began)


def _decoded(data: bytes, charset: str) -> str:
    try:
        return data.decode(charset, "replace")
    except (LookupError, UnicodeError, ValueError):  # a name that is no encoding of text
        return data.decode("utf-8", "replace")


def _request_row(request: Request, redaction: Redaction) -> dict[str, Any]:
    row: dict[str, Any] = {"method": request.method, "url": request.url, "headers": redaction.headers(request.headers.items())}
    return {**row, "body": Excerpt(request.body)} if request.body is not None else row


def _expected_row(test: Mapping[str, Any]) -> dict[str, Any]:
    """What was expected, references as they were written."""
    row = {name.removeprefix("expect_"): test[name] for name in _EXPECTATIONS if test[name] not in (None, [], {})}
    if "json" in row:
        row["json"] = {each["path"]: each["value"] for each in row["json"]}
    return row


def main(spec: Path, report: Path) -> None:
    """Runs what a file asks for, and leaves the verdict in another one, whole or not at all."""
    wanted = json.loads(spec.read_text())
    secrets = json.loads(Path(wanted["secrets"]).read_text()) if wanted["secrets"] else {"base": {}, "values": {}}
    verdict = run(wanted["tests"], wanted["base"], secrets["values"], wanted["production"], wanted["given"], secret(secrets))
    row = {"key": wanted["key"], "result": verdict.result.value, "why": verdict.why, "evidence": list(verdict.evidence)}
    write_durably(report, json.dumps(row))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
