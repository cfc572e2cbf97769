"""The file of smoke tests: what it may say, and the plain rows that a plan carries and the runner reads.

A row holds references (``${NAME}``, ``${capture.NAME}``) as they were written; JSON paths are split into keys and indices.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from bleen.config.fields import NAME, TOKEN, Address, Duration, Flag, Line, Misfit, check_tokens, fit, one_of, references, text_of, whole
from bleen.config.schema import Strict, validated
from bleen.config.source import Source, read, shown, typed

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
GIVEN = ("VERSION", "ENVIRONMENT")
"""The references that are what is tested, and no variable of anybody's."""
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_STEP = re.compile(r"\.([^.\[\]\"]+)|\[([0-9]{1,9})\]|\[\"([^\"]+)\"\]")


class Tests(NamedTuple):
    """A file of smoke tests that was read."""

    source: Source
    rows: tuple[Mapping[str, Any], ...]


def _allowed(name: str) -> bool:
    return NAME.fullmatch(name.removeprefix("capture.")) is not None


def _text(value: Any) -> str:
    text = text_of(value, '"ok"')
    check_tokens(text, None, _allowed, "a smoke test")
    return text


def _filled_line(value: Any) -> str:
    text = _text(value)
    if not text.isprintable():
        raise ValueError("has a line break or a control character; it is one line of text")
    return text


Text = Annotated[str, BeforeValidator(_text), WithJsonSchema({"type": ["string", "number", "boolean"]})]
"""Text that may hold references."""
FilledLine = Annotated[str, BeforeValidator(_filled_line), WithJsonSchema({"type": ["string", "number", "boolean"]})]


def _url(value: Any) -> str:
    text = _text(value)
    if not re.fullmatch(r"[!-~]+", text):
        raise ValueError(f"`{shown(text)}` is empty or has a character that a URL cannot have; percent-encode spaces and what is not ASCII")
    if text.startswith("${"):
        return text
    if text.startswith("/") and not text.startswith("//"):
        return text
    found = re.fullmatch(r"https?://([^/?#]*)([/?#].*)?", text, re.IGNORECASE)
    if not found or not found[1]:
        raise ValueError(f"`{shown(text)}` is not a URL; write /path for the new environment, or http://host/path or https://host/path for any other")
    if "@" in found[1]:
        raise ValueError('has a name and password in it; send `headers: {Authorization: "Basic ${NAME}"}` instead')
    host, port = split_host(found[1])
    if "${" not in found[1] and (not host or (port and not (port.isdecimal() and len(port) <= 5 and 1 <= int(port) <= 65535))):
        raise ValueError(f"`{shown(found[1])}` is not a host and a port")
    return text


def split_host(text: str) -> tuple[str, str]:
    """Host and port of the authority of a URL (RFC 3986, section 3.2); the port is empty if there is none, the host if it cannot be one."""
    found = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[^:\[\]]+)(?::([^:]*))?", text)
    return (found[1], found[2] or "") if found else ("", "")


Url = Annotated[str, BeforeValidator(_url), WithJsonSchema({"type": "string", "minLength": 1})]


def _header_name(value: Any) -> str:
    if not _HEADER.fullmatch(str(value)):
        raise ValueError(f"`{shown(value)}` is not the name of a header")
    return str(value)


HeaderName = Annotated[str, BeforeValidator(_header_name)]


def split_path(text: str) -> list[str | int]:
    """A JSON path such as ``items[0].id`` as keys and indices; ``$`` is the whole, ``["a.b"]`` a key with a dot in it. Raises ValueError."""
    rest = text[1:] if text.startswith("$") else text if text.startswith("[") else f".{text}"
    steps: list[str | int] = []
    while rest:
        step = _STEP.match(rest)
        if not step or len(text) > 500:
            raise ValueError(f'`{shown(text)}` is not a path; write one such as items[0].id or items["a.b"], or $ for the whole')
        steps.append(int(step[2]) if step[2] else step[3] or step[1])
        rest = rest[step.end() :]
    return steps


def _json_path(value: Any) -> str:
    text = text_of(value, "items[0].id")
    split_path(text)
    return text


JsonPath = Annotated[str, BeforeValidator(_json_path), WithJsonSchema({"type": "string", "minLength": 1, "examples": ["items[0].id"]})]


def _json(value: Any) -> Any:
    plain = typed(value)
    for text in strings(plain):
        check_tokens(text, None, _allowed, "a smoke test")
    return plain


Json = Annotated[Any, BeforeValidator(_json), WithJsonSchema({})]


class ExpectJson(Strict):
    """What the JSON of the answer holds at a place."""

    path: JsonPath = Field(description="Where: items[0].id; $ is the whole answer.", examples=["items[0].id"])
    value: Json = Field(description="What is there: equal to this, 1 and 1.0 being equal, and 1 and true not.", examples=["ok"])


class Capture(Strict):
    """Where a value for later tests is taken from; one of these."""

    json_path: JsonPath | None = Field(default=None, alias="json", description="A place in the JSON of the answer.")
    header: HeaderName | None = Field(default=None, description="A header of the answer.")
    cookie: Line | None = Field(default=None, description="A cookie that the answer sets.")

    @model_validator(mode="after")
    def _just_one(self) -> "Capture":
        if sum(each is not None for each in (self.json_path, self.header, self.cookie)) != 1:
            raise ValueError("is taken from one place; write {json: token}, {header: Location} or {cookie: session}")
        return self


def _capture_name(value: Any) -> str:
    if not NAME.fullmatch(str(value)):
        raise ValueError(f"`{shown(value)}` cannot be captured to; use letters, digits and underscores, and begin with a letter")
    return str(value)


CaptureName = Annotated[str, BeforeValidator(_capture_name)]


def _as_list(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


def _statuses(value: Any) -> list[int]:
    found = [typed(each) for each in _as_list(value)]
    if not found or any(not isinstance(each, int) or isinstance(each, bool) or not 200 <= each <= 599 for each in found):
        raise ValueError(f"`{shown(value)}` is not a status; write 200, or a list such as [200, 204]")
    return found


class Test(Strict):
    """One request, and what is expected of its answer."""

    name: Line = Field(description="What the test is called in reports.", examples=["Health check"])
    url: Url = Field(description="/path at the new environment, through the preview; or a whole URL, which is used as it is.", examples=["/health"])
    method: Annotated[str, one_of(*METHODS), WithJsonSchema({"enum": list(METHODS)})] = Field(
        default="GET", description=f"The method of the request: {', '.join(METHODS[:-1])} or {METHODS[-1]}."
    )
    headers: dict[HeaderName, FilledLine] = Field(default={}, description="Headers of the request; ${NAME} keeps secrets out of this file.")
    body: Text | None = Field(default=None, description="The body of the request, as it is.")
    json_body: Json = Field(default=None, alias="json", description="The body of the request as JSON; sets Content-Type.")
    expect_status: Annotated[
        list[int] | None,
        BeforeValidator(_statuses),
        WithJsonSchema({"anyOf": [{"type": "integer"}, {"type": "array", "items": {"type": "integer"}, "minItems": 1}]}),
    ] = Field(default=None, description="The status, or a list of those that are right; 200 to 299 unless told. Redirects are not followed.")
    expect_body_contains: Annotated[
        list[Text], BeforeValidator(_as_list), WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]})
    ] = Field(default=[], description="Text that the body of the answer contains; a list: all of them.")
    expect_json: Annotated[list[ExpectJson], BeforeValidator(_as_list)] = Field(
        default=[], description="{path, value} of what the JSON of the answer holds, or a list of these."
    )
    expect_header: dict[HeaderName, FilledLine] = Field(default={}, description="Headers of the answer, and what they are equal to.")
    capture: dict[CaptureName, Capture] = Field(default={}, description="Values for later tests, which use them as ${capture.NAME}.")
    max_response_time_ms: Annotated[int, whole(1, 3_600_000), WithJsonSchema({"type": "integer", "minimum": 1})] | None = Field(
        default=None, description="How many milliseconds the whole answer may take."
    )
    retries: Annotated[int, whole(0, 100), WithJsonSchema({"type": "integer", "minimum": 0, "maximum": 100})] = Field(
        default=0, description="How often the test is tried again until it passes, half a second apart."
    )
    timeout: Duration = Field(default="10s", validate_default=True, description="When an answer is given up.")
    verify_tls: Flag = Field(default=True, description="Whether the certificate of an https URL must be valid.")

    @model_validator(mode="after")
    def _one_body(self) -> "Test":
        if self.body is not None and "json_body" in self.model_fields_set:
            raise Misfit("body", "a request has one body; keep `body` or `json`")
        return self


def _some(value: Any) -> Any:
    if value == []:
        raise ValueError("is an empty list; tests that prove nothing would pass, so write one or leave `checks.smoke` out")
    return value


class SmokeFile(Strict):
    """smoke-tests.yml"""

    tests: Annotated[list[Test], BeforeValidator(_some)] = Field(description="The tests, in the order in which they run.")


def load(path: Path, production: Address | None, known: Callable[[str], bool] | None) -> Tests:
    """Reads a file of smoke tests; what is wrong is among the faults of its source.

    ``production`` is the listener that no test may send to. ``known`` says whether a ``${NAME}`` has a value, one of ``GIVEN`` too; None does
    not ask.
    """
    source = read(path, "tests:")
    file = validated(SmokeFile, source)
    tests = file.tests if file and fit(file.tests) else []
    _check_order(source, tests)
    for index, test in enumerate(tests):
        if production and fit(test.url) and is_listener(test.url, production):
            text = f"{production} is where users are served; write /path, which leads to the new environment through the preview"
            source.faults.append(source.fault(("tests", index, "url"), text))
    if known is not None:
        wanting = [(way, name) for way, name in used(source.tree) if NAME.fullmatch(name) and not known(name)]
        source.faults.extend(source.fault(way, _untold(name) if name in GIVEN else unset(name)) for way, name in wanting)
    return Tests(source, () if source.faults else tuple(_row(test) for test in tests))


def unset(name: str) -> str:
    """What is said of a reference without a value."""
    return f"${{{name}}} is not set; set the variable {name} where bleen runs, or, for a release, in env_file"


def _untold(name: str) -> str:
    return f"${{{name}}} is the {name.lower()} that is tested, whatever the variables say: name it with --{name.lower()}"


def _row(test: Test) -> dict[str, Any]:
    row: dict[str, Any] = {
        "name": test.name,
        "url": test.url,
        "method": test.method,
        "headers": dict(test.headers),
        "expect_status": test.expect_status,
        "expect_body_contains": list(test.expect_body_contains),
        "expect_json": [{"path": e.path, "steps": split_path(e.path), "value": e.value} for e in test.expect_json],
        "expect_header": dict(test.expect_header),
        "capture": {name: _taken_from(capture) for name, capture in test.capture.items()},
        "max_response_time_ms": test.max_response_time_ms,
        "retries": test.retries,
        "timeout": test.timeout,
        "verify_tls": test.verify_tls,
    }
    if test.body is not None:
        row["body"] = test.body
    if "json_body" in test.model_fields_set:
        row["json"] = test.json_body
    return row


def _taken_from(capture: Capture) -> dict[str, Any]:
    if capture.json_path is not None:
        return {"json": capture.json_path, "steps": split_path(capture.json_path)}
    return {"header": capture.header} if capture.header is not None else {"cookie": capture.cookie}


def _check_order(source: Source, tests: Sequence[Test]) -> None:
    names: dict[str, int] = {}
    captured: dict[str, int] = {}
    for index, test in enumerate(tests):
        if fit(test.name) and names.setdefault(test.name, index) != index:
            source.faults.append(source.fault(("tests", index, "name"), f"`{shown(test.name)}` is the name of two tests; reports could not tell them apart"))
        for way, name in used(source.tree["tests"][index], ("tests", index)):
            wanted = name.removeprefix("capture.")
            if name != wanted and wanted not in captured and fit(*(each.capture for each in tests[:index])):
                text = f"${{{name}}} is not captured by an earlier test; add `capture: {{{wanted}: {{json: path}}}}` to one"
                source.faults.append(source.fault(way, text))
        for name in test.capture if fit(test.capture) else ():
            if captured.setdefault(name, index) != index:
                source.faults.append(source.fault(("tests", index, "capture", name), f"`{name}` is captured twice; choose another name", key=True))


def used(tree: Any, above: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Every reference in the values of a tree, and where it stands."""
    if isinstance(tree, str):
        for name in references(tree):
            yield above, name
    elif isinstance(tree, Mapping | list):
        for key, value in tree.items() if isinstance(tree, Mapping) else enumerate(tree):
            yield from used(value, (*above, key))


def strings(value: Any) -> Iterator[str]:
    """Every string in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list):
        for each in value.values() if isinstance(value, Mapping) else value:
            yield from strings(each)


def is_listener(url: str, production: Address) -> bool:
    """Whether an absolute URL leads to the production listener, as far as can be told without asking DNS; the runner looks at the connection itself."""
    import ipaddress
    import socket

    found = re.match(r"(https?)://([^/?#]*)", url, re.IGNORECASE)
    if not found or TOKEN.search(found[2]):
        return False
    host, port = split_host(found[2])
    if int(port or (443 if found[1].lower() == "https" else 80)) != production.port:
        return False
    listens = ipaddress.ip_address(production.host.strip("[]"))
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        name = host.lower().rstrip(".")
        return (name == "localhost" and (listens.is_loopback or listens.is_unspecified)) or (name == socket.gethostname().lower() and listens.is_unspecified)
    return address == listens or address.is_unspecified or (address.is_loopback and listens.is_unspecified)
