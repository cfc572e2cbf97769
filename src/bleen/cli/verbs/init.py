"""Write a good, commented bleen.yaml: for HAProxy where it is installed, else for Envoy, which comes with bleen.

With --systemd, write the unit that runs `bleen up` at boot beside it, and a timer that has an engine which has ended or hangs replaced; and say how to install
them. A file that is there is never overwritten.
"""

import os
import pwd
import re
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from bleen import config
from bleen.cli import exits, show
from bleen.errors import UserError
from bleen.host.state import root
from bleen.providers.routers import haproxy


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--router", choices=["envoy", "haproxy"], help="which router (default: haproxy where it is installed, else envoy)")
    parser.add_argument("--systemd", action="store_true", help="write the systemd units of a bleen.yaml that is there")


def run(args: Namespace) -> int:
    file = Path(args.file)
    if args.systemd:
        return _units(args, file)
    if file.exists():
        raise UserError(f"{file} is there already: nothing was written")
    router = args.router or ("haproxy" if haproxy.installed() else "envoy")
    name = re.sub(r"[^a-z0-9]+", "-", Path(os.path.abspath(file)).parent.name.lower()).strip("-")[:40]
    service = args.service or (name if re.match(r"[a-z]", name) else "shop")
    file.write_text(config.template(router, service))
    show.result(args, f"wrote {file} for {router}: have a look at it, then `bleen up` and `bleen deploy 1.0`", file=str(file), router=router)
    return exits.DONE


def _units(args: Namespace, file: Path) -> int:
    service = config.load(file, None).service
    name, bleen = f"bleen-{service}", f"{sys.executable} -m bleen"
    values = {"service": service, "up": f"{bleen} up --file {file.absolute()}", "watch": f"{bleen} engine --start --service {service}", "settings": _settings()}
    units = {Path(f"{name}{suffix}"): text.format(**values) for suffix, text in _UNITS.items()}
    if there := [str(unit) for unit in units if unit.exists()]:
        raise UserError(f"{', '.join(there)}: there already, nothing was written")
    for unit, text in units.items():
        unit.write_text(text)
    at_boot, watch, timer = (unit.absolute() for unit in units)
    way = f"systemctl link {watch} && systemctl enable --now {at_boot} {timer}"
    show.result(args, f"wrote {', '.join(map(str, units))}: install them with `{way}`", files=list(map(str, units)))
    return exits.DONE


def _settings() -> str:
    """What every process that starts something of the service needs: whose and where the state is, and descriptors for a busy proxy."""
    user = f"User={pwd.getpwuid(os.geteuid()).pw_name}\n" if os.geteuid() else ""
    return f"{user}Environment=BLEEN_STATE={root()}\nLimitNOFILE=65536"


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
