"""The program that ``launch`` runs for a moment: standard library only, alone in its process, so that forking is safe.

Reads what to start from standard input; answers one line of JSON: the process, or why it is refused.
"""

import fcntl
import json
import os
import sys
import time


def main() -> None:
    wanted = json.load(sys.stdin)
    stem = os.path.splitext(wanted["record"])[0]
    lock = os.open(stem + ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    if os.path.exists(stem + ".ended"):
        return answer({"refused": f"{wanted['record']} was ended for good and is not started again"})
    if (running := read(wanted["record"])) and alive(running):
        return answer(running)
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
    answer({"refused": failure} if failure else read(wanted["record"]))


def become(wanted: dict, launcher: int, told: int) -> None:
    """Turns this process into the program; never returns."""
    try:
        while os.getppid() == launcher:
            time.sleep(0.0005)
        os.setsid()
        nothing = os.open(os.devnull, os.O_RDONLY)
        log = os.open(wanted["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        for theirs, ours in ((nothing, 0), (log, 1), (log, 2)):
            os.dup2(theirs, ours)
        with open("/proc/self/stat") as f:
            start = int(f.read().rpartition(")")[2].split()[19])
        with open("/proc/sys/kernel/random/boot_id") as f:
            boot = f.read().strip()
        write(wanted["record"], {"pid": os.getpid(), "start": start, "boot": boot})
        os.chdir(wanted["directory"])
        if wanted["user"]:
            become_user(wanted["user"])
        os.execvpe(wanted["argv"][0], wanted["argv"], wanted["env"])
    except (OSError, KeyError) as error:
        os.write(told, f"{wanted['argv'][0]} cannot be started in {wanted['directory']}: {error}".encode())
    finally:
        os._exit(127)


def become_user(name: str) -> None:
    import pwd  # only where somebody asks for it

    entry = pwd.getpwnam(name)
    if os.geteuid() != entry.pw_uid:
        os.initgroups(name, entry.pw_gid)
        os.setgid(entry.pw_gid)
        os.setuid(entry.pw_uid)


def read(path: str) -> dict | None:
    try:
        with open(path) as f:
            return json.load(f)
    except (OSError, ValueError):
        return None


def alive(process: dict) -> bool:
    try:
        with open(f"/proc/{process['pid']}/stat") as f:
            stat = f.read().rpartition(")")[2].split()
        with open("/proc/sys/kernel/random/boot_id") as f:
            boot = f.read().strip()
    except OSError:
        return False
    return int(stat[19]) == process["start"] and stat[0] not in "ZX" and boot == process["boot"]


def write(path: str, row: dict) -> None:
    beside = f"{path}.{os.getpid()}"
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.write(handle, json.dumps(row).encode())
    os.fsync(handle)
    os.close(handle)
    os.rename(beside, path)


def answer(row: dict | None) -> None:
    print(json.dumps(row))


if __name__ == "__main__":
    main()
