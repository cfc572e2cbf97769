"""Disks as a test wishes: full to the last byte, or with something of the host's hidden; only the program under test sees that."""

import errno
import os
import subprocess
import sys
from pathlib import Path


def run_on_a_small_disk(size: str, program: Path, small: Path, *arguments: str | Path) -> str:
    """Runs a Python program with a tmpfs of this size on the directory ``small``, which is its first argument.

    It must end with 0. Returns what it wrote to standard output.
    """
    small.mkdir()
    path = os.pathsep.join(filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]))
    argv = mounted(f"-t tmpfs -o size={size} none", small, sys.executable, program, small, *arguments)
    done = subprocess.run(argv, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def mounted(what: str, where: str | Path, *argv: str | Path) -> list[str | Path]:
    """What to run so that a program has something mounted, as options of mount(8) say it, in a mount namespace of its own."""
    apart = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--mount"]
    return [*apart, "sh", "-c", f'mount {what} "$0" && exec "$@"', where, *argv]


def fill(path: Path) -> None:
    """Writes to a file until its disk takes not one byte more."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT)
    for size in (1 << 16, 1 << 9, 1):
        try:
            while os.write(handle, b"x" * size) == size:
                pass
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
    os.close(handle)
