"""What every platform must do. Subclass ``PlatformContract``, or ``ProcessContract`` where copies are processes of this host, and give ``build``.

::

    class TestMine(PlatformContract):
        def build(self, ground: Ground, version: str) -> Platform:
            return Mine(ground.root, ground.fence, ...)   # runs the test application with VERSIONS[version] as options
"""

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bleen.errors import Fenced, Refused
from bleen.host import processes
from bleen.host.files import Fence, Reserve
from bleen.model import Environment, Health
from bleen.plan import Probe
from bleen.ports import Platform
from bleen.testing.load import Client
from bleen.testing.site import Application, done, until

BLUE, GREEN, LATER = Environment("blue", 4), Environment("green", 5), Environment("blue", 6)

HOSTILE = "1.0; rm -rf / $(touch x) `touch y` {port} ${HOME}"
VERSIONS: Mapping[str, Sequence[str]] = {
    "1.0": (),
    "1.1": (),
    HOSTILE: (),
    "sick": ("--health", "fail"),
    "hanging": ("--health", "hang"),
    "deaf": ("--listen-after", "3600"),
    "crashing": ("--crash-after", "0"),
    "stubborn": ("--ignore-term", "--child"),
    "parent": ("--child",),
}
"""The versions that there are, and what the test application is told for each. There is no version "missing"."""

PROBE = Probe("/health", interval=0.1, patience=0.5, timeout=10.0, fall=3)
STOP = 2.0
"""Seconds that a copy has to end after TERM."""


class Ground:
    """One service: where its environments are, and the fence of its effects. ``root`` is the host's, ``place`` the service's."""

    def __init__(self, root: Path, service: str = "shop") -> None:
        self.root = root
        self.service = root / "services" / service
        self.place = self.service / "environments"
        self.place.mkdir(parents=True)
        self.fence = Fence(self.service / "fence")
        self.reserve = Reserve(self.service / "reserve")

    def directory(self, version: str) -> Path:
        """Where a version lies; of "missing" there is nothing."""
        path = self.root / "releases" / str(list(VERSIONS).index(version)) if version in VERSIONS else self.root / "releases" / version
        if version in VERSIONS:
            path.mkdir(parents=True, exist_ok=True)
        return path

    def processes(self) -> list[int]:
        """Every living process of this host that works below ``root``, whoever says that it should."""
        found = []
        for name in os.listdir("/proc"):
            try:
                below = name.isdecimal() and os.readlink(f"/proc/{name}/cwd").startswith(f"{self.root}/")
            except OSError:
                continue
            if below and processes.find(int(name)):
                found.append(int(name))
        return found


EFFECTS: Mapping[str, Callable[[Platform, int], object]] = {
    "provision": lambda platform, epoch: platform.provision(GREEN, "1.0", 1, epoch),
    "shrink": lambda platform, epoch: platform.retire(BLUE, 1, epoch),
    "retire": lambda platform, epoch: platform.retire(BLUE, 0, epoch),
    "down": lambda platform, epoch: platform.down(epoch),
    "tend": lambda platform, epoch: platform.tend(epoch),
}


class PlatformContract:
    """What a platform says and does, as its port tells it."""

    def build(self, ground: Ground, version: str) -> Platform:
        """The platform on trial as it is wired for a release of ``version``; called for every instance."""
        raise NotImplementedError

    def copies(self, ground: Ground, environment: Environment) -> list[object]:
        """Whatever tells one running copy of an environment from another that took its place: a pid, say."""
        raise NotImplementedError

    def crash(self, ground: Ground, environment: Environment, copies: int) -> None:
        """So many copies end at once, and not because we wished it."""
        raise NotImplementedError

    @pytest.fixture
    def ground(self, tmp_path: Path) -> Iterator[Ground]:
        ground = Ground(tmp_path)
        yield ground
        platform = self.build(ground, "1.0")
        for environment in platform.running():
            done(lambda e=environment: platform.retire(e, 0, 1 << 40))  # type: ignore[misc]
        left = ground.processes()
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        assert not left, "processes were left behind"

    @pytest.fixture
    def platform(self, ground: Ground) -> Platform:
        return self.build(ground, "1.0")

    def provisioned(self, platform: Platform, environment: Environment = BLUE, replicas: int = 2, version: str = "1.0") -> None:
        """Starts it and waits until it is healthy."""
        platform.provision(environment, version, replicas, 1)
        until(f"{environment} is healthy", lambda: platform.health(environment).healthy)

    def tended(self, platform: Platform, what: str, look: Callable[[], bool]) -> None:
        """Drives the platform, as an engine does, until something is so."""

        def once() -> bool:
            platform.tend(1)
            return look()

        until(what, once)

    def test_a_platform_that_is_new_runs_nothing(self, platform: Platform) -> None:
        assert not platform.running()
        health = platform.health(BLUE)
        assert not health.healthy
        assert str(BLUE) in health.why
        assert not platform.logs(BLUE, 10)

    def test_what_is_provisioned_becomes_healthy_and_is_known(self, platform: Platform) -> None:
        self.provisioned(platform)
        running = platform.running()
        assert set(running) == {BLUE}
        now = running[BLUE]
        assert (now.version, now.replicas, now.alive, now.stopping) == ("1.0", 2, 2, False)
        assert len(set(now.targets)) == 2
        health = platform.health(BLUE)
        assert (health.ready, health.wanted, health.targets, health.why, health.crashing) == (2, 2, now.targets, "", False)

    def test_two_environments_run_side_by_side(self, ground: Ground, platform: Platform) -> None:
        self.provisioned(platform)
        self.provisioned(self.build(ground, "1.1"), GREEN, 1, "1.1")
        running = platform.running()
        assert {e: r.version for e, r in running.items()} == {BLUE: "1.0", GREEN: "1.1"}
        assert not set(running[BLUE].targets) & set(running[GREEN].targets)

    def test_provisioning_twice_is_one_copy_whoever_asks(self, ground: Ground, platform: Platform) -> None:
        """A copy that runs is adopted, never doubled."""
        self.provisioned(platform)
        was, targets = self.copies(ground, BLUE), platform.running()[BLUE].targets
        platform.provision(BLUE, "1.0", 2, 1)
        self.build(ground, "1.0").provision(BLUE, "1.0", 2, 2)
        assert self.copies(ground, BLUE) == was
        assert platform.running()[BLUE].targets == targets

    def test_a_version_that_is_missing_is_refused(self, ground: Ground) -> None:
        platform = self.build(ground, "missing")
        with pytest.raises(Refused):
            platform.provision(BLUE, "missing", 2, 1)
        assert not platform.running()

    def test_a_version_is_data(self, ground: Ground) -> None:
        """A version such as `1.0; rm -rf /` is data: no shell, no path escape."""
        platform = self.build(ground, HOSTILE)
        self.provisioned(platform, version=HOSTILE, replicas=1)
        assert platform.running()[BLUE].version == HOSTILE

    @pytest.mark.parametrize("effect", EFFECTS)
    def test_a_smaller_epoch_is_fenced_and_nothing_changes(self, ground: Ground, platform: Platform, effect: str) -> None:
        """`Routing`, `provision` and `retire` carry the epoch."""
        self.provisioned(platform)
        platform.provision(BLUE, "1.0", 2, 8)
        was = platform.running(), self.copies(ground, BLUE)
        with pytest.raises(Fenced):
            EFFECTS[effect](self.build(ground, "1.0"), 7)
        assert (platform.running(), self.copies(ground, BLUE)) == was

    def test_what_is_retired_is_gone_and_never_starts_again(self, ground: Ground, platform: Platform) -> None:
        self.provisioned(platform)
        for _ in range(2):
            done(lambda: platform.retire(BLUE, 0, 1))
            platform.tend(1)
            assert BLUE not in platform.running()
            assert not self.copies(ground, BLUE)
            assert not platform.health(BLUE).healthy
            with pytest.raises(Refused):
                platform.provision(BLUE, "1.0", 2, 1)
        assert not platform.running()

    def test_retiring_what_never_was_is_success(self, platform: Platform) -> None:
        done(lambda: platform.retire(GREEN, 0, 1))
        assert not platform.running()

    def test_retiring_one_environment_touches_no_other(self, ground: Ground, platform: Platform) -> None:
        """Retiring the blue of release 4 can never touch the blue of release 6."""
        self.provisioned(platform)
        self.provisioned(platform, LATER)
        was = self.copies(ground, LATER)
        done(lambda: platform.retire(BLUE, 0, 1))
        assert self.copies(ground, LATER) == was
        assert platform.health(LATER).healthy

    def test_any_instance_retires_what_another_started(self, ground: Ground, platform: Platform) -> None:
        self.provisioned(platform)
        other = self.build(ground, "1.1")
        assert other.health(BLUE).healthy
        done(lambda: other.retire(BLUE, 0, 2))
        assert not platform.running()

    def test_an_environment_shrinks_and_grows_around_the_copies_that_stay(self, ground: Ground, platform: Platform) -> None:
        self.provisioned(platform)
        two, targets = self.copies(ground, BLUE), platform.running()[BLUE].targets
        for _ in range(2):
            done(lambda: platform.retire(BLUE, 1, 1))
            one = platform.running()[BLUE]
            assert (one.replicas, one.alive, one.targets, one.stopping) == (1, 1, targets[:1], False)
            assert platform.health(BLUE).healthy
        platform.tend(1)
        stayed = self.copies(ground, BLUE)
        assert len(stayed) == 1
        assert set(stayed) <= set(two)
        self.provisioned(platform)
        assert platform.running()[BLUE].alive == 2
        assert set(stayed) <= set(self.copies(ground, BLUE))

    def test_retiring_never_starts_anything(self, platform: Platform) -> None:
        """Brings the environment down to `replicas`."""
        self.provisioned(platform)
        done(lambda: platform.retire(BLUE, 5, 1))
        platform.tend(1)
        assert (platform.running()[BLUE].replicas, platform.running()[BLUE].alive) == (2, 2)

    def test_a_copy_that_ended_is_missed_and_started_again_where_it_was(self, ground: Ground, platform: Platform) -> None:
        self.provisioned(platform)
        was = platform.running()[BLUE]
        self.crash(ground, BLUE, 1)
        health = platform.health(BLUE)
        assert (health.ready, health.wanted, health.healthy, health.crashing) == (1, 2, False, False)
        assert str(BLUE) in health.why
        self.tended(platform, "it is healthy again", lambda: platform.health(BLUE).healthy)
        assert platform.running()[BLUE] == was

    def test_what_is_ill_is_never_healthy_and_says_why(self, ground: Ground) -> None:
        platform = self.build(ground, "sick")
        platform.provision(BLUE, "sick", 1, 1)
        until("it is seen to be ill", lambda: "500" in platform.health(BLUE).why)
        health = platform.health(BLUE)
        assert (health.ready, health.wanted, health.healthy) == (0, 1, False)

    def test_health_is_told_beside_any_other_call_and_of_two_environments_at_once(self, platform: Platform) -> None:
        """Effects come one at a time, while `Platform.health` and what only asks may be called beside them and beside each other."""
        self.provisioned(platform)
        self.provisioned(platform, GREEN, 1)
        over = threading.Event()

        def looks(environment: Environment) -> list[Health]:
            seen = [platform.health(environment)]
            while not over.is_set():
                seen.append(platform.health(environment))
            return seen

        with ThreadPoolExecutor() as threads:
            of_blue, of_green = (threads.submit(looks, environment) for environment in (BLUE, GREEN))
            try:
                for _ in range(3):
                    platform.provision(GREEN, "1.0", 2, 1)
                    platform.tend(1)
                    assert {*platform.running()} == {BLUE, GREEN}
                    done(lambda: platform.retire(GREEN, 1, 1))
            finally:
                over.set()
        assert all(health.healthy for health in of_blue.result())
        assert all(health.ready for health in of_green.result())

    def test_an_environment_that_keeps_crashing_is_told(self, ground: Ground) -> None:
        """An environment whose processes all keep crashing (three restarts each within a minute) is dead too, even if it answers in between."""
        platform = self.build(ground, "crashing")
        platform.provision(BLUE, "crashing", 1, 1)
        self.tended(platform, "it is told", lambda: platform.health(BLUE).crashing)
        assert not platform.health(BLUE).healthy

    def test_down_ends_everything_and_the_next_tend_starts_it_again(self, ground: Ground, platform: Platform) -> None:
        """Ends all that runs, in its own time, and remembers what should run."""
        self.provisioned(platform)
        self.provisioned(platform, GREEN, 1)
        was = platform.running()
        for _ in range(2):
            done(lambda: platform.down(1))
            assert {e: (r.replicas, r.alive, r.stopping) for e, r in platform.running().items()} == {BLUE: (2, 0, False), GREEN: (1, 0, False)}
            assert not ground.processes()
        self.tended(platform, "all is healthy again", lambda: platform.health(BLUE).healthy and platform.health(GREEN).healthy)
        assert platform.running() == was
        assert not platform.health(BLUE).crashing

    def test_the_last_lines_of_the_log_are_there(self, platform: Platform) -> None:
        self.provisioned(platform, replicas=1)
        assert until("it has written", lambda: platform.logs(BLUE, 10))
        assert len(platform.logs(BLUE, 1)) == 1
        assert not platform.logs(BLUE, 0)


class ProcessContract(PlatformContract):
    """Where copies are processes of this host, started as ``python -m bleen.testing.application --port P --name blue --version V`` and the options."""

    def copies(self, ground: Ground, environment: Environment) -> list[object]:
        platform = self.build(ground, "1.0")
        running = platform.running().get(environment)
        return [processes.owner(str(target)) for target in running.targets] if running else []

    def crash(self, ground: Ground, environment: Environment, copies: int) -> None:
        for pid in self.copies(ground, environment)[:copies]:
            assert isinstance(pid, int)
            process = processes.find(pid)
            assert process is not None
            process.signal(signal.SIGKILL)
            until("it is gone", lambda process=process: not process.alive)  # type: ignore[misc]

    def test_a_version_reaches_the_application_to_the_letter(self, ground: Ground) -> None:
        platform = self.build(ground, HOSTILE)
        self.provisioned(platform, version=HOSTILE, replicas=1)
        target = platform.running()[BLUE].targets[0]
        assert Client(str(target)).ask("GET", "/", close=True)[2] == f"blue {HOSTILE}\n".encode()
        assert not list(ground.directory(HOSTILE).iterdir())

    @pytest.mark.parametrize("after", [0.0, 0.02, 0.05, 0.08, 0.12, 0.2, 0.35])
    def test_a_caller_killed_in_the_middle_leaves_no_second_copy(self, ground: Ground, platform: Platform, after: float) -> None:
        """Killed at any instant, the next run reads the row and the world, and ends where the first would have."""
        if (caller := os.fork()) == 0:
            try:
                platform.provision(BLUE, "1.0", 2, 1)
                signal.pause()
            finally:
                os._exit(1)
        time.sleep(after)  # the instant, not a condition
        os.kill(caller, signal.SIGKILL)
        os.waitpid(caller, 0)
        self.provisioned(platform)
        assert platform.running()[BLUE].alive == 2
        assert len(ground.processes()) == 2

    def test_a_copy_outlives_whoever_started_it(self, ground: Ground, platform: Platform) -> None:
        if (caller := os.fork()) == 0:
            try:
                self.provisioned(platform)
                os.kill(os.getpid(), signal.SIGKILL)
            finally:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(caller, 0)[1]) == -signal.SIGKILL
        assert platform.health(BLUE).healthy

    def test_an_old_process_on_the_port_does_not_pass_for_the_new_one(self, ground: Ground) -> None:
        """A target is healthy only if the listening socket belongs to its own process tree: an old process on the port must not pass for the new one."""
        platform = self.build(ground, "deaf")
        platform.provision(BLUE, "deaf", 1, 1)
        target = platform.running()[BLUE].targets[0]
        with Application("old", port=target.port) as old:
            assert old.ask("/health")
            health = platform.health(BLUE)
            assert (health.ready, health.healthy) == (0, False)
            assert str(old.pid) in health.why
        assert not platform.health(BLUE).healthy

    def test_an_application_that_does_not_answer_is_not_healthy(self, ground: Ground) -> None:
        platform = self.build(ground, "hanging")
        platform.provision(BLUE, "hanging", 2, 1)
        until("both listen", lambda: all(self.copies(ground, BLUE)))
        health = platform.health(BLUE)
        assert (health.ready, health.wanted) == (0, 2)
        assert health.why

    def test_a_request_in_flight_is_answered_before_a_copy_ends(self, ground: Ground, platform: Platform) -> None:
        self.provisioned(platform, replicas=1)
        target = platform.running()[BLUE].targets[0]
        client = Client(str(target))
        client.ask("GET", "/")
        client.begin("GET", "/sleep?s=0.5")
        until("it has arrived", lambda: b'"busy": 1' in Client(str(target)).ask("GET", "/facts", close=True)[2])
        done(lambda: platform.retire(BLUE, 0, 1))
        assert client.finish()[0] == 200

    def test_what_does_not_want_to_end_is_ended_with_its_whole_tree(self, ground: Ground) -> None:
        """Targets leave the router [...]; what is left then gets TERM with its process [...]; it never halts a release."""
        platform = self.build(ground, "stubborn")
        self.provisioned(platform, version="stubborn", replicas=2)
        assert len(ground.processes()) == 4
        answer = platform.retire(BLUE, 0, 1)
        assert answer is not None
        assert platform.running()[BLUE].stopping
        with pytest.raises(Refused):
            platform.provision(BLUE, "stubborn", 2, 1)
        done(lambda: platform.retire(BLUE, 0, 1))
        assert not ground.processes()
        assert not platform.running()

    def test_what_a_dead_copy_left_behind_is_ended_too(self, ground: Ground) -> None:
        platform = self.build(ground, "parent")
        self.provisioned(platform, version="parent", replicas=1)
        self.crash(ground, BLUE, 1)
        assert len(ground.processes()) == 1
        done(lambda: platform.retire(BLUE, 0, 1))
        assert not ground.processes()

    def test_two_services_of_a_host_never_get_the_same_port(self, ground: Ground, platform: Platform) -> None:
        """Two services of one host releasing at once."""
        other_ground = Ground(ground.root, "other")
        other = self.build(other_ground, "1.0")
        threads = [threading.Thread(target=self.provisioned, args=(each,)) for each in (platform, other)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        ours, theirs = (each.running()[BLUE].targets for each in (platform, other))
        assert len({*ours, *theirs}) == 4
        done(lambda: other.retire(BLUE, 0, 1))
        assert platform.health(BLUE).healthy

    def test_a_port_that_somebody_holds_is_not_given_out(self, platform: Platform) -> None:
        platform.provision(BLUE, "1.0", 1, 1)
        after = platform.running()[BLUE].targets[-1].port + 1
        with socket.create_server(("127.0.0.1", after)):
            platform.provision(BLUE, "1.0", 3, 1)
            assert after not in [target.port for target in platform.running()[BLUE].targets]
            until("all are healthy", lambda: platform.health(BLUE).healthy)
