"""Clients of a database, as a process of their own: so many transactions a second, begun by the clock whether those before are done or not.

``python -m benchmarks.database_clients URL FILE RATE CONNECTIONS ROWS WRITE…`` runs until its standard input ends. Each transaction reads a row and
carries out one of the statements WRITE on it. A line of FILE is a transaction: when it was due and when it was done, in seconds of CLOCK_MONOTONIC, and the
error if it failed. Statements are prepared, nothing is tried twice, and what waits makes the next ones late, as it would a user.
"""

import random
import sys
import threading
import time
from typing import Any, TextIO

import psycopg

READ = "SELECT first_name, last_name, visits FROM users WHERE id = %s"


def main() -> None:
    url, path, rate, connections, rows = sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5])
    writes = sys.argv[6:]
    ended, began = threading.Event(), time.monotonic()
    with open(path, "w", buffering=1) as said:
        threads = [threading.Thread(target=_client, args=(url, said, began + n / rate, connections / rate, rows, writes, ended)) for n in range(connections)]
        for thread in threads:
            thread.start()
        sys.stdin.read()
        ended.set()
        for thread in threads:
            thread.join()


def _client(url: str, said: TextIO, due: float, interval: float, rows: int, writes: list[str], ended: threading.Event) -> None:
    dice = random.Random(due)
    with psycopg.connect(url, autocommit=True) as connection:
        while not ended.wait(max(0.0, due - time.monotonic())):
            error = _transaction(connection, dice.choice(writes), dice.randint(1, rows))
            said.write(f"{due:.6f} {time.monotonic():.6f} {error}\n")
            due += interval


def _transaction(connection: "psycopg.Connection[tuple[Any, ...]]", write: str, row: int) -> str:
    try:
        with connection.transaction():
            connection.execute(READ, [row], prepare=True)
            connection.execute(write, [row], prepare=True)
    except psycopg.Error as error:
        return str(error).partition("\n")[0]
    return ""


if __name__ == "__main__":
    main()
