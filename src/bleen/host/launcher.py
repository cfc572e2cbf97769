"""The program that ``launch`` runs for a moment: standard library only, alone in its process, so that forking is safe.

Reads what to start from standard input; answers one line of JSON: the process, or why it is refused, with the error number if there was one.
The lock beside the record is held, by the launched process too, until that process has become its program: nobody sees a launch half done.
"""

import errno
import fcntl
import json
import os
import signal
import sys
import time
from contextlib import suppress


def main() -> None:
    wanted = json.load(sys.stdin)
    stem = os.path.splitext(wanted["record"])[0]
    lock = os.open(stem + ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    if os.path.exists(stem + ".ended"):
        answer({"refused": f"{wanted['record']} was ended for good and is not started again", "errno": None})
    elif (running := read(wanted["record"])) and alive(running):
        answer(running)
    else:
        answer(start(wanted))


def start(wanted: dict) -> dict | None:
    """Starts the program and waits until it has begun, or until it is known why it cannot."""
    outcome, told = os.pipe()  # closed by a successful exec; otherwise it says why
    if os.fork() == 0:
        os.setsid()
        launcher = os.getpid()
        if os.fork() == 0:
            become(wanted, launcher, told)
        os._exit(0)
    os.close(told)
    with os.fdopen(outcome) as pipe:
        failure = pipe.read()
    begun = read(wanted["record"])
    if not failure:
        return begun
    while begun and alive(begun):  # its end of the pipe closes before it is dead: for a moment the record would name what runs
        time.sleep(0.0005)
    return json.loads(failure)


def become(wanted: dict, launcher: int, told: int) -> None:
    """Turns this process into the program; never returns."""
    try:
        while os.getppid() == launcher:
            time.sleep(0.0005)
        os.setsid()
        forget_signals()
        nothing = os.open(os.devnull, os.O_RDONLY)
        log = os.open(wanted["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        for theirs, ours in ((nothing, 0), (log, 1), (log, 2)):
            os.dup2(theirs, ours)
        pid = os.getpid()
        write(wanted["record"], {"pid": pid, "start": int(stat(pid)[19]), "boot": boot_id()})
        os.chdir(wanted["directory"])
        if wanted["user"]:
            become_user(wanted["user"])
        os.execvpe(wanted["argv"][0], wanted["argv"], wanted["env"])
    except (OSError, KeyError, ValueError) as error:  # ValueError: a zero byte, which no argument can hold
        why = f"{wanted['argv'][0]!r} cannot be started in {wanted['directory']}: {in_words(error)}"
        os.write(told, json.dumps({"refused": why, "errno": getattr(error, "errno", None)}).encode())
    finally:
        os._exit(127)


def in_words(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror} ({os.fsdecode(error.filename)})" if error.filename else error.strerror
    return str(error)


def forget_signals() -> None:
    """What is ignored or blocked stays so across exec (signal(7)): nohup ignores HUP, a shell's background jobs ignore INT, Python ignores PIPE."""
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def become_user(name: str) -> None:
    import pwd  # only where somebody asks for it

    entry = pwd.getpwnam(name)
    if os.geteuid() != entry.pw_uid:
        os.fchown(1, entry.pw_uid, entry.pw_gid)  # so that it may open /dev/stdout and /dev/stderr, which are the log
        os.initgroups(name, entry.pw_gid)
        os.setgid(entry.pw_gid)
        os.setuid(entry.pw_uid)


def read(path: str) -> dict | None:
    """What a record names: a pid, a start time and a boot id; None if it is not there, or holds anything else."""
    try:
        with open(path) as f:
            row = json.load(f)
    except FileNotFoundError:
        return None
    except ValueError:  # cut short by a crash of the host, which took the process along; or by another hand, as what is of another kind
        return None
    kinds = [type(row.get(name)) for name in ("pid", "start", "boot")] if type(row) is dict else []
    return row if kinds == [int, int, str] else None


def alive(process: dict) -> bool:
    now = stat(process["pid"])
    return now is not None and int(now[19]) == process["start"] and now[0] not in "ZX" and boot_id() == process["boot"]


def stat(pid: int) -> list | None:
    """The fields of /proc/PID/stat from the third on; None if there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", errors="replace") as f:
            return f.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def boot_id() -> str:
    with open("/proc/sys/kernel/random/boot_id") as f:
        return f.read().strip()


def write(path: str, row: dict) -> None:
    """Whole or not at all for every reader; not synced, as a crash of the host ends the process too. One writer at a time.

    What was there before stays beside it, to be written over the next time: a program that crashes again and again takes no room of a full disk.
    """
    beside, before, data = f"{path}.new", f"{path}.old", json.dumps(row).encode()
    if os.path.exists(before):  # by one that was killed here
        os.unlink(before)
    fill(beside, data)
    try:
        os.link(path, before)
    except OSError:  # nothing was, or the file system has no links
        os.rename(beside, path)
        with suppress(OSError):
            fill(beside, data)
        return
    os.rename(beside, path)
    os.rename(before, beside)


def fill(path: str, data: bytes) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        if os.write(file, data) < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        os.ftruncate(file, len(data))
    finally:
        os.close(file)


def answer(row: dict | None) -> None:
    print(json.dumps(row))


if __name__ == "__main__":
    main()
