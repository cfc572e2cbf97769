"""Write a good, commented bleen.yaml: for HAProxy where it is installed, else for Envoy, which comes with bleen.

With --systemd, write the unit that runs `bleen up` at boot beside it, and a timer that has an engine which has ended or hangs replaced; and say how to install
them. A file that is there is never overwritten.
"""

import os
import pwd
import re
import shlex
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from bleen import config, wiring
from bleen.cli import exits, show
from bleen.config.fields import service_name
from bleen.errors import UserError
from bleen.host.state import must_be_nobody_elses, root


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--router", choices=["envoy", "haproxy"], help="which router (default: haproxy where it is installed, else envoy)")
    parser.add_argument("--systemd", action="store_true", help="write the systemd units of a bleen.yaml that is there")


def run(args: Namespace) -> int:
    file = Path(args.file)
    if args.systemd:
        return _units(args, file)
    if os.path.exists(file):
        raise UserError(f"{file} is there already: nothing was written")
    router = args.router or ("haproxy" if wiring.haproxy() else "envoy")
    name = re.sub(r"[^a-z0-9]+", "-", Path(os.path.abspath(file)).parent.name.lower()).strip("-")[:40].rstrip("-")
    service = args.service or (name if re.match(r"[a-z]", name) else "shop")
    try:
        service_name(service)
    except ValueError as error:
        raise UserError(f"--service: {error}") from None
    _write(file, config.template(router, service))
    show.result(args, f"wrote {file} for {router}: have a look at it, then `bleen up` and `bleen deploy 1.0`", file=str(file), router=router)
    return exits.DONE


def _units(args: Namespace, file: Path) -> int:
    service = config.load(file, None).service
    must_be_nobody_elses(file)  # who may link units is root, and not as whom they run
    name, bleen = f"bleen-{service}", f"{_word(sys.executable)} -P -m bleen"
    up = f"{bleen} up --file {_word(str(file.absolute()).replace('$', '$$'))}"
    values = {"service": service, "up": up, "watch": f"{bleen} engine --start --service {service}", "settings": _settings()}
    units = {Path(f"{name}{suffix}"): text.format(**values) for suffix, text in _UNITS.items()}
    if there := [str(unit) for unit in units if unit.exists()]:
        raise UserError(f"{', '.join(there)}: there already, nothing was written")
    for unit, text in units.items():
        _write(unit, text)
    at_boot, watch, timer = (shlex.quote(str(unit.absolute())) for unit in units)
    way = f"systemctl link {watch} && systemctl enable --now {at_boot} {timer}"
    show.result(args, f"wrote {', '.join(map(str, units))}: install them with `{way}`", files=list(map(str, units)))
    return exits.DONE


def _settings() -> str:
    """What every process that starts something of the service needs: whose and where the state is, and descriptors for a busy proxy."""
    user = f"User={pwd.getpwuid(os.geteuid()).pw_name}\n" if os.geteuid() else ""
    return f"{user}Environment={_word(f'BLEEN_STATE={root()}')}\nLimitNOFILE=65536"


def _word(text: str) -> str:
    """One word of a unit (systemd.syntax(7), "Quoting"), in which a % begins no specifier; a $ of a command line's arguments is the caller's to double."""
    text = text.replace("%", "%%")
    if re.fullmatch(r"[A-Za-z0-9_@%/.,:=+$-]+", text):
        return text
    for sign, written in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\t", "\\t")):
        text = text.replace(sign, written)
    return f'"{text}"'


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{file} cannot be written: {error.strerror}; -f names another place") from None
    except UnicodeEncodeError:
        raise UserError(f"{file}: nothing in a unit may be other than UTF-8, and the path of bleen.yaml or of the state is: give it another name") from None


_UNITS = {
    ".service": """\
[Unit]
Description=bleen: {service}
After=network-online.target
Wants=network-online.target

[Service]
Type=oneshot
RemainAfterExit=yes
# What serves is nobody's child: stopping or restarting this unit ends the engine's start-up, never production.
KillMode=process
{settings}
ExecStart={up}

[Install]
WantedBy=multi-user.target
""",
    "-watch.service": """\
[Unit]
Description=bleen: an engine for {service}, if it has ended or hangs
After=bleen-{service}.service

[Service]
Type=oneshot
# What it starts is nobody's child, and stays.
KillMode=process
{settings}
ExecStart={watch}
""",
    "-watch.timer": """\
[Unit]
Description=bleen: looks whether somebody watches {service}

[Timer]
OnActiveSec=30s
OnUnitInactiveSec=30s
AccuracySec=1s

[Install]
WantedBy=timers.target
""",
}
"""By what follows ``bleen-NAME``."""
