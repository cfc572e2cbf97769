"""Keeps out of reports what was secret: the values of references, captured values, Authorization, Cookie and Set-Cookie."""

import html
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote, quote_plus, unquote

SENSITIVE = ("authorization", "proxy-authorization", "cookie", "set-cookie")
INSTEAD = "[redacted]"
EXCERPT = 500
"""Characters of a body, or of a header, that a report shows."""
_KEPT = 64 << 10
_SHORTEST_PART = 6
"""Characters: shorter parts of a header that was not marked as secret word for word would blacken every report."""

_SHORTEST_VALUE, _SHORTEST_NAMED = 8, 4
_ORDINARY = re.compile(r"[^\W\d_]{,15}|(?:[a-z][a-z+]*://)?(?:localhost|\d+(?:\.\d+){3})(?::\d+)?/?")
"""What of an env_file says something in a report and is hardly a secret: a word of letters alone, an address. Passwords for applications have 16 letters."""
_NAMED = re.compile(r"PASS|SECRET|TOKEN|CREDENTIAL|_KEY$|^KEY$|APIKEY", re.IGNORECASE)
"""Of a variable whose value is a secret, however ordinary."""
_PASSWORDS = re.compile(r"://[^:@/]*:([^@/]*)@|[?&](?:ssl)?password=([^&]*)")
"""Before the host, and among the parameters (PostgreSQL manual, "Connection URIs")."""


def passwords(url: str) -> set[str]:
    """Those that a url has, as they are written there and as they are. Drivers take urls that ``urlsplit`` does not: with a [ in the password, say."""
    written = {each for found in _PASSWORDS.findall(url) for each in found}
    return written | {unquote(each) for each in written}


def secret(secrets: Mapping[str, Any]) -> set[str]:
    """What is not to be told of a release's secrets: every value of ``values``; of ``base``, what env_file gave, each whose name says that it is a secret, and
    what is neither short nor ordinary.

    Of all, the lines of a text and the password of a url, which tools print alone, where they are neither.
    """
    given = {name: value for name, value in secrets["base"].items() if name not in ("PATH", "HOME")}
    named = {*secrets["values"].values(), *(value for name, value in given.items() if _NAMED.search(name) and len(value) >= _SHORTEST_NAMED)}
    parts = {part.strip() for value in (*given.values(), *named) for part in (value, *value.splitlines(), *passwords(value))}
    return {*named, *(part for part in parts if len(part) >= _SHORTEST_VALUE and not _ORDINARY.fullmatch(part))}


class Excerpt(str):
    """Text to be shortened once it is clean: what stands on the edge may be part of a secret."""

    most: int
    cut: bool

    def __new__(cls, text: str, most: int = EXCERPT) -> "Excerpt":
        made = super().__new__(cls, text[:_KEPT])
        made.most, made.cut = most, len(text) > _KEPT
        return made


class Redaction:
    """What is to be hidden in one report. Only ``clean`` hides, at the end: what a later test captures may stand in what an earlier one was answered."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        self._hidden: set[str] = set()
        for value in values:
            self.hide(value)

    def hide(self, value: str) -> None:
        """Hides a value, also as a URL, JSON, HTML or a header would write it."""
        if value.strip():
            written = {value, value.strip(), quote(value, safe=""), quote(value), quote_plus(value), html.escape(value)}
            self._hidden.update(written, {json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]})

    def hide_credentials(self, name: str, value: str) -> None:
        """Hides what a header of ``SENSITIVE`` holds, and what an application might show of it: the token behind the scheme, the values of cookies."""
        self.hide(value)
        if name.lower().endswith("authorization"):
            parts = [value.partition(" ")[2]]
        else:
            pairs = value.split(";")[: 1 if name.lower() == "set-cookie" else None]
            parts = [pair.partition("=")[2].strip() for pair in pairs]
        for part in parts:
            if len(part) >= _SHORTEST_PART:
                self.hide(part)

    def headers(self, pairs: Iterable[tuple[str, str]]) -> list[list[str]]:
        """Headers as a report shows them; what they hold is hidden wherever else it stands."""
        shown = []
        for name, value in pairs:
            secret = name.lower() in SENSITIVE
            if secret:
                self.hide_credentials(name, value)
            shown.append([name, INSTEAD if secret else Excerpt(value)])
        return shown

    def clean(self, row: Mapping[str, Any], keep: Iterable[str] = ()) -> dict[str, Any]:
        """A row of evidence with nothing of what is hidden in it; the keys in ``keep`` are our own words and stay."""
        pattern = re.compile("|".join(re.escape(v) for v in sorted(self._hidden, key=len, reverse=True)) or "(?!)")
        return {name: value if name in keep else self._cleaned(value, pattern) for name, value in row.items()}

    def _cleaned(self, value: Any, pattern: re.Pattern[str]) -> Any:
        if isinstance(value, str):
            text = pattern.sub(INSTEAD, value)
            if isinstance(value, Excerpt):
                text = text[: -max(map(len, self._hidden), default=0) or None] if value.cut else text
                text = f"{text[: value.most]}..." if len(text) > value.most else text
            return "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text)  # nothing in a report drives a terminal
        if isinstance(value, Mapping):
            return {name: self._cleaned(each, pattern) for name, each in value.items()}
        if isinstance(value, list | tuple):
            return [self._cleaned(each, pattern) for each in value]
        return value
