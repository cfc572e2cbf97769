"""Who lives, and who listens."""

import fcntl
import os
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import IO

import pytest

from bleen.host import processes
from bleen.testing.interrupt import fork
from bleen.testing.site import until
from programs import child


def test_a_zombie_is_dead_and_a_stopped_process_is_alive() -> None:
    with child("sleep", "1000") as started:
        process = processes.find(started.pid)
        assert process
        assert not process.stopped
        process.signal(signal.SIGSTOP)
        until("it has stopped", lambda: process.stopped)
        assert process.alive
        process.signal(signal.SIGKILL)
        until("it is a zombie", lambda: not process.alive)  # nobody has waited for it yet
        assert processes.find(started.pid) is None
        assert not process.signal(signal.SIGCONT)


def test_a_process_that_the_kernel_takes_down_just_now_ends_though_it_is_alive_and_has_no_environment_any_more() -> None:
    """It was taken for somebody else's, as nothing in it said whose it was: a rollback over a damaged record halted then."""
    with child("-c", "held = b'x' * (512 << 20); print(flush=True); input()") as large:
        assert large.stdout
        large.stdout.readline()
        process = processes.find(large.pid)
        assert process
        assert (process.ends, processes.variable(process.pid, "PATH") != "") == (False, True)
        process.signal(signal.SIGKILL)
        bare = 0
        while process.alive:
            if not processes.variable(process.pid, "PATH"):
                bare += 1
                assert process.ends
        assert (bare > 0, process.ends) == (True, True)


def test_who_holds_a_lock_is_found_however_many_others_come_and_go(tmp_path: Path) -> None:
    """The kernel gives /proc/locks a page at a time: of 500 single looks five do not see the lock."""

    def hold(name: str) -> IO[str]:
        file = (tmp_path / name).open("w")
        fcntl.flock(file, fcntl.LOCK_EX)
        return file

    def come_and_go() -> None:
        files = [hold(f"comes{n}") for n in range(200)]
        while True:
            for how in (fcntl.LOCK_UN, fcntl.LOCK_EX):
                for file in files:
                    fcntl.flock(file, how)

    with ExitStack() as held:
        for n in range(150):
            held.enter_context(hold(f"stays{n}"))
        held.enter_context(hold("mine"))
        others = fork(come_and_go)
        try:
            found = [processes.locker(str(tmp_path / "mine")) for _ in range(500)]
        finally:
            os.kill(others, signal.SIGKILL)
            os.waitpid(others, 0)
    assert {process and process.pid for process in found} == {os.getpid()}


def test_a_process_whose_name_looks_like_its_own_statistics_is_read_right() -> None:
    script = "import ctypes, sys; ctypes.CDLL(None).prctl(15, b') Z 1 (x', 0, 0, 0); print(flush=True); sys.stdin.read()"
    with child("-c", script) as started:
        assert started.stdout
        started.stdout.readline()
        process = processes.find(started.pid)
        assert process
        assert process.alive


def test_a_look_that_fails_for_want_of_descriptors_makes_nobody_dead() -> None:
    script = (
        "import os, resource; from bleen.host import processes; me = processes.me()\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))\n"
        "try: print(me.alive)\n"
        "except OSError as error: print(error.strerror)"
    )
    assert subprocess.check_output([sys.executable, "-c", script], text=True).strip() == "Too many open files"


@pytest.mark.parametrize(
    ("listens", "theirs", "others"),
    [
        ("127.0.0.1", ["127.0.0.1", "0.0.0.0", "[::]"], ["127.0.0.2", "[::1]"]),
        ("0.0.0.0", ["127.0.0.1", "0.0.0.0", "[::]"], ["[::1]"]),
        ("::1", ["[::1]", "[::]"], ["127.0.0.1", "[::2]"]),
        ("::", ["[::1]", "[::]", "127.0.0.1", "0.0.0.0"], []),
    ],
)
def test_the_owner_of_an_address_is_not_whoever_has_the_same_port_at_another(listens: str, theirs: list[str], others: list[str]) -> None:
    with socket.create_server((listens, 0), family=socket.AF_INET6 if ":" in listens else socket.AF_INET) as server:
        port = server.getsockname()[1]
        assert [at for at in theirs + others if processes.descriptors(os.getpid(), set(processes.listening_at(f"{at}:{port}")))] == theirs


def test_the_owner_of_a_port_is_found_and_only_of_that_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert processes.owner(f"127.0.0.1:{port}") == os.getpid()
        [(inode, found)] = processes.listening(port).items()
        assert found == ("0100007F", os.geteuid(), 0)
        assert set(processes.descriptors(os.getpid(), {inode})) == {inode}
    assert processes.listening(port) == {}
    assert processes.owner(f"127.0.0.1:{port}") is None


def test_a_connection_is_no_listening_socket() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        assert len(processes.listening(server.getsockname()[1])) == 1
        assert processes.listening(client.getsockname()[1]) == {}


@pytest.mark.parametrize(("host", "mapped"), [("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("::ffff:127.0.0.1", "127.0.0.1")])
def test_the_end_of_a_connection_is_found_by_its_address_and_both_ways_of_looking_agree(host: str, mapped: str) -> None:
    families = [
        (socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True), socket.AF_INET6 if ":" in host else socket.AF_INET) for _ in "ab"
    ]
    with ExitStack() as held:
        ends, port = dict[int, str](), 0
        for listening, family in families:  # two connections to different places begin at one port
            held.enter_context(listening)
            client = held.enter_context(socket.socket(family))
            client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            client.bind((host, port))
            client.connect((host, to := listening.getsockname()[1]))
            port, ends[to] = client.getsockname()[1], processes.socket_at(f"/proc/self/fd/{client.fileno()}")
        for to, own in ends.items():
            assert set(processes.connected(mapped, port, to)) == {own}
            assert processes.connected("127.0.0.9", port, to) == {}
            assert processes.holders({own}) == {own: [os.getpid()]}
        assert processes.sockets_by_diag(port, 1) == processes.sockets_by_table(port, 1)


def test_sockets_of_both_families_are_seen_and_both_ways_of_looking_agree() -> None:
    for host, family in (("::", socket.AF_INET6), ("::1", socket.AF_INET6), ("127.0.0.2", socket.AF_INET), ("0.0.0.0", socket.AF_INET)):
        with socket.create_server((host, 0), family=family) as server:
            port = server.getsockname()[1]
            found = processes.sockets_by_diag(port)
            assert found == processes.sockets_by_table(port) == processes.listening(port)
            assert len(processes.descriptors(os.getpid(), set(found))) == 1


def test_a_tree_never_holds_the_process_that_asks() -> None:
    with child("sleep", "1000") as started:
        found = [each.pid for each in processes.tree(processes.me())]
        assert started.pid in found
        assert os.getpid() not in found


def test_ours_is_who_runs_our_program_and_not_who_has_its_name_in_a_path() -> None:
    waits = "import sys; sys.stdin.read()"
    for words, ours in (
        ([sys.executable, "-m", "bleen.testing.application"], True),
        ([sys.executable, "-c", waits, "/var/lib/bleen/services/shop/journal.db"], False),
        ([sys.executable, "-c", waits, "-m", "backup", "/var/lib/bleen"], False),
    ):
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as running:
            until("it has its own command line", partial(_is_called, running.pid, words[-1]))
            assert processes.is_bleen(running.pid) is ours, words
            running.kill()


def _is_called(pid: int, word: str) -> bool:
    return word in processes.command_line(pid)


def test_a_command_line_of_many_lines_is_told_in_one_and_one_that_nobody_can_see_not_at_all() -> None:
    with child("-c", "import sys\n\nprint = None\nsys.stdin.read()", "a\x1b[31m  b\n") as started:
        until("it has its own command line", lambda: _is_called(started.pid, "[31m b"))
        assert processes.named(started.pid).endswith(" -c import sys print = None sys.stdin.read() a [31m b)")
        started.kill()
        until("it is a zombie", lambda: processes.find(started.pid) is None)
        assert processes.named(started.pid) == f"pid {started.pid}"


def test_a_process_of_another_user_is_named_with_the_way_to_end_it() -> None:
    """What runs may be of somebody who acted here before: no one but its user, and root, can end it."""

    def ends() -> None:
        if os.geteuid() == 0:
            os.setuid(65534)
        init = processes.find(1)
        assert init
        with pytest.raises(PermissionError, match=r"pid 1 \(.*\) is another user's; end it as root: `kill 1`"):
            init.signal(0)

    assert os.waitpid(fork(ends), 0)[1] == 0
