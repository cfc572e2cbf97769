"""Programs that a test starts itself."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def child(*argv: str) -> Iterator[subprocess.Popen[bytes]]:
    """A child of ours, with pipes, that does not outlive the test; argv of Python if it begins with a dash."""
    process = subprocess.Popen([sys.executable, *argv] if argv[0] == "-c" else argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()
