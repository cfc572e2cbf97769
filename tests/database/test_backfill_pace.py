"""The backfill among others, on real servers: for whom it waits, how fast it goes, and who is named when somebody is in its way."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from filling import Enough, fill, migration, only, opened, slow, users

import databases
from bleen.database.backfill import Filled, Progress
from bleen.database.backfill.postgres import CROWD
from bleen.database.migration import Locks, Pace
from bleen.database.postgres.server import Postgres
from bleen.errors import Refused
from bleen.testing.site import until
from databases import Base


def test_a_client_who_locks_rows_the_other_way_round_is_not_the_victim(end_base: Base) -> None:
    """It waits for a lock only `lock_timeout`, which is less than the server's `deadlock_timeout`: ours gives way, not the client's transaction."""
    with users(end_base, 100) as client, opened(end_base) as server, end_base.connect() as other:
        other.execute("BEGIN; UPDATE users SET last_name = 'X' WHERE id = 90")
        found: list[Filled] = []
        thread = threading.Thread(target=lambda: found.append(fill(server, of=migration(locks=Locks(timeout=0.5)), pause=threading.Event().wait)))
        thread.start()
        until("a batch waits", lambda: bool(only(client, "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")))
        other.execute("UPDATE users SET last_name = 'X' WHERE id = 10; COMMIT")
        thread.join()
        assert found == [Filled(100, 100, 1)]
        assert only(client, "SELECT array_agg(full_name ORDER BY id) FROM users WHERE last_name = 'X'") == ["F10 X", "F90 X"]


def test_who_holds_a_row_is_named_and_given_way_to(end_base: Base) -> None:
    """Retries that name the blocking session."""
    with users(end_base) as client, opened(end_base) as server, end_base.connect() as holder:
        holder.execute("SET application_name = 'night shift'")
        holder.execute("BEGIN; UPDATE users SET last_name = 'X' WHERE id = 1700")
        waited: list[str] = []

        def told(progress: Progress) -> None:
            waited.append(progress.waits)
            if "night shift" in progress.waits:
                holder.execute("COMMIT")

        assert fill(server, of=migration(locks=Locks(timeout=0.05)), told=told) == Filled(2500, 2500, 1)
        said = next(each for each in waited if "night shift" in each)
        assert "idle in transaction" in said
        assert "UPDATE users SET last_name" in said
        assert only(client, "SELECT full_name FROM users WHERE id = 1700") == "F1700 X"


def test_a_row_that_is_held_for_too_long_ends_it_and_nothing_is_lost(base: Base) -> None:
    with users(base), opened(base) as server, base.connect() as holder:
        holder.execute("SET application_name = 'night shift'; BEGIN; SELECT FROM users WHERE id = 1700 FOR UPDATE")
        with pytest.raises(Refused, match=r"night shift.*tried for 1 s; what was done stays"):
            fill(server, of=migration(locks=Locks(timeout=0.2, patience=1)), pause=threading.Event().wait)
        holder.execute("COMMIT")
        assert fill(server) == Filled(2500, 2500, 1)


def test_the_role_s_own_settings_do_not_matter(base: Base) -> None:
    """Statement timeouts of the role are overridden; and under SERIALIZABLE it would fail with clients who write."""
    with users(base, 240) as client:
        slow(client, 0.005)
        for setting in ("statement_timeout = '1s'", "default_transaction_isolation = 'serializable'"):
            client.execute(f"ALTER DATABASE {base.name} SET {setting}")
        with opened(base) as server:
            shown: list[Any] = []
            client.execute("CREATE TABLE seen (setting text); GRANT INSERT ON seen TO PUBLIC")
            client.execute(
                "CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO seen SELECT current_setting('transaction_isolation');"
                " RETURN NULL; END $$; CREATE TRIGGER see AFTER UPDATE ON users FOR EACH STATEMENT EXECUTE FUNCTION see()"
            )
            assert fill(server, of=migration(pace=Pace(batch=240, target=10.0, duty=1.0))) == Filled(240, 240, 1)
            shown += client.execute("SELECT DISTINCT setting FROM seen").fetchall()
            assert shown == [("read committed",)]


def test_between_two_batches_nothing_is_held(end_base: Base) -> None:
    """A long backfill bloats what it holds a snapshot of: no transaction of ours is older than a batch."""
    seen: list[Any] = []
    with users(end_base) as client, opened(end_base) as server:

        def between(_: float) -> None:
            seen.extend(client.execute("SELECT state, backend_xmin, backend_xid FROM pg_stat_activity WHERE application_name = 'bleen migrate'").fetchall())
            seen.extend(
                client.execute(
                    "SELECT l.relation::regclass::text FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE a.application_name = 'bleen migrate'"
                ).fetchall()
            )

        fill(server, pause=between)
    assert len(seen) >= 2
    assert set(seen) == {("idle", None, None)}


def test_batches_grow_and_shrink_towards_their_time(base: Base) -> None:
    """Adaptive batches (target ≤ 50 ms)."""
    with users(base, 1000) as client, opened(base) as server:
        sizes: list[int] = []
        fill(server, of=migration(pace=Pace(batch=10, target=60.0, duty=1.0)), pause=lambda _: sizes.append(_size(server)))
        assert sizes[:5] == [10, 20, 40, 80, 160]
        client.execute("UPDATE users SET full_name = NULL WHERE id <= 300")
        slow(client, 0.004)
        sizes.clear()
        fill(server, of=migration(pace=Pace(batch=500, duty=1.0))._replace(name="0008_slowly"), pause=lambda _: sizes.append(_size(server)))
        assert sizes[0] < 500, "one that took more than a second was ended, and tried with fewer rows"
        assert min(sizes[1:-3]) <= 15


class Far(Postgres):
    """Answers late, whatever it is asked."""

    def rows(self, sql: str, values: Any = ()) -> list[tuple[Any, ...]]:
        threading.Event().wait(0.1)
        return super().rows(sql, values)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        threading.Event().wait(0.1)
        with super().transaction():
            yield


def test_a_server_that_is_far_away_does_not_make_batches_small(base: Base) -> None:
    """Fewer rows would not bring it nearer: there would be no end with batches of one row."""
    with users(base) as client:
        server = Far(base.url)
        sizes: list[int] = []

        def pause(_: float) -> None:
            sizes.append(only(client, "SELECT (memo::json->>'size')::int FROM bleen_step"))
            if len(sizes) == 6:
                raise Enough

        with pytest.raises(Enough):
            fill(server, of=migration(pace=Pace(batch=20, duty=1.0)), pause=pause)
        assert max(sizes) > 40
        server.close()


def _size(server: Postgres) -> int:
    """Rows of the last batch's size."""
    return int(server.rows("SELECT memo::json->>'size' FROM bleen_step ORDER BY at DESC LIMIT 1")[0][0])


def test_it_is_at_work_for_its_share_of_the_time(base: Base) -> None:
    """A duty cycle."""
    with users(base, 40) as client, opened(base) as server:
        slow(client, 0.005)
        pauses: list[float] = []
        fill(server, of=migration(pace=Pace(batch=20, target=1.0, duty=0.2)), pause=pauses.append)
        assert all(each >= 20 * 0.005 * 4 for each in pauses), "four times as long as it was at work"
        pauses.clear()
        client.execute("UPDATE users SET full_name = NULL")
        fill(server, of=migration()._replace(name="0008_always"), pause=pauses.append)
        assert set(pauses) == {0.0}


def test_it_waits_for_a_replica_that_lags(base: Base) -> None:
    """Paused by replica lag: a real replica, which does not apply what it gets."""
    waits: list[str] = []
    with users(base) as client, opened(base) as server, databases.replica(base.server) as replica, replica.connect(base.name) as behind:
        behind.execute("SELECT pg_wal_replay_pause()")
        until("the replica applies nothing", lambda: bool(only(behind, "SELECT pg_get_wal_replay_pause_state() = 'paused'")))
        lag = "SELECT coalesce(max(extract(epoch FROM replay_lag)), 0) FROM pg_stat_replication"

        def written() -> bool:
            client.execute("UPDATE users SET last_name = last_name WHERE id = 1")
            return bool(only(client, lag) > 0.3)

        until("it lags", written)

        def pause(seconds: float) -> None:
            if waits and not resumed:
                behind.execute("SELECT pg_wal_replay_resume()")
                resumed.append(True)
            threading.Event().wait(seconds)
            client.execute("UPDATE users SET last_name = last_name WHERE id = 1")  # who writes nothing hears of no lag

        resumed: list[bool] = []
        of = migration(pace=Pace(lag=0.3, duty=1.0))
        assert fill(server, of=of, told=lambda p: waits.append(p.waits) if "replica" in p.waits else None, pause=pause) == Filled(2500, 2500, 1)
    assert "s behind, more than 0.3 s" in waits[0]


def test_it_waits_while_many_wait(base: Base) -> None:
    """Paused by load."""
    waits: list[str] = []
    with users(base) as client, opened(base) as server, base.connect() as holder, ExitStack() as stack:
        client.execute("CREATE TABLE till (id int)")
        holder.execute("BEGIN; LOCK TABLE till")
        for _ in range(CROWD + 1):
            each = base.connect().pgconn
            stack.callback(each.finish)
            each.send_query(b"SELECT FROM till")
        until("they all wait", lambda: bool(only(client, "SELECT count(*) > 20 FROM pg_stat_activity WHERE wait_event_type = 'Lock'")))

        def told(progress: Progress) -> None:
            if "sessions wait" in progress.waits:
                waits.append(progress.waits)
                holder.execute("COMMIT")

        assert fill(server, told=told, pause=threading.Event().wait) == Filled(2500, 2500, 1)
    assert waits[0] == "21 sessions wait for locks or the disk, more than 20"


def test_whoever_ends_its_statement_ends_it(base: Base) -> None:
    """A statement that somebody cancels is not tried again, with fewer rows or with as many."""
    with users(base) as client, opened(base) as server:
        slow(client, 0.05)

        def cancel() -> None:
            until("a batch is under way", lambda: bool(only(client, "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'WITH changed%'")))
            client.execute("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE 'WITH changed%'")

        thread = threading.Thread(target=cancel)
        thread.start()
        with pytest.raises(Refused, match="user request"):
            fill(server, of=migration(pace=Pace(batch=2500, target=5.0)))
        thread.join()
