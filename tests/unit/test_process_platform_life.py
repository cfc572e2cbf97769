"""What is the process platform's own, beyond the contract of platforms: restarts, reboots, secrets, ports, logs, and being killed at any call."""

import json
import os
import pwd
import random
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bleen.errors import Refused, Unavailable
from bleen.host import launch, processes
from bleen.host.clock import since_boot
from bleen.host.files import Fence, Reserve
from bleen.model import Environment
from bleen.plan import Probe
from bleen.providers.platforms import process_record
from bleen.providers.platforms.process import KEPT, LETTING_GO, ProcessPlatform
from bleen.providers.platforms.process_record import State
from bleen.testing.interrupt import fork
from bleen.testing.site import done, until
from programs import child

GREEN = Environment("green", 5)
BLUE = Environment("blue", 4)
PROBE = Probe("/health", patience=1.0)


class Clock:
    """Seconds since boot, which pass only when a test says so."""

    def __init__(self) -> None:
        self.now = since_boot()

    def __call__(self) -> float:
        return self.now


class Host:
    """The state of one service, and platforms over it."""

    def __init__(self, root: Path, claimed: list[int], service: str = "shop") -> None:
        self.root, self.ports, self.clock = root, claimed, Clock()
        self.place = root / "services" / service / "environments"
        self.place.mkdir(parents=True)
        self.version = root / "versions"
        self.version.mkdir(exist_ok=True)

    def platform(self, *command: str, probe: Probe = PROBE, **settings: Any) -> ProcessPlatform:
        """A new instance, as every process makes one; its command is ``sleep`` if not said."""
        wanted = {"kind": "process", "command": command or ("sleep", "1000"), "directory": str(self.version), "replicas": 2, "ports": self.ports}
        wanted |= {"stop": {"signal": "TERM", "timeout": 1.0}, **settings}
        fence, reserve = Fence(self.place.parent / "fence"), Reserve(self.place.parent / "reserve")
        return ProcessPlatform(self.place, fence, reserve, self.root / "ports.lock", wanted, probe, self.clock)

    def record(self, environment: Environment, instance: int) -> Path:
        return self.place / str(environment) / f"{instance}.json"

    def kill(self, environment: Environment, instance: int) -> None:
        """SIGKILL to the main process of an instance; dead on return."""
        process = launch.recorded(self.record(environment, instance))
        assert process
        process.signal(signal.SIGKILL)
        until("it is dead", lambda: not process.alive)

    def retire(self, environment: Environment) -> None:
        """Stops an environment; it is gone on return."""
        done(lambda: self.platform().retire(environment, 0, 1))

    def carriers(self) -> list[str]:
        """What runs here, whatever the records say: the instance of each process, "green-5/1"."""
        found, mark = [], f"{launch.MARK}={self.root}".encode()
        for pid in (name for name in os.listdir("/proc") if name.isdecimal()):
            try:
                marks = [each for each in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0") if each.startswith(mark)]
                state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue
            if marks and state not in "ZX":
                found.append("/".join(Path(marks[0].decode()).with_suffix("").parts[-2:]))
        return sorted(found)


@pytest.fixture
def claimed() -> Iterator[list[int]]:
    """A block of ports that no other run of these tests has: an abstract socket (unix(7)) is its claim."""
    while True:
        low = random.randrange(25000, 29900, 50)
        with socket.socket(socket.AF_UNIX) as claim:
            try:
                claim.bind(f"\0bleen-test-ports-{low}")
            except OSError:
                continue
            yield [low, low + 49]
            return


@pytest.fixture
def host(tmp_path: Path, claimed: list[int]) -> Iterator[Host]:
    host = Host(tmp_path, claimed)
    yield host
    for record in tmp_path.glob("services/*/environments/*/[0-9]*.json"):
        until("all is gone", lambda record=record: launch.end(record, signal.SIGKILL, forever=True))  # type: ignore[misc]
    assert host.carriers() == []


def application(*options: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "bleen.testing.application", *options)


# Whatever today's plan says


def test_an_environment_is_asked_as_was_right_when_it_was_started(host: Host) -> None:
    """Each environment is asked as was right when it was started; one of which nobody knows, as the plan says."""
    later = Probe("/later", patience=2.0)
    host.platform().provision(BLUE, "1.0", 1, 1)
    assert [host.platform(probe=later).probe(each) for each in (BLUE, GREEN)] == [PROBE, later]
    (host.place / str(BLUE) / "environment.json").write_text("no record")
    assert host.platform(probe=later).probe(BLUE) == later


# Restarts


def test_a_restart_waits_until_the_killed_process_has_let_go_of_its_port(host: Host) -> None:
    """A process that was killed is a zombie for a while before its last thread has closed its sockets; the next copy must not fail to bind for that."""
    script = (
        "import ctypes, os, socket, sys, threading\nheld = socket.create_server(('127.0.0.1', int(os.environ['PORT'])))\nprint('listening', flush=True)\n"
        "threading.Thread(target=threading.Event().wait).start()\nctypes.CDLL(None).pthread_exit(None) if not os.path.exists('second') else None"
    )
    platform = host.platform(sys.executable, "-c", script)
    platform.provision(GREEN, "1.0", 1, 1)
    first = launch.recorded(host.record(GREEN, 1))
    assert first
    until("it is a zombie that listens", lambda: not first.alive)
    (host.version / "second").touch()
    for _ in range(3):
        platform.tend(1)
        assert launch.recorded(host.record(GREEN, 1)) == first
    os.kill(first.pid, signal.SIGKILL)

    def second_listens() -> bool:
        platform.tend(1)
        return platform.logs(GREEN, 10) == ["1| listening", "1| listening"]

    until("the next one listens", second_listens)
    assert platform.running()[GREEN].alive == 1
    assert "starts again" not in platform.health(GREEN).why


def test_what_another_version_of_bleen_has_written_more_is_passed_over(host: Host) -> None:
    host.platform().provision(GREEN, "1.0", 1, 1)
    for name, of in (("environment.json", lambda row: [row]), ("instances.json", lambda row: row["states"].values())):
        file = host.place / str(GREEN) / name
        row = json.loads(file.read_text())
        for each in of(row):
            each["later"] = 1
        file.write_text(json.dumps(row))
    host.kill(GREEN, 1)
    host.platform().tend(1)
    assert host.carriers() == ["green-5/1"]
    assert "after it crashed" in host.platform().health(GREEN).why


def test_a_crashed_instance_starts_again_at_once_and_then_later_and_later(host: Host) -> None:
    """restarted with back-off when they crash"""
    platform = host.platform()
    platform.provision(GREEN, "1.0", 1, 1)
    for crashes, wait in enumerate((0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0), 1):
        host.kill(GREEN, 1)
        platform.tend(1)
        if wait:
            said = platform.health(GREEN).why
            assert said.endswith(f": crashed {crashes} times, starts again within {wait:g}s")
            host.clock.now += wait - 0.9
            platform.tend(1)
            assert host.carriers() == []
            assert platform.health(GREEN).why == said, "a poll would be journalled"
            host.clock.now += 0.9
            platform.tend(1)
        assert host.carriers() == ["green-5/1"]
    host.clock.now += 60
    host.kill(GREEN, 1)
    platform.tend(1)
    assert host.carriers() == ["green-5/1"]


def test_back_off_survives_whoever_counts(host: Host) -> None:
    host.platform().provision(GREEN, "1.0", 1, 1)
    for _ in range(2):
        host.kill(GREEN, 1)
        host.platform().tend(1)
    assert host.carriers() == []


def test_crashing_is_said_when_every_instance_was_restarted_three_times_within_a_minute_and_until_a_good_run(host: Host) -> None:
    """An environment whose processes all keep crashing (three restarts each within a minute) is dead too, even if it answers in between."""
    platform = host.platform()
    platform.provision(GREEN, "1.0", 2, 1)

    def crash(instance: int) -> None:
        host.kill(GREEN, instance)
        platform.tend(1)
        host.clock.now += 2.0
        platform.tend(1)

    for _ in range(3):
        assert not platform.health(GREEN).crashing
        crash(1)
    for _ in range(3):
        assert not platform.health(GREEN).crashing
        crash(2)
    assert platform.health(GREEN).crashing
    host.clock.now += 50
    assert platform.health(GREEN).crashing
    host.clock.now += 10
    assert not platform.health(GREEN).crashing


def test_an_environment_that_answers_but_keeps_crashing_says_so_and_until_when(host: Host) -> None:
    """ "An environment whose processes all keep crashing is dead too, even if it answers in between." """
    words = ("-m", "bleen.testing.application", "--port", "{port}", "--name", "1.0", "--version", "1.0")
    platform = host.platform(sys.executable, *words)
    platform.provision(GREEN, "1.0", 1, 1)
    for _ in range(3):
        host.kill(GREEN, 1)
        platform.tend(1)
        host.clock.now += 5.0
        platform.tend(1)
    until("it answers", lambda: platform.health(GREEN).ready == 1)
    assert platform.health(GREEN).why.startswith("green-5 answers, but keeps crashing (3 times): it counts as well again once it has run for 1m")


def test_what_cannot_be_started_again_is_told_and_does_not_stop_the_others(host: Host) -> None:
    """Pruned while warm: rollback is shown as not ready."""
    platform = host.platform()
    platform.provision(BLUE, "1.0", 1, 1)
    platform.provision(GREEN, "1.1", 1, 1)
    host.kill(GREEN, 1)
    host.kill(BLUE, 1)
    shutil.rmtree(host.version)
    platform.tend(1)
    for environment in (BLUE, GREEN):
        assert f"'sleep' cannot be started in {host.version}: No such file or directory" in platform.health(environment).why
    host.version.mkdir()
    host.clock.now += 1
    platform.tend(1)
    assert host.carriers() == ["blue-4/1", "green-5/1"]


def test_after_a_reboot_all_that_should_run_starts_at_once_on_the_same_ports(host: Host) -> None:
    """After a reboot `bleen up` starts the active environment, while HOLDING the warm one too"""
    platform = host.platform()
    platform.provision(BLUE, "1.0", 2, 1)
    platform.provision(GREEN, "1.1", 1, 1)
    before = {e: r.targets for e, r in platform.running().items()}
    for _ in range(2):  # so that a restart would have to wait
        host.kill(GREEN, 1)
        platform.tend(1)
    for instance in (1, 2):
        host.kill(BLUE, instance)
    for file in host.place.glob("*/*.json"):
        row = json.loads(file.read_text())
        if "boot" in row:
            file.write_text(json.dumps({**row, "boot": "the boot before"}))
    host.platform().tend(1)
    assert host.carriers() == ["blue-4/1", "blue-4/2", "green-5/1"]
    assert {e: r.targets for e, r in platform.running().items()} == before


def test_an_instance_that_is_wanted_again_while_it_ends_comes_back_when_it_has_ended(host: Host) -> None:
    platform = host.platform("sh", "-c", "trap '' TERM; echo; while :; do sleep 1000 || true; done")
    platform.provision(GREEN, "1.0", 2, 1)
    until("both ignore TERM", lambda: len(platform.logs(GREEN, 9)) == 2)
    first = launch.recorded(host.record(GREEN, 2))
    assert first
    assert platform.retire(GREEN, 1, 1)
    platform.provision(GREEN, "1.0", 2, 1)
    assert first.alive
    assert "green-5/2" in platform.health(GREEN).why
    assert "is ending" in platform.health(GREEN).why
    host.clock.now += 1.0

    def another() -> bool:
        platform.tend(1)
        return launch.recorded(host.record(GREEN, 2)) != first

    until("another runs", another)
    assert not first.alive
    assert platform.running()[GREEN].alive == 2


# Ending


def test_what_is_ended_hard_is_told(host: Host) -> None:
    platform = host.platform("sh", "-c", "trap '' TERM; echo; while :; do sleep 1000 || true; done")
    platform.provision(GREEN, "1.0", 1, 1)
    until("it ignores TERM", lambda: platform.logs(GREEN, 1))
    first = platform.retire(GREEN, 0, 1)
    assert first
    assert "has 1s for it" in first.why
    assert platform.running()[GREEN].stopping
    host.clock.now += 1.0
    host.retire(GREEN)
    assert "1| bleen: instance 1 did not end within 1s of SIGTERM: killed" in platform.logs(GREEN, 5)


def test_a_child_left_behind_gets_the_signal_once_and_its_own_time(host: Host) -> None:
    script = "sh -c 'trap \"echo told\" TERM; echo ready; while :; do sleep 0.05; done' & trap 'exit 0' TERM; wait"
    platform = host.platform("sh", "-c", script)
    platform.provision(GREEN, "1.0", 1, 1)
    until("it is ready", lambda: "1| ready" in platform.logs(GREEN, 9))
    assert platform.retire(GREEN, 0, 1)
    until("the child was told", lambda: platform.retire(GREEN, 0, 1) and "1| told" in platform.logs(GREEN, 9))
    for _ in range(5):
        assert platform.retire(GREEN, 0, 1)
    host.clock.now += 1.0
    host.retire(GREEN)
    assert platform.logs(GREEN, 9).count("1| told") == 1
    assert host.carriers() == []


def test_another_stop_signal_is_used_and_one_that_does_not_exist_is_refused(host: Host) -> None:
    with pytest.raises(Refused, match="no signal TERMINATE"):
        host.platform(stop={"signal": "TERMINATE", "timeout": 1.0}).provision(GREEN, "1.0", 1, 1)
    platform = host.platform("sh", "-c", "trap 'echo quit; exit 0' QUIT; echo; while :; do sleep 0.05; done", stop={"signal": "SIGQUIT", "timeout": 5.0})
    platform.provision(GREEN, "1.0", 1, 1)
    until("it is ready", lambda: platform.logs(GREEN, 1))
    host.retire(GREEN)
    assert platform.logs(GREEN, 1) == ["1| quit"]


def test_what_can_never_start_is_refused_before_anything_is_touched(host: Host) -> None:
    """A version's directory, image or program that is missing: exit 2 before anything is touched."""
    for platform in (host.platform(directory=str(host.root / "no")), host.platform("no-such-command"), host.platform(user="no such user")):
        with pytest.raises(Refused):
            platform.provision(GREEN, "1.0", 1, 1)
    assert list(host.place.iterdir()) == []


def test_a_name_that_would_leave_the_directory_is_refused(host: Host) -> None:
    """A version such as ``1.0; rm -rf /`` or ``../../x`` is data: no shell, no path escape."""
    for name in ("../../x", "/x", ".x"):
        with pytest.raises(Refused, match="no name for an environment"):
            host.platform().provision(Environment(name, 5), "1.0", 1, 1)


# Killed in the middle

CALLS = {"mkdir", "rename", "fsync", "flock", "pwrite", "unlink", "touch", "fork_exec", "pidfd_send_signal"}


def dies_at(nth: int, effect: Callable[[], object]) -> bool:
    """Carries out an effect in a child that ends itself with SIGKILL before the nth of CALLS; False if it came to its end first."""
    pid = os.fork()
    if pid == 0:
        seen = 0

        def called(frame: object, event: str, call: object) -> None:
            nonlocal seen
            if event == "c_call" and getattr(call, "__name__", "") in CALLS:
                if seen == nth:
                    os.kill(os.getpid(), signal.SIGKILL)
                seen += 1

        sys.setprofile(called)
        effect()
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    assert status in (0, signal.SIGKILL)
    return status != 0


def test_provision_killed_before_any_call_and_repeated_ends_with_one_copy_of_each(host: Host) -> None:
    """the next `up` adopts what runs, by pid and start time, with no second copy"""
    nth, died = 0, True
    while died:
        environment = Environment("green", nth + 1)
        died = dies_at(nth, lambda environment=environment: host.platform().provision(environment, "1.0", 2, 1))  # type: ignore[misc]
        platform = host.platform()
        platform.provision(environment, "1.0", 2, 1)
        assert host.carriers() == [f"{environment}/1", f"{environment}/2"]
        assert platform.running()[environment].alive == 2
        host.retire(environment)
        assert host.carriers() == []
        nth += 1
    assert nth > 15


def test_retire_killed_before_any_call_and_repeated_ends_everything_for_good(host: Host) -> None:
    nth, died = 0, True
    while died:
        environment, platform = Environment("green", nth + 1), host.platform()
        platform.provision(environment, "1.0", 1, 1)

        def retire(environment: Environment = environment) -> None:
            host.retire(environment)

        died = dies_at(nth, retire)
        host.retire(environment)
        platform.tend(1)
        assert host.carriers() == []
        assert platform.running() == {}
        assert not list(host.place.glob(f"**/{environment}/secrets.json"))
        with pytest.raises(Refused):
            platform.provision(environment, "1.0", 1, 1)
        nth += 1
    assert nth > 10


# Secrets


def test_secrets_reach_the_program_and_lie_nowhere_else_than_in_a_private_file_until_the_end(host: Host) -> None:
    """Values live in a file of mode 0600 for each release until it ends"""
    file = host.root / "staged.json"
    file.write_text(json.dumps({"base": {"PATH": os.environ["PATH"], "FROM_FILE": "canary-base"}, "values": {"KEY": "canary-value {port} ${KEY}"}}))
    env = {"SECRET": "<${KEY}>", "WHERE": "{environment} {instance} {version}", "PORT": "1"}
    platform = host.platform("sh", "-c", 'echo "$SECRET|$WHERE|$FROM_FILE|$PORT|$HOME"; exec sleep 1000', secrets=str(file), env=env)
    platform.provision(GREEN, "{port}", 1, 1)
    port = platform.running()[GREEN].targets[0].port
    assert until("it speaks", lambda: platform.logs(GREEN, 1)) == [f"1| <canary-value {{port}} ${{KEY}}>|green 1 {{port}}|canary-base|{port}|"]
    file.unlink()
    with_canary = [each for each in host.place.rglob("*") if each.is_file() and b"canary" in each.read_bytes() and each.suffix != ".log"]
    assert [each.relative_to(host.place).as_posix() for each in with_canary] == ["green-5/secrets.json"]
    assert with_canary[0].stat().st_mode & 0o777 == 0o600
    host.kill(GREEN, 1)
    platform.tend(1)
    until("the copy is enough for a restart", lambda: len(platform.logs(GREEN, 9)) == 2)
    host.retire(GREEN)
    assert not list(host.place.rglob("secrets.json"))


def test_a_reference_without_a_value_is_refused_before_anything_is_touched(host: Host) -> None:
    with pytest.raises(Refused, match=r"\$\{KEY\} has no value"):
        host.platform(env={"SECRET": "${KEY}"}).provision(GREEN, "1.0", 1, 1)
    assert list(host.place.iterdir()) == []


# Ports


@pytest.mark.parametrize("how", ["crashed", "crashed, and waits", "down"])
def test_a_copy_whose_port_somebody_else_has_got_gets_another_one_and_says_who_has_it(host: Host, how: str) -> None:
    """A copy that does not run and whose port somebody else has got gets another one, and the routing follows; who has it is named in the copy's log."""
    platform = host.platform(*application("--port", "{port}"))
    platform.provision(GREEN, "1.0", 2, 1)
    until("it is well", lambda: platform.health(GREEN).healthy)
    lost, other = platform.running()[GREEN].targets
    if how == "down":
        done(lambda: platform.down(1))
    for crashes in range({"crashed": 1, "crashed, and waits": 3}.get(how, 0)):
        if crashes:
            platform.tend(1)
        host.kill(GREEN, 1)
    until("its port is free", lambda: not processes.listening(lost.port))
    with socket.create_server(lost):
        host.platform().tend(1)
        now = platform.running()[GREEN].targets
        assert lost not in now
        assert now[1] == other
        assert any(line.startswith("1| ") and f"pid {os.getpid()} (" in line for line in platform.logs(GREEN, 20))
        host.clock.now += 60
        platform.tend(1)
        until("it is well there", lambda: platform.health(GREEN).healthy)


@pytest.mark.parametrize("whose", ["another user's", "ours"])
def test_a_port_is_left_to_one_whom_we_may_not_look_into_once_it_cannot_be_the_copy_itself_any_more(
    host: Host, whose: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy that was killed may be seen to be dead before its sockets are closed. Whoever listens there gets what users send, also in a copy's back-off."""
    platform = host.platform()
    platform.provision(GREEN, "1.0", 1, 1)
    for crashes in range(5):
        if crashes:
            platform.tend(1)
            host.clock.now += 20
            platform.tend(1)
        host.kill(GREEN, 1)
    (lost,) = platform.running()[GREEN].targets
    monkeypatch.setattr(processes, "holder", lambda inodes: None)
    if whose == "another user's":
        uid = os.geteuid() + 1
        monkeypatch.setattr(os, "geteuid", lambda: uid)
    with socket.create_server(lost):
        platform.tend(1)
        assert (lost in platform.running()[GREEN].targets) == (whose == "ours")
        host.clock.now += LETTING_GO
        platform.tend(1)
        assert lost not in platform.running()[GREEN].targets
        assert platform.running()[GREEN].alive == 0, "it waits to be started again all the same"


def test_a_copy_for_which_there_is_no_other_port_is_not_started_says_who_has_its_own_and_has_not_crashed_by_that(host: Host) -> None:
    """ "An environment whose processes all keep crashing (three restarts each within a minute) is dead": one that could not be restarted is well once it is."""
    platform = host.platform(ports=[host.ports[0], host.ports[0]])
    platform.provision(GREEN, "1.0", 1, 1)
    host.kill(GREEN, 1)
    with socket.create_server(platform.running()[GREEN].targets[0]):
        for _ in range(4):
            platform.tend(1)
            host.clock.now += 10
        assert f"pid {os.getpid()} (" in platform.health(GREEN).why
        assert host.carriers() == []
        assert len([line for line in platform.logs(GREEN, 50) if f"cannot be started: pid {os.getpid()} (" in line]) == 1
        platform.tend(1)
    platform.tend(1)
    assert host.carriers() == ["green-5/1"], "it is started as soon as the port is free"
    assert not platform.health(GREEN).crashing
    host.kill(GREEN, 1)
    with socket.create_server(platform.running()[GREEN].targets[0]):
        platform.tend(1)
        assert f"pid {os.getpid()} (" in platform.health(GREEN).why
    platform.tend(1)
    assert platform.health(GREEN).why.endswith(": crashed 2 times, starts again within 1s"), "who has gone is not blamed"


def test_while_another_service_is_given_ports_nobody_waits_for_it_who_needs_none_or_comes_round_again(host: Host) -> None:
    platform = host.platform()
    platform.provision(GREEN, "1.0", 2, 1)
    platform.provision(BLUE, "1.0", 2, 1)
    done(lambda: platform.retire(BLUE, 1, 1))
    for n in (1, 2):
        host.kill(GREEN, n)
    first, second = platform.running()[GREEN].targets
    script = "import fcntl, sys; lock = open(sys.argv[1], 'a'); fcntl.flock(lock, fcntl.LOCK_EX); print(flush=True); sys.stdin.read()"
    with socket.create_server(first), socket.create_server(second):
        with child("-c", script, str(host.root / "ports.lock")) as other:
            assert other.stdout
            other.stdout.readline()
            began = time.monotonic()
            platform.tend(1)
            platform.provision(BLUE, "1.0", 2, 1)
            assert time.monotonic() - began < 4
            assert f"is locked by pid {other.pid} (" in platform.health(GREEN).why
        host.clock.now += 1
        platform.tend(1)
    assert host.carriers() == ["blue-4/1", "blue-4/2", "green-5/1", "green-5/2"]


def test_no_port_is_given_to_two_environments_of_a_host_and_none_again_at_once(host: Host, claimed: list[int]) -> None:
    """addresses and ports are checked across the services of a host"""
    other = Host(host.root, claimed, "other")
    low = claimed[0]
    with socket.create_server(("127.0.0.1", low + 1)):
        host.platform().provision(GREEN, "1.0", 2, 1)
        other.platform().provision(GREEN, "1.0", 1, 1)
        with pytest.raises(Refused, match=r"only 0 of 1 ports are free .*; given out there: other 1, shop 2; set platform.process.ports to a larger range"):
            other.platform(ports=[low, low + 3]).provision(BLUE, "1.0", 1, 1)
    assert [t.port for t in host.platform().running()[GREEN].targets] == [low, low + 2]
    assert [t.port for t in other.platform().running()[GREEN].targets] == [low + 3]
    host.retire(GREEN)
    host.platform().provision(BLUE, "1.0", 1, 1)
    assert [t.port for t in host.platform().running()[BLUE].targets] == [low + 4]
    other.retire(GREEN)


def test_ports_are_given_out_though_a_power_cut_left_no_number_of_the_last_one(host: Host, claimed: list[int]) -> None:
    (host.root / "ports.lock").write_bytes(b"\0" * 20)
    host.platform().provision(GREEN, "1.0", 1, 1)
    host.platform().provision(BLUE, "1.0", 1, 1)
    assert [host.platform().running()[each].targets[0].port for each in (GREEN, BLUE)] == [claimed[0], claimed[0] + 1]


def test_ports_of_the_kernels_ephemeral_range_are_left_out_and_too_few_are_refused(host: Host) -> None:
    """Ports come from a configured range outside the kernel's ephemeral range"""
    low, high = (int(each) for each in Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    with pytest.raises(Refused, match=f"only 0 of 1 ports are free in {low}-{high}"):
        host.platform(ports=[low, high]).provision(GREEN, "1.0", 1, 1)
    with pytest.raises(Refused, match="only 1 of 2 ports are free"):
        host.platform(ports=[host.ports[0], host.ports[0]]).provision(GREEN, "1.0", 2, 1)
    assert list(host.place.iterdir()) == []


def test_a_record_that_cannot_be_read_is_named_and_hides_no_other(host: Host) -> None:
    platform = host.platform()
    platform.provision(BLUE, "0.9", 1, 1)
    platform.provision(GREEN, "1.0", 1, 1)
    file = host.place / "green-5" / "environment.json"
    text = file.read_text()
    file.write_text(text[:-9])
    running = platform.running()
    assert (running[BLUE].version, running[BLUE].alive, running[BLUE].damaged) == ("0.9", 1, "")
    assert (running[GREEN].version, running[GREEN].alive, running[GREEN].targets) == ("", 1, ())
    said = "green-5/environment.json is not the record of an environment"
    assert said in running[GREEN].damaged
    with pytest.raises(Unavailable, match=said):
        platform.tend(1)
    with pytest.raises(Refused, match=f"green-5 cannot be brought down to 1: .*{said}"):
        platform.retire(GREEN, 1, 1)
    with pytest.raises(Unavailable, match=said):
        platform.health(GREEN)
    launch.recorded(host.place / "green-5" / "1.json").signal(signal.SIGKILL)  # type: ignore[union-attr]
    until("it is dead", lambda: platform.running()[GREEN].alive == 0)
    assert (platform.health(GREEN).ready, said in platform.health(GREEN).why) == (0, True)
    wrong: list[dict[str, object]] = [{"replicas": 3}, {"replicas": 1.0}, {"ports": ["x"]}, {"command": []}, {"stop_timeout": None}, {"env": []}]
    wrong += [{"environment": 5}, {"env": {"A": 5}}]
    wrong += [{"probe": {**PROBE._asdict(), name: None}} for name in PROBE._fields]
    for other in ("[]", '"x"', '{"version": null}', *(json.dumps({**json.loads(text), **fields}) for fields in wrong)):
        file.write_text(other)
        assert said in platform.running()[GREEN].damaged
    file.write_text(text)


def test_a_file_and_a_directory_that_nobody_may_look_into_hide_no_other(host: Host) -> None:
    """ "From PROMOTING to HOLDING it always works": what cannot be looked at bars nobody's way back to another."""
    platform = host.platform()
    platform.provision(BLUE, "0.9", 2, 1)
    platform.provision(GREEN, "1.0", 1, 1)
    blue, green = host.place / str(BLUE), host.place / str(GREEN)
    (blue / "1.json").rename(blue / "1.json.kept")
    (blue / "1.json").symlink_to("1.json")  # which nobody can open, root neither
    green.chmod(0)

    def looks() -> None:
        os.chdir(host.place)
        if os.geteuid() == 0:
            entry = pwd.getpwnam("nobody")
            for path in (host.place, blue, *blue.iterdir()):
                os.chown(path, entry.pw_uid, entry.pw_gid, follow_symlinks=False)
            os.setuid(entry.pw_uid)
        running = ProcessPlatform(Path(), Fence(Path("f")), Reserve(Path("r")), Path("p"), {}, PROBE).running()
        assert (running[BLUE].version, running[BLUE].alive, len(running[BLUE].targets), running[BLUE].damaged) == ("0.9", 1, 2, "")
        assert (running[GREEN].alive, running[GREEN].targets) == (0, ())
        theirs = "" if Path(green.name).stat().st_uid == os.geteuid() else "; green-5 belongs to root: `chown -R nobody green-5` as root"
        assert running[GREEN].damaged == f"green-5/environment.json cannot be read: Permission denied{theirs}"

    assert os.waitpid(fork(looks), 0)[1] == 0
    green.chmod(0o700)
    (blue / "1.json.kept").rename(blue / "1.json")


def test_how_instances_fare_is_as_good_as_unknown_where_a_field_is_of_the_wrong_kind(host: Host) -> None:
    """It is no truth, and damaged as good as absent."""
    platform = host.platform()
    platform.provision(GREEN, "1.0", 1, 1)
    file = host.place / str(GREEN) / "instances.json"
    row = json.loads(file.read_text())
    for name in State._fields:
        file.write_text(json.dumps({**row, "states": {"1": {**row["states"]["1"], name: [{}]}}}))
        assert process_record.states(file.parent) == {}, name
    host.kill(GREEN, 1)
    platform.tend(1)
    assert platform.running()[GREEN].alive == 1


def test_an_environment_that_cannot_be_seen_to_keeps_nobody_from_the_others(host: Host) -> None:
    platform = host.platform()
    platform.provision(BLUE, "0.9", 1, 1)
    platform.provision(GREEN, "1.0", 1, 1)
    (states := host.place / str(BLUE) / "instances.json").unlink()
    states.mkdir()
    host.kill(GREEN, 1)
    with pytest.raises(Unavailable, match=f"Is a directory .*{states}"):
        platform.tend(1)
    assert host.carriers() == ["blue-4/1", "green-5/1"]
    with pytest.raises(Unavailable, match=f"Is a directory .*{states}"):
        until("green is gone", lambda: platform.down(1) is None)
    assert host.carriers() == ["blue-4/1"]
    states.rmdir()


def test_what_is_to_go_for_good_goes_although_its_record_cannot_be_read(host: Host) -> None:
    platform = host.platform()
    platform.provision(BLUE, "0.9", 1, 1)
    platform.provision(GREEN, "1.0", 2, 1)
    (host.place / "green-5" / "environment.json").write_text("{")
    shutil.copytree(host.place / "green-5", host.place / "green-6")
    with pytest.raises(Refused, match="green-6/environment"):
        platform.retire(Environment("green", 6), 0, 1)  # its processes are those of another
    assert platform.running()[GREEN].alive == 2
    host.retire(GREEN)
    assert host.carriers() == ["blue-4/1"]
    assert list(platform.running()) == [BLUE, Environment("green", 6)]
    assert (host.place / "green-6").exists()
    (host.place / "blue-4" / "environment.json").unlink()
    done(lambda: platform.down(1))
    assert host.carriers() == []


def test_what_has_lost_its_record_is_ended_and_buried_with_its_secrets(host: Host) -> None:
    platform = host.platform()
    platform.provision(GREEN, "1.0", 2, 1)
    (host.place / "green-5" / "environment.json").unlink()
    host.retire(GREEN)
    assert host.carriers() == []
    assert not list(host.place.glob("**/green-5/secrets.json"))
    assert not (host.place / "green-5").exists()


def test_a_burial_that_was_cut_short_is_ended_by_the_next_one(host: Host) -> None:
    platform = host.platform()
    platform.provision(GREEN, "1.0", 1, 1)
    host.retire(GREEN)
    (left := host.place / ".ended" / "green-5" / "environment.json").write_text("{}")  # as who was killed behind the rename left it
    host.retire(GREEN)
    assert not left.exists()


def test_what_lies_in_the_place_of_a_new_environment_is_named_at_once_and_left(host: Host) -> None:
    platform = host.platform()
    platform.provision(BLUE, "0.9", 1, 1)
    shutil.copytree(host.place / "blue-4", host.place / "green-5")
    with pytest.raises(Refused, match=r"green-5 is in the way, and is no environment of this service: take it away, then deploy again"):
        platform.provision(GREEN, "1.0", 1, 1)
    host.retire(GREEN)
    assert (host.place / "green-5" / "environment.json").exists()
    (host.place / "green-6").mkdir()
    (host.place / "green-6" / "notes").write_text("1.0 was bad")
    host.retire(Environment("green", 6))
    assert (host.place / "green-6" / "notes").exists()
    assert host.carriers() == ["blue-4/1"]


def test_a_launch_record_that_another_hand_has_written_ends_nobody(host: Host) -> None:
    platform = host.platform()
    platform.provision(GREEN, "1.0", 1, 1)
    written = host.record(GREEN, 1).read_text()
    for row in ("null", "[]", '{"pid": 1}'):
        host.record(GREEN, 1).write_text(row)
        assert platform.running()[GREEN].alive == 0
        assert platform.health(GREEN).ready == 0
    host.record(GREEN, 1).write_text(written)
    assert platform.running()[GREEN].alive == 1


def test_what_somebody_else_has_put_beside_the_environments_is_passed_over_and_left(host: Host) -> None:
    platform = host.platform()
    platform.provision(BLUE, "0.9", 1, 1)
    platform.provision(GREEN, "1.0", 1, 1)
    copies = [host.place / name for name in ("green-5.bak", "green-05", "green-5-20261126", "green-6", "notes", "notes-1")]
    for copy in copies[:-2]:
        shutil.copytree(host.place / str(GREEN), copy)
    copies[-2].mkdir()
    copies[-1].write_text("1.0 was bad")
    for name in ("1.json.bak", "1 (old).json", "saved.log"):
        (host.place / str(GREEN) / name).write_text("{}")
    (host.place / str(GREEN) / "saved").mkdir()
    (host.place / ".ended").mkdir()
    (kept := host.place / ".ended" / "green-4.bak").mkdir()
    assert list(platform.running()) == [BLUE, GREEN]
    assert list(platform.log_files(GREEN)) == ["1| "]
    platform.tend(1)
    host.retire(GREEN)
    assert host.carriers() == ["blue-4/1"]
    platform.tend(1)
    done(lambda: host.platform().down(1))
    assert host.carriers() == []
    assert kept.exists()
    assert all(copy.exists() for copy in copies)


def test_a_record_that_a_bleen_wrote_which_went_by_the_directorys_name_is_read(host: Host) -> None:
    """ "a newer bleen migrates it, mid-release too" """
    host.platform().provision(GREEN, "1", 2, 1)
    file = host.place / str(GREEN) / "environment.json"
    file.write_text(json.dumps({name: value for name, value in json.loads(file.read_text()).items() if name != "environment"}))
    assert host.platform().running()[GREEN].alive == 2


# Health


def test_a_record_that_cannot_be_read_keeps_no_other_service_from_its_ports(host: Host, claimed: list[int]) -> None:
    damaged = host.root / "services" / "other" / "environments" / "blue-1"
    damaged.mkdir(parents=True)
    (damaged / "environment.json").write_text("{")
    host.platform().provision(GREEN, "1", 2, 1)
    assert host.platform().running()[GREEN].alive == 2


def test_a_record_that_another_version_wrote_with_more_in_it_is_read(host: Host) -> None:
    """ "a newer bleen migrates it, mid-release too" """
    host.platform().provision(GREEN, "1", 2, 1)
    file = host.place / str(GREEN) / "environment.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "of_another_version": 1}))
    assert host.platform().running()[GREEN].alive == 2


def test_what_a_copy_has_started_ends_with_it_also_in_a_session_and_an_environment_of_its_own(host: Host) -> None:
    """ "after `stop.timeout` all that it started is killed": of what `su -` has started, only its parent tells whose it is"""
    platform = host.platform("sh", "-c", " ".join(("env -i", "setsid", *application("--port", "$PORT"), "& wait")))
    platform.provision(GREEN, "1.0", 1, 1)
    until("it is well", lambda: platform.health(GREEN).healthy)
    (target,) = platform.running()[GREEN].targets
    assert processes.owner(str(target))
    host.retire(GREEN)
    assert processes.owner(str(target)) is None


def test_somebody_who_joined_the_port_is_noticed(host: Host) -> None:
    """an old process on the port must not pass for the new one"""
    platform = host.platform(*application("--port", "{port}", "--listen-after", "1"))
    platform.provision(GREEN, "1.0", 1, 1)
    port = platform.running()[GREEN].targets[0].port
    with socket.create_server(("127.0.0.1", port)):
        why = platform.health(GREEN).why
    assert why.startswith(f"green-5/1 127.0.0.1:{port}: another process, pid {os.getpid()} (")
    assert why.endswith(" listens there")


def test_a_socket_that_a_child_of_the_instance_holds_is_the_instances_own(host: Host) -> None:
    platform = host.platform("sh", "-c", " ".join((*application("--port", "$PORT"), "& wait")))
    platform.provision(GREEN, "1.0", 1, 1)
    until("it is well", lambda: platform.health(GREEN).healthy)
    assert host.platform().health(GREEN).healthy


# Logs


def test_logs_give_each_instance_its_share_and_follow_names_the_files(host: Host) -> None:
    platform = host.platform("sh", "-c", "if [ {instance} = 1 ]; then seq 100; else echo two; fi; exec sleep 1000")
    platform.provision(GREEN, "1.0", 2, 1)
    until("both have spoken", lambda: {"1| 100", "2| two"} <= set(platform.logs(GREEN, 200)))
    found = platform.logs(GREEN, 10)
    assert [line for line in found if line[0] == "1"] == [f"1| {n}" for n in range(92, 101)]
    assert [line for line in found if line[0] == "2"] == ["2| two"]
    assert platform.logs(GREEN, 0) == []
    assert {prefix: file.name for prefix, file in platform.log_files(GREEN).items()} == {"1| ": "1.log", "2| ": "2.log"}
    host.retire(GREEN)
    assert set(platform.logs(GREEN, 10)) == set(found)
    assert all(file.exists() for file in platform.log_files(GREEN).values())


def test_a_log_never_grows_past_twice_its_bound(host: Host) -> None:
    """logs with rotation and a bound"""
    platform = host.platform("sh", "-c", "for n in $(seq 2000); do echo line $n; done; exec sleep 1000", log_bytes=4096)
    platform.provision(GREEN, "1.0", 1, 1)

    def finished() -> bool:
        platform.tend(1)
        program = launch.recorded(host.record(GREEN, 1))
        return program is not None and processes.program(program.pid) == "sleep"

    until("all is written", finished)
    platform.tend(1)
    assert sum(file.stat().st_size for file in (host.place / "green-5").glob("1.log*")) <= 2 * 4096


def test_what_is_kept_of_ended_environments_is_bounded(host: Host) -> None:
    platform = host.platform("true")
    for number in range(1, KEPT + 4):
        platform.provision(Environment("green", number), "1.0", 1, 1)
        host.retire(Environment("green", number))
    kept = sorted((host.place / ".ended").iterdir())
    assert {each.name for each in kept} == {f"green-{number}" for number in range(4, KEPT + 4)}
    assert {file.name for each in kept for file in each.iterdir()} == {"1.log"}
