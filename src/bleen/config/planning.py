"""From a configuration and what is active now to the Plan of a release, the secrets that it refers to, and what the router is to be."""

import os
import pwd
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from bleen.config.fields import TEMPLATES, filled, references
from bleen.config.load import Config
from bleen.config.source import Fault, Faults
from bleen.errors import Refused, UserError
from bleen.host import launch, processes
from bleen.host.files import user
from bleen.model import Environment
from bleen.plan import Plan, Probe, Step, idle_name

_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+@-]{0,127}")


class Active(NamedTuple):
    """What serves production now, as far as a plan depends on it."""

    environment: Environment
    version: str
    replicas: int
    platform: Mapping[str, Any] = {}
    """The platform settings of its own plan; empty if they are not known."""
    healthy: bool = True
    warm: str = ""
    """The version that is still warm in the other environment, and that this release would end; empty if there is none."""
    kept: str = ""
    """The version that runs there still, although no rollback returns to it; empty if there is none."""


def check_version(text: str) -> str:
    """The version, if it can be one: 1 to 128 letters, digits and ``._+@-``, a letter or digit first, no ``..``; so it is never a path. Raises UserError."""
    if _VERSION.fullmatch(text) and ".." not in text:
        return text
    shown = text if text.isprintable() and len(text) <= 60 else f"{text[:57]!r}..."
    raise UserError(f"{shown!r} cannot be a version; use 1 to 128 letters, digits and . _ + @ -, a letter or digit first, and no two dots in a row: 1.2.0")


def plan(config: Config, version: str, active: Active | None) -> Plan:
    """What releasing a version would do.

    Raises UserError for a version that cannot be one, or whose directory or program is not there, and Faults with all that this host lacks for any version.
    """
    check_version(version)
    file = config.file
    old = active.environment if active else None
    window = file.rollback_window
    steps = tuple(Step(s.share, file.bake if s.bake is None else s.bake) for s in file.promotion.steps or ()) or (Step(100, file.bake),)
    made = Plan(
        service=file.service,
        version=version,
        environment=idle_name(old),
        old=old,
        old_version=active.version if active else "",
        old_replicas=active.replicas if active else 0,
        platform=_platform(config, version, idle_name(old)),
        probe=Probe(**file.checks.health.model_dump()),
        smoke=config.tests,
        steps=steps[-1:] if active is None else steps,  # nobody could have the rest of the traffic
        mode=file.promotion.mode,
        deadline=file.promotion.deadline,
        otherwise=file.promotion.then,
        window=window,
        drain=file.drain,
        keep=file.after_window,
    )
    return made._replace(warnings=tuple(_warnings(config, made, active)))


def secrets(config: Config, environ: Mapping[str, str] = os.environ) -> dict[str, dict[str, str]]:
    """What a release needs and no plan may hold: ``base``, the variables that every copy starts from, and ``values``, those of the references.

    To be written to a file of mode 0600. HOME is that of ``user`` where there is one.
    """
    base = _base(config, environ)
    if user := _user(config):
        base["HOME"] = user.pw_dir
    shared = database(config, "")
    urls = {"database": {"url": shared.url, **({"clone": shared.clone} if shared.clone else {})}} if shared else {}
    return {"base": {**base, **config.variables}, "values": dict(config.values), **urls}


def _base(config: Config, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    return {**{name: environ[name] for name in ("PATH", "HOME") if name in environ}, **config.variables}


class Database(NamedTuple):
    """The database of a configuration, for one version."""

    url: str
    """With its references filled in: a secret."""
    folder: str
    """Where the version's migrations are."""
    contract: str
    clone: str
    """The url of a copy, a secret too; empty if there is none."""
    apart: Mapping[str, str]
    """The other services of whose migrations it need ship none, and why."""


def database(config: Config, version: str) -> Database | None:
    """The database that a version shares with the one before; None if there is none. Raises Faults for a file of SQLite that is another wherever one stands."""
    file = config.file.database
    if file is None:
        return None
    folder = str(config.beside(filled(file.migrations, {"version": version})))
    urls = {name: filled(text, {}, config.values) if text else "" for name, text in (("url", file.url), ("clone", file.clone))}
    for name, url in urls.items():
        scheme, _, at = url.partition(":///")
        if scheme == "sqlite" and at and not at.startswith(("/", ":memory:")):
            way = f"write sqlite:///{config.beside(at)}"
            raise Faults([config.source.fault(("database", name), f"{at} is looked for where bleen runs, and a release runs elsewhere; {way}")])
    return Database(urls["url"], folder, file.contract, urls["clone"], file.apart)


def lacking(config: Config) -> list[Fault]:
    """What this host lacks for a release of any version: a certificate or its key, the user, enough ports, a program that is to lie in PATH."""
    faults: list[Fault] = []
    for look in (router, _user, _enough_ports, _in_path):
        try:
            look(config)
        except Faults as error:
            faults.extend(error.faults)
    return faults


def router(config: Config) -> dict[str, Any]:
    """The router's kind and settings. Raises Faults for a certificate or a key that is not there."""
    settings = listener(config)
    missing = [(name, path) for name, path in (settings["tls"] or {}).items() if not os.path.isfile(path)]
    if missing:
        way = ("router", settings["kind"], "tls")
        raise Faults(config.source.fault((*way, name), f"{path} is no file; create it, or correct the path") for name, path in missing)
    return settings


def listener(config: Config) -> dict[str, Any]:
    """The router's kind and settings, whether or not its files are there."""
    chosen = config.file.router
    kind = "envoy" if chosen.envoy else "haproxy"
    proxy = chosen.envoy or chosen.haproxy
    assert proxy is not None, "the schema asks for one"
    tls = None
    if proxy.tls:
        tls = {"certificate": str(config.beside(proxy.tls.certificate)), "key": str(config.beside(proxy.tls.key))}
    return {
        "kind": kind,
        "listen": str(proxy.listen),
        "preview": str(proxy.preview),
        "tls": tls,
        "keep_alive": config.file.platform.process.keep_alive,
        **({"trusted": list(proxy.trusted)} if proxy.trusted else {}),
    }


def _shut(path: Path) -> str:
    """The nearest directory above a path that is there and may not be entered; empty if that is not what hides it."""
    above = next(each for each in path.parents if os.path.isdir(each))
    return "" if os.access(above, os.X_OK) else str(above)


def _platform(config: Config, version: str, environment: str) -> dict[str, Any]:
    process = config.file.platform.process
    directory = config.beside(filled(process.directory, {"version": version}))
    if not os.path.isdir(directory):
        if shut := _shut(directory):
            raise UserError(f"version {version} may not be looked for in {shut} by {user(os.geteuid())}: `chmod a+rx {shut}`")
        way = config.source.fault(("platform", "process", "directory"), "")
        raise UserError(f"version {version} is not there: {directory} is no directory; put it there, or correct `directory` ({way.file}:{way.line})")
    if not process.user and not os.access(directory, os.X_OK):  # as another user it is for that one to say
        raise UserError(f"version {version} may not be entered by {user(os.geteuid())}, as whom it would run: `chmod a+rx {directory}`")
    if faults := lacking(config):
        raise Faults(faults)
    _program(config, str(directory), version, environment)
    return {
        "kind": "process",
        "command": list(process.command),
        "directory": str(directory),
        "env": dict(process.env),
        "secrets": "",
        "replicas": process.replicas,
        "stop": {"signal": process.stop.signal, "timeout": process.stop.timeout},
        "user": process.user or "",
        "ports": list(process.ports),
        "log_bytes": process.log_size,
    }


def _enough_ports(config: Config) -> None:
    """Raises Faults if this host gives too many of the range to clients."""
    process, kernel = config.file.platform.process, processes.ephemeral()
    low, high = process.ports
    if sum(port not in kernel for port in range(low, high + 1)) < 2 * process.replicas:
        why = f"two environments of {process.replicas} need {2 * process.replicas} ports outside {kernel[0]}-{kernel[-1]}, of which the kernel gives to clients"
        raise Faults([config.source.fault(("platform", "process", "ports"), f"{why}; write 20000-29999, say")])


def _in_path(config: Config) -> None:
    """Raises Faults for a program that no version brings along and that is not in PATH."""
    process = config.file.platform.process
    command = process.command[0]
    if "/" in command or filled(command, dict.fromkeys(TEMPLATES, "")) != filled(command, dict.fromkeys(TEMPLATES, "x")) or "PATH" in process.env:
        return
    program = launch.Program([filled(command, {})], "/", _base(config), "")
    places = os.get_exec_path(dict(program.env))
    if all(map(os.path.isabs, places)) and not launch.found(program):
        where = os.pathsep.join(places)
        why = f"`{command}` is no program that can be executed in PATH ({where}); install it, or correct the name"
        raise Faults([config.source.fault(("platform", "process", "command", 0), why)])


def _program(config: Config, directory: str, version: str, environment: str) -> None:
    """Raises UserError if the program of ``command`` is not where a copy would look for it: in PATH as the copy has it, or in the version's directory."""
    program = _started(config, directory, version, environment)
    if program is None:
        return
    try:
        launch.check(program)
    except Refused as error:
        way = config.source.fault(("platform", "process", "command"), "")
        raise UserError(f"version {version} cannot be started: {error}; put it there, or correct `command` ({way.file}:{way.line})") from None


def program(config: Config, made: Plan) -> str:
    """The file that the first word of ``command`` is found as by a copy; empty if that is not known yet."""
    started = _started(config, made.platform["directory"], made.version, made.environment)
    return launch.found(started) if started else ""


def _started(config: Config, directory: str, version: str, environment: str) -> launch.Program | None:
    """What a copy starts, as far as it can be said; None if the program's name has a port in it."""
    process = config.file.platform.process
    if "{port}" in process.command[0].replace("{{port}}", ""):  # ports are given out when the release begins
        return None
    words = {"port": str(process.ports[0]), "version": version, "environment": environment, "instance": "1"}
    env = _base(config)
    if "PATH" in process.env:
        env["PATH"] = filled(process.env["PATH"], words, config.values)
    return launch.Program([filled(process.command[0], words)], directory, env, "")


def _user(config: Config) -> pwd.struct_passwd | None:
    """The user that the service runs as; None for whoever starts it. Raises Faults for one that is not there, or that only root can become."""
    name = config.file.platform.process.user
    if not name:
        return None
    way = ("platform", "process", "user")
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise Faults([config.source.fault(way, f"this host has no user `{name}`; create it, or correct the name")]) from None
    if os.geteuid() not in (0, entry.pw_uid):
        raise Faults([config.source.fault(way, f"only root can run the service as `{name}`; run bleen as root or as {name}")])
    return entry


def _warnings(config: Config, made: Plan, active: Active | None) -> Iterator[str]:
    process = config.file.platform.process
    if active is None:
        yield "a first release has nothing to return to: if it fails after promotion it halts, still serving"
    elif not active.healthy:
        yield f"{active.version} ({active.environment.name}) is not healthy: once promoted, there is no rollback to it"
    if active and active.warm == made.version:
        yield f"{active.warm} is warm, and would be started anew: `bleen rollback` returns to it at once"
    elif active and active.warm:
        yield f"{active.warm} stops being reachable: its warm environment is taken for {made.version}"
    elif active and active.kept:
        yield f"{active.kept} still runs as {made.environment}: it is stopped for {made.version}, and not started again should that be aborted"
    if active and active.platform:
        yield from _differences(active.platform, made.platform)
        was, now = active.platform.get("directory"), str(config.beside(filled(process.directory, {"version": active.version})))
        if was and was != now:
            yield f"directory changes: {active.version} runs in {was}, and would now run in {now}"
    if active and active.version == made.version and (shared := made.shared(active.platform)):
        yield f"{made.old_words} runs from {shared} too: if that was changed since, a copy of it that starts again after a rollback has what is there then"
    if active and made.window == 0:
        yield "rollback_window is 0s: after the bake there is no rollback"
    if not any("{version}" in text for text in (process.directory, *process.command, *process.env.values())):
        yield "neither directory, command nor env names {version}: every version would run the same files"
    if active is None and len(config.file.promotion.steps or ()) > 1:
        yield "the steps of promotion need an active environment: a first release takes all traffic at once, and bakes as the last step says"
    proxy = config.file.router.envoy or config.file.router.haproxy
    if proxy and any(process.ports[0] <= address.port <= process.ports[1] for address in (proxy.listen, proxy.preview)):
        yield f"the router listens inside the ports that copies are given ({process.ports[0]}-{process.ports[1]}): set `ports` to another range"
    if process.env_file and config.beside(process.env_file).stat().st_mode & 0o077:
        yield f"{process.env_file} can be read by others on this host: chmod 600 {process.env_file}"
    for test in made.smoke:
        literal = [name for name, value in test["headers"].items() if name.lower() in ("authorization", "cookie") and not list(references(value))]
        if literal:
            yield f"smoke test {test['name']!r} has a literal {literal[0]} header, which the journal will hold: use ${{NAME}}"


def _differences(was: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """What changes beside the version; values of variables are not shown."""
    for key in ("command", "user", "replicas"):
        if key in was and was[key] != now[key]:
            yield f"{key} changes from {_brief(was[key])} to {_brief(now[key])}"
    before, after = was.get("env", {}), now["env"]
    changed = [
        f"{word} {', '.join(names)}"
        for word, names in (
            ("adds", sorted(after.keys() - before.keys())),
            ("drops", sorted(before.keys() - after.keys())),
            ("changes", sorted(name for name in before.keys() & after.keys() if before[name] != after[name])),
        )
        if names
    ]
    if changed:
        yield f"env {'; '.join(changed)}"


def _brief(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value) or "none"
