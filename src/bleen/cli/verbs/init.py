"""Write a good, commented bleen.yaml: for HAProxy where it is installed, else for Envoy, which comes with bleen.

With --systemd, write the unit that runs `bleen up` at boot beside it, and say how to install it. A file that is there is never overwritten.
"""

import os
import re
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from bleen import config
from bleen.cli import exits, show
from bleen.errors import UserError
from bleen.providers.routers import haproxy


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--router", choices=["envoy", "haproxy"], help="which router (default: haproxy where it is installed, else envoy)")
    parser.add_argument("--systemd", action="store_true", help="write the systemd unit of a bleen.yaml that is there")


def run(args: Namespace) -> int:
    file = Path(args.file)
    if args.systemd:
        return _unit(args, file)
    if file.exists():
        raise UserError(f"{file} is there already: nothing was written")
    router = args.router or ("haproxy" if haproxy.installed() else "envoy")
    name = re.sub(r"[^a-z0-9]+", "-", Path(os.path.abspath(file)).parent.name.lower()).strip("-")[:40]
    service = args.service or (name if re.match(r"[a-z]", name) else "shop")
    file.write_text(config.template(router, service))
    show.result(args, f"wrote {file} for {router}: have a look at it, then `bleen up` and `bleen deploy 1.0`", file=str(file), router=router)
    return exits.DONE


def _unit(args: Namespace, file: Path) -> int:
    loaded = config.load(file, None)
    unit = Path(f"bleen-{loaded.service}.service")
    if unit.exists():
        raise UserError(f"{unit} is there already: nothing was written")
    state = f"Environment=BLEEN_STATE={os.path.abspath(os.environ['BLEEN_STATE'])}\n" if "BLEEN_STATE" in os.environ else ""
    bleen = f"{sys.executable} -m bleen"
    file = file.absolute()
    unit.write_text(f"""\
[Unit]
Description=bleen: {loaded.service}
After=network-online.target
Wants=network-online.target

[Service]
Type=oneshot
RemainAfterExit=yes
# What serves is nobody's child: stopping or restarting this unit ends the engine's start-up, never production.
KillMode=process
LimitNOFILE=65536
WorkingDirectory={file.parent}
{state}ExecStart={bleen} up --file {file}

[Install]
WantedBy=multi-user.target
""")
    show.result(args, f"wrote {unit}: install it with `systemctl enable --now {unit.absolute()}`", file=str(unit))
    return exits.DONE
