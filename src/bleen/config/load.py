"""Reads bleen.yaml and the files that it names, and reports every fault of them at once."""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from bleen.config import smoke
from bleen.config.fields import NAME, Address, fit
from bleen.config.schema import File, validated
from bleen.config.source import Fault, Faults, Source, Way, read, read_text

_ENV = ("platform", "process", "env")
_URLS = (("database", "url"), ("database", "clone"))
_ENV_FILE = ("platform", "process", "env_file")
_SMOKE = ("checks", "smoke")
_ASSIGNMENT = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*?)\s*")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}


class Config(NamedTuple):
    """A bleen.yaml that was read, with the files that it names. Holds secrets: its text does not."""

    path: Path
    source: Source
    file: File
    tests: tuple[Mapping[str, Any], ...]
    """The smoke tests, as a plan carries them: references as they were written."""
    variables: Mapping[str, str]
    """What env_file sets."""
    values: Mapping[str, str]
    """What the references ``${NAME}`` stand for."""

    def __repr__(self) -> str:
        return f"<Config {self.path}>"

    @property
    def service(self) -> str:
        return self.file.service

    def beside(self, name: str) -> Path:
        """A path of the file as an absolute one; relative ones begin at the file's own directory."""
        return Path(os.path.normpath(Path(os.path.abspath(self.path)).parent / name))


def load(path: Path, environ: Mapping[str, str] | None = os.environ) -> Config:
    """Reads a bleen.yaml. Raises Faults with everything that is wrong with it, its smoke tests, its env_file, and references that have no value.

    ``environ`` gives the values of ``${NAME}``, before env_file does. None asks for none, and leaves env_file closed: enough for the router, not for a release.
    """
    if not os.path.exists(path):
        raise Faults([Fault(str(path), 1, 1, "cannot be read: there is no such file; `bleen init` writes one, -f names one that is elsewhere")])
    source = read(path, "service: shop")
    file = validated(File, source)
    variables = _variables(source, path) if environ is not None else {}
    known = None if environ is None else {**variables, **environ}
    tests = _tests(source, path, file, known)
    used = [*smoke.used(source.at(_ENV), _ENV), *(each for url in _URLS for each in smoke.used(source.at(url), url))]
    if known is not None:
        source.faults.extend(source.fault(way, smoke.unset(name)) for way, name in used if NAME.fullmatch(name) and name not in known)
        source.faults.extend(_torn(source, variables, environ or {}))
    if source.faults or file is None:
        raise Faults(source.faults)
    tested = (name for _, name in smoke.used(list(tests)) if name not in smoke.GIVEN and not name.startswith("capture."))
    names = {*tested, *(name for _, name in used)}
    return Config(Path(path), source, file, tests, variables, {name: known[name] for name in sorted(names)} if known else {})


def _tests(source: Source, path: Path, file: File | None, known: Mapping[str, str] | None) -> tuple[Mapping[str, Any], ...]:
    if (beside := _named(source, path, _SMOKE)) is None:
        return ()
    found = smoke.load(beside, _listener(file), {*known, *smoke.GIVEN}.__contains__ if known is not None else None)
    source.faults.extend(found.source.faults)
    return found.rows


def _listener(file: File | None) -> Address | None:
    proxy = file.router.envoy or file.router.haproxy if file and fit(file.router) else None
    return proxy.listen if proxy and fit(proxy) and fit(proxy.listen) else None


def _variables(source: Source, path: Path) -> dict[str, str]:
    if (beside := _named(source, path, _ENV_FILE)) is None:
        return {}
    variables, faults = read_variables(beside)
    source.faults.extend(faults)
    return variables


def _torn(source: Source, variables: Mapping[str, str], environ: Mapping[str, str]) -> Iterator[Fault]:
    """A database's url that would be one for the migrations, from the shell of who deploys, and another for the versions, from env_file."""
    given, url = source.at(_ENV), _URLS[0]
    for way, name in smoke.used(source.at(url), url):
        own = variables.get(name)
        if own is not None and environ.get(name, own) != own and not (isinstance(given, Mapping) and name in given):
            two = f"{name} has one value where bleen runs, and another in env_file, which the versions get: they would use another database"
            ways = "unset it there, take it out of env_file, or let `env` set it; the url of another role is better called otherwise"
            yield source.fault(way, f"{two} than is migrated; {ways}")


def _named(source: Source, path: Path, way: Way) -> Path | None:
    """The file that a value of bleen.yaml names; whether or not the rest of bleen.yaml is right, so that its faults are told too."""
    name = source.at(way)
    if not isinstance(name, str) or not name.isprintable():
        return None
    beside = path.parent / name
    if not os.path.isfile(beside):
        source.faults.append(source.fault(way, f"{way[-1]}: `{name}` is no file; create {beside}, or remove the line"))
        return None
    return beside


def read_variables(path: Path) -> tuple[dict[str, str], list[Fault]]:
    """Reads lines of NAME=value: ``#`` comments, an ``export`` in front, quotes (in double ones a backslash as in a shell, and ``\\n \\t \\r``).

    Nothing is filled in. Faults never show a value.
    """
    source = Source(str(path))
    variables: dict[str, str] = {}
    for number, line in enumerate((read_text(path, source) or "").split("\n"), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        found = _ASSIGNMENT.fullmatch(line.rstrip("\r"))
        value = _unquoted(found[2]) if found else None
        if found is None:
            source.complain((number, 1), "is not NAME=value; the name has letters, digits and underscores")
        elif value is None:
            source.complain((number, found.start(2) + 1), f"the value of {found[1]} begins with a quote that does not end at the end of the line")
        elif found[1] == "PORT":
            source.complain((number, 1), "PORT is always set to the port that the copy was given; remove it here")
        elif "\0" in value:
            source.complain((number, found.start(2) + 1), f"the value of {found[1]} has a NUL character in it; no variable may")
        else:
            variables[found[1]] = value
    return variables, source.faults


def _unquoted(text: str) -> str | None:
    """The value behind the equals sign; None if its quote does not end."""
    if text[:1] == "'":
        found = re.fullmatch(r"'([^']*)'\s*(?:#.*)?", text)
        return found[1] if found else None
    if text[:1] == '"':
        found = re.fullmatch(r'"((?:[^"\\]|\\.)*)"\s*(?:#.*)?', text)
        return re.sub(r"\\(.)", lambda m: _ESCAPES.get(m[1], m[1]), found[1]) if found else None
    return re.split(r"(?:^|\s)#", text, maxsplit=1)[0].rstrip()
