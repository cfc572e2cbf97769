"""MySQL and MariaDB behind the port: how they are reached, who else is there, and waits that end."""

import os
import socket
import struct
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from poolers import pooler

from bleen.database import connect
from bleen.database.gate import Around, obstacles
from bleen.database.migration import Locks
from bleen.database.mysql import rebuilding
from bleen.database.mysql.columns import shapes
from bleen.database.mysql.server import MySQL
from bleen.database.server import Contended, Missing, Session, TookTooLong
from bleen.database.statements import Place, Statement
from bleen.errors import Refused, Unavailable
from bleen.testing.proxies import self_signed
from mariadb import MariaBase, mariadb, numbers


@pytest.mark.parametrize("scheme", ["mysql", "mariadb", "mysql+pymysql"])
def test_every_way_to_write_the_url_leads_there(maria_base: MariaBase, scheme: str) -> None:
    for where in (f"127.0.0.1:{maria_base.server.port}/{maria_base.name}", f"localhost/{maria_base.name}?unix_socket={maria_base.server.socket}&charset=utf8"):
        server = connect(f"{scheme}://root@{where}")
        assert server.rows("SELECT database()") == [(maria_base.name,)]
        server.close()


def test_a_password_may_hold_anything_and_is_told_nowhere(maria_base: MariaBase) -> None:
    password = "p:/?#@ %ü"
    with maria_base.connect() as admin:
        admin.run(f"CREATE USER strange@'127.0.0.1' IDENTIFIED BY '{password}'", f"GRANT ALL ON {maria_base.name}.* TO strange@'127.0.0.1'")
        try:
            MySQL(maria_base.server.url(maria_base.name, "strange", "p%3A%2F%3F%23%40%20%25%C3%BC")).close()
            for wrong in ("p:/?#@ %C3%BC", "other"):
                with pytest.raises((Refused, Unavailable)) as raised:
                    MySQL(maria_base.server.url(maria_base.name, "strange", wrong))
                assert wrong not in str(raised.value)
        finally:
            admin.run("DROP USER strange@'127.0.0.1'")


def packet(number: int, data: bytes) -> bytes:
    return struct.pack("<I", len(data))[:3] + bytes([number]) + data


def caching(listener: socket.socket) -> None:
    """What MySQL 8 says to a user whom it has not seen yet, on a connection that is not encrypted ("Caching_sha2_password information")."""
    able = 0x80000 | 0x8000 | 0x200 | 0x8  # PLUGIN_AUTH, RESERVED2, PROTOCOL_41, CONNECT_WITH_DB
    salt = b"\x0a8.0.40\0" + struct.pack("<I8sxHBHHB10x12sx", 7, b"saltsalt", able & 0xFFFF, 45, 2, able >> 16, 21, b"saltsaltsalt")
    client, _ = listener.accept()
    with client:
        client.sendall(packet(0, salt + b"caching_sha2_password\0"))
        client.recv(65536)
        client.sendall(packet(2, b"\x01\x04"))  # full authentication
        client.recv(65536)
        client.sendall(packet(4, b"\x01-----BEGIN PUBLIC KEY-----"))
        client.recv(65536)


def test_a_password_that_could_only_go_encrypted_is_refused_with_the_ways_to_do_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=caching, args=[listener])
        thread.start()
        with pytest.raises(Refused, match=r"only encrypted \(caching_sha2_password\).*ssl_ca=.*unix_socket=.*cryptography") as raised:
            MySQL(f"mysql://owner:s3cret@127.0.0.1:{listener.getsockname()[1]}/shop")
        assert "s3cret" not in str(raised.value)
        thread.join()


def test_a_connection_is_encrypted_where_the_server_offers_it_and_asks_for_its_certificate_where_an_authority_is_named(tmp_path: Path) -> None:
    """``REQUIRE SSL``: also of a user who may come no other way."""
    files, others = self_signed(tmp_path / "tls"), self_signed(tmp_path / "others")
    with mariadb(f"--ssl-cert={files['certificate']}", f"--ssl-key={files['key']}") as running, running.database() as base:
        with base.connect() as admin:
            admin.run("CREATE USER careful@'127.0.0.1' REQUIRE SSL", f"GRANT ALL ON {base.name}.* TO careful@'127.0.0.1'")
        url = running.url(base.name, "careful")
        for each in (url, f"{url}?ssl_ca={files['certificate']}"):
            server = MySQL(each)
            assert server.rows("SHOW STATUS LIKE 'Ssl_cipher'")[0][1]
            server.close()
        for wrong in (f"ssl_ca={others['certificate']}", f"ssl_ca={files['certificate']}&ssl_verify_identity=true"):
            with pytest.raises(Unavailable, match="certificate"):
                MySQL(f"{url}?{wrong}")
        with pytest.raises(Refused, match="true wants ssl_ca="):
            MySQL(f"{url}?ssl_verify_identity=true")
        MySQL(f"{url.replace('127.0.0.1', 'localhost')}?ssl_ca={files['certificate']}&ssl_verify_identity=true").close()


@pytest.mark.parametrize("option", ["ssl_ca", "ssl_cert"])
def test_a_certificate_that_cannot_be_used_is_refused(maria_base: MariaBase, option: str) -> None:
    for file in ("/nowhere/ca.pem", "/etc/passwd"):
        with pytest.raises(Refused, match="names as ssl_ca, ssl_cert or ssl_key cannot be used"):
            MySQL(f"{maria_base.url}?{option}={file}")


@pytest.mark.parametrize(
    ("rest", "says"),
    [
        ("", "names no database"),
        ("a/b", "cannot be read"),
        ("x?a=b@c", "cannot be read"),
        ("x?sslmode=on", "sslmode, which bleen does not know"),
        ("nowhere", "Unknown database 'nowhere'"),
    ],
)
def test_a_url_that_leads_nowhere_is_refused(maria_base: MariaBase, rest: str, says: str) -> None:
    with pytest.raises(Refused, match=says):
        MySQL(maria_base.server.url(rest))


def test_a_server_that_does_not_answer_is_away_and_one_that_only_reads_is_refused() -> None:
    with mariadb("--read-only") as server, server.database() as base:
        with pytest.raises(Refused, match="only reads"):
            base.open()
        with base.connect() as admin:
            admin.run("SET GLOBAL read_only = 0")
        opened = base.open()
        with base.connect() as admin:
            admin.run(f"KILL {opened.rows('SELECT connection_id()')[0][0]}")
        for _ in range(2):
            with pytest.raises(Unavailable):
                opened.rows("SELECT 1")
        opened.close()
    with pytest.raises(Unavailable, match="does not answer"):
        base.open()


def test_the_drivers_errors_are_ours(maria_base: MariaBase) -> None:
    server = maria_base.open()
    for statement, kind in (("SELECT * FROM nobody", Missing), ("SELECT nobody", Missing), ("SELEC 1", Refused)):
        with pytest.raises(kind, match="the database says: "):
            server.rows(statement)
    server.rows("SET max_statement_time = 0.05")
    with pytest.raises(TookTooLong):
        server.rows("SELECT sleep(5)")
    server.rows("SET max_statement_time = 0, innodb_lock_wait_timeout = 0")
    with maria_base.connect() as holder:
        server.rows("CREATE TABLE t (id int PRIMARY KEY)")
        holder.run("BEGIN", "INSERT INTO t VALUES (1)")
        with pytest.raises(Contended):
            server.rows("INSERT INTO t VALUES (1)")
    server.close()


def test_a_connection_whose_other_end_is_gone_is_lost_in_half_a_minute_and_not_in_two_hours(maria_base: MariaBase) -> None:
    server = maria_base.open()
    with socket.socket(fileno=os.dup(server._connection._sock.fileno())) as ours:  # type: ignore[attr-defined]
        assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000
    server.close()


def test_a_transaction_is_all_or_nothing(maria_base: MariaBase) -> None:
    server = maria_base.open()
    server.rows("CREATE TABLE t (id int PRIMARY KEY)")
    with server.transaction():
        server.rows("INSERT INTO t VALUES (%s)", [2])
    with pytest.raises(Refused, match="Duplicate entry"):
        server.change([], [("INSERT INTO t VALUES (3)", []), ("INSERT INTO t VALUES (2)", [])], Locks(), lambda _: None)
    assert server.rows("SELECT id FROM t") == [(2,)]
    server.close()


def test_a_statement_that_lasts_too_long_is_ended_and_leaves_nothing(maria_base: MariaBase) -> None:
    server = maria_base.open()
    server.rows(f"CREATE TABLE t (id int PRIMARY KEY, a text) SELECT seq AS id, repeat('x', 100) AS a FROM {numbers(50000)}")
    index = Statement("ALTER TABLE t ADD INDEX i (a(100)), ALGORITHM=INPLACE", Place(1, 1), 0)
    with pytest.raises(TookTooLong, match=r"line 1, ALTER TABLE t ADD INDEX .*: took longer than 0\.02 s, and was ended"):
        server.concurrently(index, Locks(concurrently=0.02), lambda _: None, again=False)
    assert server.rows("SELECT 1 FROM information_schema.statistics WHERE index_name = 'i' AND table_schema = database()") == []
    server.concurrently(index, Locks(), lambda _: None, again=False)
    server.close()


def test_the_sql_mode_is_that_in_which_the_rules_have_read(maria_base: MariaBase) -> None:
    with maria_base.connect() as admin:
        before = admin.only("SELECT @@GLOBAL.sql_mode")
        admin.run("SET GLOBAL sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES,STRICT_ALL_TABLES'")
        try:
            server = maria_base.open()
            assert server.rows('SELECT @@sql_mode, "a\\nb"') == [("STRICT_ALL_TABLES", "a\nb")]
            server.close()
        finally:
            admin.run(f"SET GLOBAL sql_mode = '{before}'")


def test_sessions_are_those_of_others_in_this_database(maria_base: MariaBase) -> None:
    server = maria_base.open()
    with maria_base.connect(program_name="bleen:shop:blue") as client:
        (found,) = server.sessions()
        assert found == Session(int(str(client.only("SELECT connection_id()"))), "", "root", "127.0.0.1", "Sleep")
    server.close()


def test_sessions_say_what_they_are_where_the_server_keeps_it_or_by_their_user() -> None:
    with mariadb("--performance-schema") as server, server.database() as base:
        opened = base.open("bleen migrate shop")
        with base.connect(program_name="bleen:shop:green"), base.connect() as admin:
            assert sorted(s.application for s in opened.sessions()) == ["", "bleen:shop:green"]
            admin.run("CREATE USER 'bleen:shop:blue'", f"GRANT ALL ON {base.name}.* TO 'bleen:shop:blue'")
            with base.connect(user="bleen:shop:blue"):
                assert sorted(s.application for s in opened.sessions()) == ["", "bleen:shop:blue", "bleen:shop:green"]
        other = base.open("bleen migrate other")
        assert [s.application for s in opened.sessions()] == ["bleen migrate other"]
        other.close()
        opened.close()


def test_sessions_that_may_not_be_seen_keep_the_gate_shut(maria_base: MariaBase) -> None:
    """The issue: "behind a pooler, or unseen, the gate stays shut until a person names the reason"."""
    with maria_base.connect() as admin:
        admin.run("CREATE USER narrow", f"GRANT ALL ON {maria_base.name}.* TO narrow")
        try:
            server = maria_base._replace(user="narrow").open()
            (found,) = server.sessions()
            (shut,) = obstacles("0007_full_name", Around("shop", ()), [], [found], {}, [])
            assert "any other: GRANT PROCESS ON *.* shows whose sessions there are" in shut.why
            assert shut.unseen
            server.close()
        finally:
            admin.run("DROP USER narrow")


def greeted(data: bytes) -> bytes:
    """A pooler greets its clients with a number of its own (protocol 10: a header of 4 bytes, the protocol, the version and a NUL, the connection's id)."""
    if data[4:5] != b"\x0a":
        return data
    at = data.index(b"\0", 5) + 1
    return data[:at] + struct.pack("<I", 4711) + data[at + 4 :]


def test_a_pooler_is_told_from_the_server_itself(maria_base: MariaBase) -> None:
    """Migrations need a direct connection, and say so when they meet a pooler."""
    with pooler(maria_base.server.port, greeted) as port, pytest.raises(Refused, match=r"leads to a connection pooler.*give the server's own address"):
        connect(f"mysql://root@127.0.0.1:{port}/{maria_base.name}")


def test_a_disk_without_room_is_one_to_be_asked_again(maria_base: MariaBase) -> None:
    """A failed batch or statement of an expand says then what goes on with it, and is tried again for a minute; nothing is wrong with it."""
    server = MySQL(maria_base.url)
    with pytest.raises(Unavailable, match="the database says: The table 'users' is full"):
        server.rows("SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = 1114, MESSAGE_TEXT = 'The table ''users'' is full'")


class Seen(MySQL):
    """One whose catalogue is what MySQL 9.7 was seen to say."""

    def rows(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        if "column_default" not in query:
            return super().rows(query, values)
        return [
            ("v", "varchar(9)", 0, r"concat(_utf8mb4\'it\\\'s\',_utf8mb4\'y\')", "DEFAULT_GENERATED", 0, "varchar"),
            ("w", "varchar(9)", 0, "it's", "", 0, "varchar"),
        ]


def test_a_default_is_read_as_sql_however_mysql_writes_it(maria_base: MariaBase) -> None:
    server = Seen(maria_base.url)
    server.mariadb = False
    found = server.columns("things")
    assert [column.default for column in found.values()] == [r"concat(_utf8mb4'it\'s',_utf8mb4'y')", r"'it\'s'"]
    server.close()


def test_what_is_asked_of_a_table_s_columns_opens_no_table_of_another_database(maria_base: MariaBase) -> None:
    """A server may have thousands, and a plan asks often."""
    with maria_base.server.database() as other, other.connect() as they, maria_base.connect() as client:
        they.run("CREATE TABLE theirs (id int PRIMARY KEY)")
        client.run("CREATE TABLE users (id int PRIMARY KEY, a int UNIQUE, b int AS (a + 1) VIRTUAL, KEY b (b))", "FLUSH TABLES")
        server = maria_base.open()
        assert [shape.held for shape in shapes(server, "users").values()] == [True, True, False]
        alter = server.split("ALTER TABLE users ADD COLUMN c int FIRST, ALGORITHM=INSTANT")
        assert "has the index b on a virtual column" in rebuilding.refused(server, [], alter)
        server.close()
        assert they.rows(f"SHOW OPEN TABLES FROM {other.name}") == []
