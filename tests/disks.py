"""A disk that is full to its last byte: a small tmpfs that only the program under test sees."""

import errno
import os
import subprocess
import sys
from pathlib import Path


def run_on_a_small_disk(size: str, program: Path, small: Path, *arguments: str | Path) -> str:
    """Runs a Python program in a mount namespace of its own, with a tmpfs of this size on the directory ``small``, which is its first argument.

    It must end with 0. Returns what it wrote to standard output.
    """
    small.mkdir()
    apart = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--mount"]
    mount = f'mount -t tmpfs -o size={size} none "$0" && exec "$@"'
    path = os.pathsep.join(filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]))
    argv: list[str | Path] = [*apart, "sh", "-c", mount, small, sys.executable, program, small, *arguments]
    done = subprocess.run(argv, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


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
