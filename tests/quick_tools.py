"""Alembic and Django, started at a fifth of what it takes: a process that has imported both forks for each start, where else each would import them anew.

What runs is the tool itself, with the arguments, variables, directory and output that it was started with; only that a signal does not reach it: it ends itself
when whoever started it has gone. What is about how a program is ended has to start it for real.
"""

import gc
import marshal
import os
import runpy
import signal
import socket
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

from programs import child

BIN = Path(sys.executable).parent
IMPORTED = (
    "alembic.config",
    "alembic.autogenerate",
    "sqlalchemy.dialects.postgresql.psycopg",
    "django.core.management.commands.migrate",
    "django.core.management.commands.sqlmigrate",
    "django.db.backends.postgresql.base",
)
PROGRAM = """#!{python} -IS
import _socket, array, marshal, os, sys
server = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
server.connect({place!r})
output = _socket.SOL_SOCKET, _socket.SCM_RIGHTS, array.array("i", [1, 2])
server.sendmsg([marshal.dumps((sys.argv, dict(os.environ), os.getcwd()))], [output])
code = server.recv(1)
server.recv(1)  # it has ended
sys.exit(code[0] if code else 137)
"""


@contextmanager
def started() -> Iterator[str]:
    """A directory with ``alembic`` and ``python``; the latter knows scripts, such as a ``manage.py``."""
    with tempfile.TemporaryDirectory(prefix="tools-") as directory:
        place = str(Path(directory, "socket"))
        for name in ("alembic", "python"):
            Path(directory, name).write_text(PROGRAM.format(python=sys.executable, place=place))
            Path(directory, name).chmod(0o755)
        with child(sys.executable, __file__, place) as server:
            assert server.stdout is not None
            assert server.stdout.readline() == b"ready\n"
            yield directory


def main(place: str) -> None:
    for each in IMPORTED:
        import_module(each)
    gc.freeze()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listening:
        listening.bind(place)
        listening.listen()
        print("ready", flush=True)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for a child
        while True:
            asked, _ = listening.accept()
            if os.fork() == 0:
                os._exit(_carry_out(asked))
            asked.close()


def _carry_out(asked: socket.socket) -> int:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    message, outputs, _, _ = socket.recv_fds(asked, 1 << 17, 2)
    argv, variables, directory = marshal.loads(message)
    for number, output in enumerate(outputs, 1):
        os.dup2(output, number)
        os.close(output)
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(variables)
    sys.argv = argv[1:] if Path(argv[0]).name == "python" else [str(BIN / Path(argv[0]).name), *argv[1:]]
    sys.path[0] = str(Path(sys.argv[0]).parent.absolute())
    threading.Thread(target=_ended_with, args=[asked], daemon=True).start()
    code = _run(sys.argv[0])
    sys.stdout.flush()
    sys.stderr.flush()
    asked.send(bytes([code]))
    return code


def _ended_with(asked: socket.socket) -> None:
    asked.recv(1)
    os.kill(os.getpid(), signal.SIGKILL)


def _run(script: str) -> int:
    """The exit code of a script, as Python has it."""
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as ended:
        if isinstance(ended.code, str):
            print(ended.code, file=sys.stderr)
        return ended.code & 255 if isinstance(ended.code, int) else int(ended.code is not None)
    except Exception:  # noqa: BLE001 - as Python itself does
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    main(sys.argv[1])
