"""Reads a YAML file into plain values that remember where they stood; what is wrong is a located fault, never a traceback.

Scalars keep their text (``1.10`` is not 1.1 until somebody asks for a number): what a value is, the schema says. Not accepted, because no bleen file needs them
and each has surprised somebody: anchors and aliases, tags, merge keys, keys given twice, more than one document.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ruamel.yaml import YAML
from ruamel.yaml import events as yaml
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.reader import ReaderError

from bleen.errors import UserError

LARGEST = 256 << 10
"""Bytes; ruamel.yaml needs about a second for as many."""
DEEPEST = 20

Way = tuple[str | int, ...]
"""The way from the top of a file to a value: keys and indices."""


class Fault(NamedTuple):
    """One thing that is wrong with a file; lines and columns count from 1."""

    file: str
    line: int
    column: int
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.text}"


class Faults(UserError):
    """Everything that is wrong with a file and with those that it names, a line each."""

    located = True

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = sorted(set(faults), key=lambda f: (f.file, f.line, f.column, f.text))
        super().__init__("\n".join(map(str, self.faults)))


class Scalar(str):
    """The text of a scalar; ``value`` is what YAML 1.2 makes of it (section 10.3.2, core schema): a str, an int, a float or a bool."""

    value: str | int | float | bool

    def __new__(cls, text: str, value: str | int | float | bool) -> "Scalar":
        made = super().__new__(cls, text)
        made.value = value
        return made


class Source:
    """A file that was read: ``tree`` is made of dicts, lists, Scalars and None."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.tree: Any = None
        self.whole = False
        """Whether the tree is all of the file: nothing in it kept the reader from its end."""
        self.faults: list[Fault] = []
        self._values: dict[Way, tuple[int, int]] = {(): (1, 1)}
        self._keys: dict[Way, tuple[int, int]] = {}

    def at(self, way: Way) -> Any:
        """The value at the end of a way; None if there is none."""
        value = self.tree
        for step in way:
            value = value.get(step) if isinstance(value, dict) else None
        return value

    def place(self, way: Way, mark: tuple[int, int]) -> None:
        """Remembers where a value stands."""
        self._values[way] = mark

    def place_key(self, way: Way, mark: tuple[int, int]) -> tuple[int, int]:
        """Remembers where the key of a value stands; answers where it stood first."""
        return self._keys.setdefault(way, mark)

    def complain(self, mark: tuple[int, int], text: str) -> None:
        self.faults.append(Fault(self.file, *mark, text))

    def fault(self, way: Way, text: str, key: bool = False) -> Fault:
        """A fault of the value (or of its key) at the end of a way; of the last value on the way that is in the file, where the end is not."""
        known: Way = ()
        for step in way:
            if (*known, step) in self._values:
                known = (*known, step)
            elif step != 0:  # 0 is the way into a single value that was taken for a list of one
                break
        return Fault(self.file, *(self._keys.get(known) if key else None) or self._values[known], text)


def read(path: Path, begins: str) -> Source:
    """Reads a file whose top is a mapping; ``begins`` says how such a file begins. Faults are in the answer, with as much of the tree as could be read."""
    source = Source(str(path))
    text = read_text(path, source)
    if text is not None:
        _build(text, source)
    if source.whole and not isinstance(source.tree, dict):
        found = "is empty" if source.tree is None else f"has {'a list' if isinstance(source.tree, list) else 'a single value'} at the top"
        source.complain((1, 1), f"the file {found}; it begins with `{begins}`")
        source.whole = False
    return source


def typed(value: Any) -> Any:
    """A part of a tree with its scalars as YAML understands them: JSON values."""
    if isinstance(value, Mapping):
        return {str(k): typed(v) for k, v in value.items()}
    if isinstance(value, list):
        return [typed(v) for v in value]
    return value.value if isinstance(value, Scalar) else value


def read_text(path: Path, source: Source) -> str | None:
    """The text of a file; None, and a fault of the source, if it cannot be had."""
    try:
        with open(path, "rb") as f:
            data = f.read(LARGEST + 1)
    except OSError as error:
        source.complain((1, 1), f"cannot be read: {error.strerror or error}")
        return None
    if len(data) > LARGEST:
        source.complain((1, 1), f"is larger than {LARGEST >> 10} KiB; is it the right file?")
        return None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8-sig", "replace")
        source.complain(_mark_of(before), f"byte 0x{data[error.start]:02x} is not UTF-8; save the file as UTF-8")
        return None


def _mark_of(before: str) -> tuple[int, int]:
    """Where the character after this text stands."""
    return before.count("\n") + 1, len(before) - before.rfind("\n")


def _build(text: str, source: Source) -> None:
    reader = YAML(typ="rt", pure=True)
    try:
        source.whole = _Builder(source).take(reader.parse(text))
    except ReaderError as error:
        source.complain(_mark_of(text[: error.position]), f"the character U+{ord(text[error.position]):04X} cannot be in YAML; remove it")
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        source.complain((mark.line + 1, mark.column + 1) if mark else (1, 1), _in_words(error.problem or "", error.context or ""))
    except (YAMLError, ValueError, OverflowError, RecursionError, IndexError) as error:
        # ruamel.yaml lets the errors of chr(), int() and encode() through for escapes such as "\UFFFFFFFF" and "\ud800", and for versions such as %YAML 1.x
        source.complain((reader.reader.line + 1, reader.reader.column + 1), f"cannot be read as YAML: {shown(error)}")


def _in_words(problem: str, context: str) -> str:
    if r"'\t'" in problem:
        return "a tab; indent with spaces"
    if "cannot start any token" in problem:
        return f"{problem.replace('found ', '')}; put the value in quotes"
    if "mapping values are not allowed" in problem:
        return "a second `:` in one line; put the value in quotes, or the key on a line of its own"
    said = " ".join(f"{problem}{', ' + context if context else ''}".split())
    return f"cannot be read as YAML: {said if said.isprintable() else ascii(said)}; look at the indentation, brackets and quotes before it"


class _Stop(Exception):
    """The rest of the file is not worth reading; the fault is noted."""


class _Builder:
    """Makes the tree of a file out of the parser's events, without recursion: neither depth nor aliases can blow it up."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._open: list[tuple[Any, Way]] = []
        self._key: list[str | None] = []
        self._documents = 0

    def take(self, events: Iterator[Any]) -> bool:
        """Takes every event; False if it stopped before the end."""
        try:
            for event in events:
                self._event(event, (event.start_mark.line + 1, event.start_mark.column + 1))
        except _Stop:
            return False
        return True

    def _event(self, event: Any, mark: tuple[int, int]) -> None:
        if isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                self._source.complain(mark, "a second document; only one is read, remove the `---`")
                raise _Stop
        elif isinstance(event, yaml.AliasEvent):
            self._source.complain(mark, f"the alias `*{shown(event.anchor)}`; aliases are not used here, write the value out")
            if self._expects_key():
                raise _Stop
            self._put(None, mark)
        elif isinstance(event, yaml.ScalarEvent):
            self._decorations(event, mark)
            self._scalar(event, mark)
        elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            self._decorations(event, mark)
            self._begin({} if isinstance(event, yaml.MappingStartEvent) else [], mark)
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            self._open.pop()
            self._key.pop()

    def _decorations(self, event: Any, mark: tuple[int, int]) -> None:
        if event.anchor:
            self._source.complain(mark, f"the anchor `&{shown(event.anchor)}`; anchors are not used here, write the value out where it is needed")
        if event.ctag is not None:
            self._source.complain(mark, f"the tag `{shown(event.ctag)}`; tags are not used here, put text in quotes instead")

    def _begin(self, container: Any, mark: tuple[int, int]) -> None:
        if self._expects_key():
            self._source.complain(mark, "a mapping or a list as a key; keys are text")
            raise _Stop
        if len(self._open) == DEEPEST:
            self._source.complain(mark, f"nested deeper than {DEEPEST} levels")
            raise _Stop
        way = self._put(container, mark)
        self._open.append((container, way))
        self._key.append(None)

    def _scalar(self, event: Any, mark: tuple[int, int]) -> None:
        if bad := _UNUSABLE.search(event.value):
            self._source.complain(mark, f"the character U+{ord(bad[0]):04X} cannot be in a value; remove it")
        if self._expects_key():
            return self._take_key(event.value, mark, plain=event.style is None)
        value: Scalar | None = Scalar(event.value, event.value)
        if event.style in (None, ""):
            try:
                value = _resolved(event.value)
            except ValueError as error:
                self._source.complain(mark, str(error))
        if value is None and not event.value and self._open and (key := self._key[-1]) is not None:
            mark = self._source.place_key((*self._open[-1][1], key), mark)  # the parser sees nothing where the next thing begins
        self._put(value, mark)
        return None

    def _expects_key(self) -> bool:
        return bool(self._open) and isinstance(self._open[-1][0], dict) and self._key[-1] is None

    def _take_key(self, name: str, mark: tuple[int, int], plain: bool) -> None:
        first = self._source.place_key((*self._open[-1][1], name), mark)
        if plain and name == "<<":
            self._source.complain(mark, "the merge key `<<`; it is not used here, write the keys out")
        elif first != mark:
            self._source.complain(mark, f"`{shown(name)}` is given twice, first in line {first[0]}; keep one")
        self._key[-1] = name

    def _put(self, value: Any, mark: tuple[int, int]) -> Way:
        """Puts a value into what is open; the first of two with the same key stays."""
        if not self._open:
            self._source.tree = value
            self._source.place((), mark)
            return ()
        container, above = self._open[-1]
        if isinstance(container, list):
            way: Way = (*above, len(container))
            container.append(value)
        else:
            key = self._key[-1]
            assert key is not None
            self._key[-1] = None
            way = (*above, key)
            if key in container:
                return way
            container[key] = value
        self._source.place(way, mark)
        return way


_UNUSABLE = re.compile("[\0\ud800-\udfff]")
"""NUL ends strings in the system's own calls; a half of a surrogate pair cannot be written anywhere."""
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


def _resolved(text: str) -> Scalar | None:
    """A plain scalar as the core schema has it (YAML 1.2.2, section 10.3.2). Raises ValueError for numbers that JSON cannot say."""
    if text in ("", "~", "null", "Null", "NULL"):
        return None
    if text in ("true", "True", "TRUE", "false", "False", "FALSE"):
        return Scalar(text, text[0] in "tT")
    if _NOT_FINITE.fullmatch(text):
        raise ValueError(f"`{text}` is not a number that can be used; write a finite one, or put it in quotes")
    if not _FLOAT.fullmatch(text) and not _INTEGER.fullmatch(text):
        return Scalar(text, text)
    if len(text) > 100:
        raise ValueError("a number of more than 100 digits; put it in quotes if it is text")
    if _INTEGER.fullmatch(text):
        return Scalar(text, int(text, 0) if text[:2] in ("0o", "0x") else int(text))
    if float(text) in (float("inf"), float("-inf")):
        raise ValueError(f"`{text}` is too large for a number; put it in quotes if it is text")
    return Scalar(text, float(text))


def shown(text: object) -> str:
    """A value from a file as a message may show it: one line, not too long."""
    line = str(text) if str(text).isprintable() else ascii(str(text))[1:-1]
    return line if len(line) <= 60 else f"{line[:57]}..."
