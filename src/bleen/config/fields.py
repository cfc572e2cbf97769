"""The kinds of value in bleen's files: each says what it accepts, what would be right, and how the JSON Schema writes it.

Text has two things in it that are not literal: ``{port}``-like templates, filled in for each copy of a service, and ``${NAME}`` references to secrets.
``{{port}}`` and ``$${`` stand for the literal ``{port}`` and ``${``.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, NamedTuple

from pydantic import BeforeValidator, WithJsonSchema

from bleen.config.source import Scalar, shown, typed
from bleen.host import clock

TOKEN = re.compile(r"\$\$\{|\$\{(?P<reference>[^}]*)(?P<closed>\}?)|\{\{[a-z][a-z0-9_]*\}\}|\{(?P<template>[a-z][a-z0-9_]*)\}")
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
TEMPLATES = ("port", "version", "environment", "instance")
_SIZES = {"KB": 1000, "MB": 1000**2, "GB": 1000**3}
LONGEST = 365 * 86400.0


class Misfit(ValueError):
    """Two values of one mapping do not go together; ``key`` is the one to point at."""

    def __init__(self, key: str, text: str) -> None:
        super().__init__(text)
        self.key = key


class _Unfit:
    """Stands where a value was complained of, so that the rest is looked at all the same."""


UNFIT: Any = _Unfit()


def fit(*values: Any) -> bool:
    """Whether nothing was complained of in any of them."""
    return not any(value is UNFIT for value in values)


def references(text: str) -> Iterator[str]:
    """The names in the ``${...}`` of a text that has been checked."""
    return (m["reference"] for m in TOKEN.finditer(text) if m["closed"])


def check_tokens(text: str, templates: tuple[str, ...] | None, allowed: Callable[[str], bool] | None, where: str) -> None:
    """Raises ValueError for a template or a reference that has no meaning here. ``templates`` None: braces are literal; ``allowed`` None: no references."""
    for token in TOKEN.finditer(text):
        name = token["reference"]
        if name is not None:
            if allowed is None:
                raise ValueError(f"`${{{shown(name)}}}` cannot be used in {where}; it works in `env` and in smoke tests, and `$${{` is a literal `${{`")
            if not token["closed"]:
                raise ValueError("`${` has no `}` after it; write ${NAME}, or $${ for a literal ${")
            if not allowed(name):
                raise ValueError(f"`${{{shown(name)}}}` is not a reference; write ${{NAME}} with letters, digits and underscores, or $${{ for a literal ${{")
        elif token["template"] and templates is not None and token["template"] not in templates:
            known = " ".join(f"{{{t}}}" for t in templates)
            raise ValueError(f"`{token[0]}` is not known in {where}; there is {known}, and {{{{{token['template']}}}}} is the literal text")


def filled(text: str, templates: Mapping[str, str], values: Mapping[str, str] = {}) -> str:
    """A checked text with its templates and references filled in and its escapes undone, in one pass: what was filled in is not looked at again."""

    def one(token: re.Match[str]) -> str:
        if token["template"] or token["closed"]:
            return templates[token["template"]] if token["template"] else values[token["reference"]]
        return token[0][1:] if token[0] == "$${" else token[0][1:-1]

    return TOKEN.sub(one, text)


def text_of(value: Any, example: str) -> str:
    """The text of a scalar. Raises ValueError for a mapping, a list or nothing."""
    if isinstance(value, str):
        return str(value)
    found = "is empty" if value is None else f"is a {'list' if isinstance(value, list) else 'mapping'}"
    raise ValueError(f"{found}; it is text such as {example}")


def _line(value: Any) -> str:
    text = text_of(value, '"shop"')
    check_tokens(text, None, None, "this value")
    if not text.strip() or not text.isprintable():
        raise ValueError("is empty or has a line break or control character; it is one line of text")
    return text


Line = Annotated[str, BeforeValidator(_line), WithJsonSchema({"type": "string", "minLength": 1})]
"""One line of literal text."""


def _argument(value: Any) -> str:
    text = text_of(value, '"--port"')
    if "${" in text.replace("$${", ""):
        raise ValueError("`${...}` cannot be used in `command`, which everybody on the host can read; set it in `env`, and read it there")
    check_tokens(text, TEMPLATES, None, "`command`")
    return text


Argument = Annotated[str, BeforeValidator(_argument), WithJsonSchema({"type": ["string", "number", "boolean"]})]


def _word(text: str) -> str:
    """A word as it stands in a list of YAML."""
    return text if re.fullmatch(r"[\w./][\w./=+~-]*|--?[\w-]+(=[\w./]+)?", text, re.ASCII) else f'"{text}"'


def _command(value: Any) -> Any:
    if isinstance(value, str):
        words = ", ".join(map(_word, value.split())) if '"' not in value and "'" not in value else "python3, app.py"
        raise ValueError(f"is one string, and no shell will split it; write a list: [{shown(words)}]")
    if isinstance(value, list) and not value:
        raise ValueError("is an empty list; write the program and its arguments: [python3, app.py]")
    if isinstance(value, list) and isinstance(value[0], str) and not value[0].strip():
        raise ValueError("begins with an empty string; the first is the program: [python3, app.py]")
    return value


Command = Annotated[
    list[Argument], BeforeValidator(_command), WithJsonSchema({"type": "array", "minItems": 1, "items": {"type": ["string", "number", "boolean"]}})
]


def _variable(value: Any) -> str:
    text = text_of(value, '"production", and "" for none')
    check_tokens(text, TEMPLATES, lambda name: NAME.fullmatch(name) is not None, "`env`")
    return text


Variable = Annotated[str, BeforeValidator(_variable), WithJsonSchema({"type": ["string", "number", "boolean"]})]


def _variable_name(value: Any) -> str:
    if not NAME.fullmatch(str(value)):
        raise ValueError(f"`{shown(value)}` cannot be the name of a variable; use letters, digits and underscores, and begin with a letter")
    if value == "PORT":
        raise ValueError("PORT is always set to the port that the copy was given; remove it here")
    return str(value)


VariableName = Annotated[str, BeforeValidator(_variable_name)]


def _directory(value: Any) -> str:
    text = text_of(value, "releases/{version}")
    check_tokens(text, ("version",), None, "`directory`")
    if not text.strip() or not text.isprintable():
        raise ValueError("is empty or has a control character; it is a directory such as releases/{version}")
    return text


def _database_url(value: Any) -> str:
    text = text_of(value, "${DATABASE_URL}")
    check_tokens(text, (), lambda name: NAME.fullmatch(name) is not None, "`url`")
    if not text.strip() or not text.isprintable():
        raise ValueError("is empty or has a control character; it is a url such as ${DATABASE_URL} or postgresql://shop@db/shop")
    if not text.startswith("${") and "://" not in text:
        raise ValueError(f"`{shown(text.partition(':')[0])}` is no url; it is one such as ${{DATABASE_URL}} or postgresql://shop@db/shop")
    return text


DatabaseUrl = Annotated[str, BeforeValidator(_database_url), WithJsonSchema({"type": "string", "minLength": 1})]

Directory = Annotated[str, BeforeValidator(_directory), WithJsonSchema({"type": "string", "minLength": 1, "examples": ["releases/{version}"]})]


def service_name(value: Any) -> str:
    text = text_of(value, "shop")
    if not re.fullmatch(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?", text):
        raise ValueError(f"`{shown(text)}` cannot name a service; use 1 to 40 lower-case letters, digits and dashes, a letter first and no dash last: shop")
    return text


ServiceName = Annotated[str, BeforeValidator(service_name), WithJsonSchema({"type": "string", "pattern": "^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$"})]


def _seconds(value: Any, least: float) -> float:
    text = text_of(value, "30s")
    seconds = clock.duration(text)
    if seconds is None and re.fullmatch(r"[0-9.]+", text):
        raise ValueError(f"`{shown(text)}` has no unit; write {shown(text)}s for seconds (units: ms s m h d)")
    if seconds is None:
        raise ValueError(f"`{shown(text)}` is not a duration; write a number and one unit, such as 200ms 5s 15m 2h 1d")
    if seconds < least:
        raise ValueError(f"`{text}` is too short; at least {_said(least)}")
    if seconds > LONGEST:
        raise ValueError(f"`{text}` is too long; at most 365d")
    return seconds


def _said(seconds: float) -> str:
    return f"{round(seconds * 1000)}ms" if seconds < 1 else f"{seconds:g}s"


_DURATION_SCHEMA = {
    "type": "string",
    "pattern": r"^[0-9]{1,9}(\.[0-9]{1,3})?(ms|s|m|h|d)$",
    "examples": ["200ms", "5s", "15m", "2h", "1d"],
}
Duration = Annotated[float, BeforeValidator(lambda v: _seconds(v, 0.01)), WithJsonSchema(_DURATION_SCHEMA)]
"""Seconds, 10 ms at the least."""
DurationOrNone = Annotated[float, BeforeValidator(lambda v: _seconds(v, 0.0)), WithJsonSchema(_DURATION_SCHEMA)]
"""Seconds; 0s means not at all."""


def whole(low: int, high: int) -> Any:
    """The validator of a whole number."""

    def check(value: Any) -> int:
        number = value.value if isinstance(value, Scalar) else value
        if not isinstance(number, int) or isinstance(number, bool) or not low <= number <= high:
            raise ValueError(f"`{shown(value)}` is not a whole number from {low} to {high}")
        return number

    return BeforeValidator(check)


OneTo100 = Annotated[int, whole(1, 100), WithJsonSchema({"type": "integer", "minimum": 1, "maximum": 100})]


def _flag(value: Any) -> bool:
    known = value.value if isinstance(value, Scalar) else value
    if not isinstance(known, bool):
        raise ValueError(f"`{shown(value)}` is neither true nor false")
    return known


Flag = Annotated[bool, BeforeValidator(_flag)]


def one_of(*choices: str) -> Any:
    """The validator of a word."""

    def check(value: Any) -> str:
        text = text_of(value, choices[0])
        if text not in choices:
            raise ValueError(f"`{shown(text)}` is not one of {', '.join(choices)}")
        return text

    return BeforeValidator(check)


def _signal(value: Any) -> str:
    known = ("TERM", "INT", "QUIT", "HUP", "USR1", "USR2", "WINCH", "KILL")
    text = text_of(value, "TERM").upper().removeprefix("SIG")
    if text not in known:
        raise ValueError(f"`{shown(value)}` is not a signal that ends a service; one of {', '.join(known)}")
    return text


SignalName = Annotated[str, BeforeValidator(_signal), WithJsonSchema({"type": "string", "examples": ["TERM", "INT", "QUIT"]})]


def _size(value: Any) -> int:
    text = text_of(value, "10MB")
    found = re.fullmatch(r"([0-9]{1,6})(KB|MB|GB)", text)
    size = int(found[1]) * _SIZES[found[2]] if found else 0
    if not 10_000 <= size <= 100 * 1000**3:
        raise ValueError(f"`{shown(text)}` is not a size from 10KB to 100GB; write a whole number and KB, MB or GB")
    return size


Size = Annotated[int, BeforeValidator(_size), WithJsonSchema({"type": "string", "pattern": "^[0-9]{1,6}(KB|MB|GB)$"})]


class Address(NamedTuple):
    """Where something listens; ``host`` is an IPv4 address or a bracketed IPv6 one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    def clashes(self, other: "Address") -> bool:
        """Whether the two cannot be listened on at once: the same port on the same address, or one of them on every address."""
        return self.port == other.port and (self.host == other.host or bool({self.host, other.host} & {"0.0.0.0", "[::]"}))


def _address(value: Any) -> Address:
    import ipaddress  # 3 ms that only a file with an address costs

    text = text_of(value, '"127.0.0.1:8080"')
    host, colon, port = text.rpartition(":")
    if not colon or not re.fullmatch(r"[0-9]{1,5}", port):
        raise ValueError(f'`{shown(text)}` is not an address; write host:port in quotes: "127.0.0.1:8080"')
    if not 1 <= int(port) <= 65535:
        raise ValueError(f"port {port} does not exist; ports are 1 to 65535")
    if host in ("", "*"):
        raise ValueError(f'`{text}` names no host; write "0.0.0.0:{port}" for every address, or "127.0.0.1:{port}" for this host alone')
    bracketed = host.startswith("[") and host.endswith("]")
    try:
        address = ipaddress.ip_address(host[1:-1] if bracketed else host)
    except ValueError:
        hint = f'"127.0.0.1:{port}"' if host == "localhost" else f'an IP address, as in "10.0.0.5:{port}" or "[::1]:{port}"'
        raise ValueError(f"`{shown(host)}` is not an IP address; write {hint}") from None
    if (address.version == 6) != bracketed or "%" in host:
        raise ValueError(f'`{shown(host)}` is not an address to listen on; IPv6 addresses are written in brackets, without a zone: "[::1]:{port}"')
    return Address(f"[{address}]" if bracketed else str(address), int(port))


ListenAddress = Annotated[
    Address,
    BeforeValidator(_address),
    WithJsonSchema({"type": "string", "pattern": r"^([0-9.]+|\[[0-9a-fA-F:.]+\]):[0-9]{1,5}$", "examples": ["127.0.0.1:8080"]}),
]


def _network(value: Any) -> str:
    import ipaddress

    text = text_of(value, '"10.0.0.0/8"')
    try:
        network = ipaddress.ip_network("" if "%" in text else text, strict=False)  # a zone is an interface of this host
    except ValueError:
        raise ValueError(f'`{shown(text)}` is neither an IP address nor a network of them; write "10.0.0.0/8", or "10.0.0.5"') from None
    if network.network_address != ipaddress.ip_interface(text).ip:
        raise ValueError(f'`{text}` is not where a network begins; write "{network}", or "{text.partition("/")[0]}" for this address alone')
    if network.version == 6 and network.overlaps(ipaddress.IPv6Network("::ffff:0:0/96")):  # the proxies do not agree on whom it means
        raise ValueError(f'`{text}` holds the form that IPv4 has in IPv6; write "0.0.0.0/0" or less of it for IPv4, "2000::/3" and "fc00::/7" for IPv6')
    return str(network)


Network = Annotated[str, BeforeValidator(_network), WithJsonSchema({"type": "string", "pattern": "^[0-9a-fA-F.:]+(/[0-9]{1,3})?$"})]


def _ports(value: Any) -> tuple[int, int]:
    text = text_of(value, "20000-29999") if not isinstance(value, dict) else "-".join(str(value.get(k, "")) for k in ("from", "to"))
    found = re.fullmatch(r"([0-9]{1,5}) ?- ?([0-9]{1,5})", text)
    if not found or (isinstance(value, dict) and set(value) != {"from", "to"}):
        raise ValueError(f"`{shown(text)}` is not a range of ports; write 20000-29999, or {{from: 20000, to: 29999}}")
    low, high = int(found[1]), int(found[2])
    if not 1024 <= low < high <= 65535:
        raise ValueError(f"{low}-{high} is not a range of ports; from 1024 to 65535, the smaller one first")
    return low, high


PortRange = Annotated[
    tuple[int, int],
    BeforeValidator(_ports),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": "^[0-9]{4,5} ?- ?[0-9]{4,5}$"},
                {
                    "type": "object",
                    "required": ["from", "to"],
                    "additionalProperties": False,
                    "properties": {
                        "from": {"type": "integer", "minimum": 1024, "maximum": 65535},
                        "to": {"type": "integer", "minimum": 1024, "maximum": 65535},
                    },
                },
            ]
        }
    ),
]


def _path(value: Any) -> str:
    text = text_of(value, "/health")
    check_tokens(text, None, None, "`path`")
    if not re.fullmatch(r"/[!-~]*", text) or "#" in text:
        raise ValueError(f"`{shown(text)}` is not the path of a request; begin with /, no spaces, and percent-encode what is not ASCII: /health")
    return text


UrlPath = Annotated[str, BeforeValidator(_path), WithJsonSchema({"type": "string", "pattern": "^/[!-~]*$"})]


def _after_window(value: Any) -> int | None:
    if isinstance(value, dict):
        copies = typed(value).get("replicas") if set(value) == {"replicas"} else None
        if isinstance(copies, int) and not isinstance(copies, bool) and 1 <= copies <= 100:
            return copies
        raise ValueError("is not {replicas: N} with N from 1 to 100")
    text = text_of(value, "stop")
    if text not in ("stop", "keep"):
        raise ValueError(f"`{shown(text)}` is not one of stop, keep, {{replicas: N}}")
    return 0 if text == "stop" else None


AfterWindow = Annotated[
    int | None,
    BeforeValidator(_after_window),
    WithJsonSchema(
        {
            "anyOf": [
                {"enum": ["stop", "keep"]},
                {
                    "type": "object",
                    "required": ["replicas"],
                    "additionalProperties": False,
                    "properties": {"replicas": {"type": "integer", "minimum": 1, "maximum": 100}},
                },
            ]
        }
    ),
]
"""How many copies of the old environment stay: 0 stops it, None leaves it as it is."""
