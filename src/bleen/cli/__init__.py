"""The command line: the first word names the one module that is loaded for it, in ``verbs``."""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from bleen import __version__
from bleen.errors import BleenError, Busy, UserError

VERBS = {
    "init": "write a good, commented bleen.yaml; with --systemd the unit that runs `bleen up` at boot",
    "check": "read bleen.yaml and the smoke tests, and report every fault",
    "doctor": "look at this machine: ports, proxy, permissions, limits, versions, what runs",
    "up": "start the router, what should be running, and the resident engine",
    "plan": "show what `deploy` would do",
    "deploy": "bring a version to the idle environment, prove it, and move traffic to it",
    "promote": "move traffic to a version that waits for it",
    "abort": "give up a release before it is promoted",
    "rollback": "return to the version before, at once",
    "status": "show what serves, what it could return to, and what is under way",
    "wait": "wait for a release, with the exit codes of `deploy`",
    "history": "list releases, or tell the life of one",
    "logs": "show what an environment wrote",
    "smoke": "run a file of smoke tests by itself",
    "retire": "close the rollback window now",
    "migrate": "change the database with a release: write, split and lint its SQL, expand, contract",
    "resume": "let a halted release try again",
    "close": "end a halted release; what the router serves now is the truth",
    "down": "end production: stop the engine, every environment and the router",
    "schema": "print the JSON Schema of bleen.yaml",
    "completion": "print a completion script for bash, zsh or fish",
}
"""Each verb in a few words, in the order of a release."""

HIDDEN = ("engine",)
"""What we start ourselves."""

PRINTERS = ("plan", "status", "history", "logs", "schema", "completion")
"""Verbs that have done nothing if what they print is lost."""

_EXIT_CODES = """\
exit codes:
  0 done   1 the answer is no   2 usage, configuration or a refusal; nothing touched   3 aborted before the switch, users saw nothing
  4 rolled back   5 halted, needs a person, or closed by one   6 another release is in the way   7 waits for `bleen promote`   70 a bug of bleen's
  130 broken off by Ctrl-C, or nobody reads what it prints any more; `deploy` after the switch, or without a reader: the release goes on
"""


def main(argv: list[str] | None = None) -> int:
    """Runs one verb and returns its exit code. No traceback reaches a person: a bug of ours is told in a line, and exits 70."""
    words = sys.argv[1:] if argv is None else argv
    try:
        _be_heard()
        code = _said(words)
        sys.stdout.flush()
        return _told(words, code)
    except SystemExit:  # of --help
        try:
            sys.stdout.flush()
        except BrokenPipeError:
            pass
        else:
            raise
    except BrokenPipeError:
        pass
    except KeyboardInterrupt:
        from bleen.cli import exits

        if words[:1] == ["migrate"] and {"expand", "backfill", "contract", "revert"}.intersection(words):
            print("bleen: broken off; `bleen migrate status` says how far it came", file=sys.stderr)
        return exits.INTERRUPTED
    from bleen.cli import exits

    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # who read us has gone; what Python has still to write at its end goes nowhere
    return exits.INTERRUPTED


def _said(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        if len(words) > 1 and words[1] in VERBS:
            words = [*words[1:], "--help"]
        else:
            print(_page())
            return 0
    if words[0] in ("-V", "--version"):
        print(f"bleen {__version__}")
        return 0
    return _run(words[0], words[1:])


def _be_heard() -> None:
    """Nobody listens where a standard stream is closed (``>&-``): Python has none there then, and the next file that is opened would take its place.

    Where what is printed cannot be kept, a log on a full disk, say, it is lost: what a verb does is more than what it says of it.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        stream = getattr(sys, name)
        if stream is None:
            handle = os.open(os.devnull, os.O_RDONLY)  # which refuses what is printed, as the closed stream does: it is known to be lost
            nobody = open(handle, "w" if number else "r", encoding="utf-8", closefd=False)  # noqa: SIM115 - for as long as the process lives
            setattr(sys, name, _lossy(nobody, handle) if number else nobody)
        elif number and type(raw := _raw(stream)) is io.FileIO and raw.fileno() == number:
            setattr(sys, name, _lossy(stream, number))


class _Lossy(io.FileIO):
    """A standard stream that goes on where nothing can be written any more. That its reader has gone is told as ever."""

    lost = ""
    """Why something was lost."""

    def write(self, data: bytes) -> int:  # type: ignore[override]
        try:
            return super().write(data)
        except BrokenPipeError:
            raise
        except OSError as error:
            self.lost = error.strerror or str(error)
            return memoryview(data).nbytes


def _lossy(stream: io.TextIOWrapper, number: int) -> io.TextIOWrapper:
    raw = _Lossy(number, "w", closefd=False)
    buffer = raw if stream.write_through else io.BufferedWriter(raw)  # type: ignore[type-var] # as Python makes them, with ``-u`` and without
    return io.TextIOWrapper(buffer, stream.encoding, stream.errors, None, stream.line_buffering, stream.write_through)


def _raw(stream: object) -> object:
    """What a stream writes to in the end; a test's may have nothing of the kind."""
    buffer = getattr(stream, "buffer", None)
    return getattr(buffer, "raw", buffer)


def _told(words: list[str], code: int) -> int:
    """The exit code, where what was printed could not be kept: a release's own, and no 0 for a verb that is there to print."""
    lost = getattr(_raw(sys.stdout), "lost", "")
    if not lost:
        return code
    print(f"bleen: not all that this says could be written: {lost}", file=sys.stderr)
    if code or (words and words[0] in VERBS and words[0] not in PRINTERS):
        return code
    from bleen.cli import exits

    return exits.USAGE


def _run(verb: str, rest: list[str]) -> int:
    import atexit
    import gc

    gc.set_threshold(100_000)  # loading modules makes much, and none of it is garbage
    atexit.register(gc.freeze)  # what is there at the end goes with the process: to look through it once more is a sixth of what a command costs
    from bleen.cli import exits

    if verb not in VERBS and verb not in HIDDEN:
        _tell(rest, f"there is no verb {verb!r}{_meant(verb)}; `bleen --help` lists them")
        return exits.USAGE
    try:
        import importlib

        with _unbegun():
            from bleen.cli import arguments

            module = importlib.import_module(f"bleen.cli.verbs.{verb}")
            if rest and rest[0] in getattr(module, "SUBVERBS", ()):
                module = importlib.import_module(f"bleen.cli.verbs.{verb}.{rest[0]}")
                verb, rest = f"{verb} {rest[0]}", rest[1:]
            args = arguments.parser(verb, module).read(rest)
        code: int = module.run(args)
        return code
    except BleenError as error:
        return _refused(rest, error)
    except BrokenPipeError:
        raise
    except OSError as error:
        import errno

        from bleen.errors import UserError
        from bleen.host.files import READ_ONLY

        ways = {
            **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "make room (`df -h`, `df -i`), then try again (`bleen rollback` has a reserve)"),
            errno.EROFS: READ_ONLY,
            **dict.fromkeys((errno.EACCES, errno.EPERM), "run this as the user that it belongs to"),
            **dict.fromkeys((errno.EMFILE, errno.ENFILE), "raise the limit (`ulimit -n`)"),
        }
        if error.errno == errno.ENOENT and not os.stat(os.curdir).st_nlink:
            return _refused(rest, UserError("the directory that this was typed in is gone: go to another one, or name the service with --service"))
        if error.errno not in ways:
            return _bug(verb, rest, error)
        return _refused(rest, UserError(f"{error.filename or 'the disk'}: {error.strerror}; {ways[error.errno]}"))
    except Exception as error:  # noqa: BLE001 - the one place where a bug of ours meets a person
        if isinstance(error.__cause__, KeyboardInterrupt):  # Ctrl-C while a class was made: Python 3.11 wraps what __set_name__ raises
            return exits.INTERRUPTED
        return _bug(verb, rest, error)


@contextmanager
def _unbegun() -> Iterator[None]:
    """Ctrl-C ends us on the spot: nothing has been done yet, and libraries that are being loaded make all sorts of things of an exception."""
    import signal

    from bleen.cli import exits

    heard = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # it may be ignored, as it is by what a script starts behind
    if heard:
        signal.signal(signal.SIGINT, lambda *_: os._exit(exits.INTERRUPTED))
    try:
        yield
    finally:
        if heard:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def _refused(rest: list[str], error: BleenError) -> int:
    from bleen.cli import exits

    _tell(rest, str(error), error.located if isinstance(error, UserError) else False)
    return exits.USAGE if isinstance(error, UserError) else exits.BUSY if isinstance(error, Busy) else exits.HALTED


def _tell(rest: list[str], text: str, located: bool = False) -> None:
    """Says why a verb did nothing: a JSON document where one was asked for, whatever else is wrong with the command line."""
    if "--json" in rest:
        import json

        print(json.dumps({"ok": False, "text": text}))
    else:
        print(text if located else f"bleen: {text}", file=sys.stderr)


def _bug(verb: str, rest: list[str], error: Exception) -> int:
    import tempfile
    import traceback

    from bleen.cli import exits

    try:
        with tempfile.NamedTemporaryFile("w", prefix="bleen-bug-", suffix=".txt", delete=False) as report:
            traceback.print_exc(file=report)
        way = f"please report it with {report.name}"
    except OSError:  # the disk is full, say
        way = "please report it; more could not be written to any temporary directory: make room, or set TMPDIR, and type it again"
    _tell(rest, f"a bug in `bleen {verb}`: {type(error).__name__}: {error}\n{way}")
    return exits.BUG


def _page() -> str:
    width = max(map(len, VERBS))
    verbs = "\n".join(f"  {verb:{width}}  {words}" for verb, words in VERBS.items())
    return f"""\
bleen takes a service from one version to the next without one failed request, and back in one command.

usage: bleen VERB [options]       `bleen VERB --help` tells all of a verb

{verbs}

Every verb takes -f FILE (default: bleen.yaml), --service NAME and --json. State lies in BLEEN_STATE.

{_EXIT_CODES}"""


def _meant(verb: str) -> str:
    import difflib

    if verb.startswith("-"):
        return " (options come after the verb)"
    near = difflib.get_close_matches(verb, VERBS, 1)
    return f" (did you mean `{near[0]}`?)" if near else ""
