"""What the rules of SQLite find, by rule, and what they let pass: (phase, SQL); "both" is expand and contract. The finding is in the last line."""

ALWAYS = [
    "1=1",
    "TRUE",
    "1",
    "'a'='a'",
    "1 OR id=2",
    "NOT 0",
    "id = id",
    "id IS NOT NULL",
    "users.id IS NOT NULL AND (2 > 1 OR a LIKE 'x%')",
    "1 IN (1, 2)",
    "rowid IS NOT NULL",
    "1 == 1",
    "coalesce(NULL, 1)",
]
"""Conditions that every row meets."""

BAD: dict[str, list[tuple[str, str]]] = {
    "not-understood": [
        ("both", "ALTER TABLE users ADD PRIMARY KEY (a)"),
        ("both", "ALTER TABLE users ADD CONSTRAINT c CHECK (a > 0)"),
        ("both", "ALTER TABLE users ADD UNIQUE (a)"),
        ("both", "ALTER TABLE users ADD COLUMN CHECK (a)"),
        ("both", "ALTER TABLE users ADD FOREIGN KEY (a) REFERENCES b (id)"),
        ("both", "ALTER TABEL users ADD COLUMN a INT"),
        ("both", "ALTER TABLE users ADD COLUM a INT"),
        ("both", "ALTER TABLE users ADD COLUMN a INT NOT NUL"),
        ("both", "ALTER TABLE users ADD COLUMN a INT, ADD COLUMN b INT"),
        ("both", "ALTER TABLE users ADD COLUMN a INT CHECK (a >)"),
        ("both", "ALTER TABLE users ADD COLUMN a INT DEFAULT (1"),
        ("both", "ALTER TABLE users ALTER COLUMN a SET NOT NULL"),
        ("both", "ALTER TABLE users RENAME COLUMN a TO b c"),
        ("both", "ALTER TABLE users DROP COLUMN a, b"),
        ("both", "CREATE TABLE a (b INT) ENGINE=InnoDB"),
        ("both", "CREATE TABLE a (b INT PRIMARY KEY, c INT PRIMARY KEY)"),
        ("both", "CREATE TABLE a (id INT);\nCREATE TRIGGER t AFTER INSERT ON a BEGIN UPDTE a SET id = 1; END"),
        ("both", "CREATE INDEX CONCURRENTLY i ON users (a)"),
        ("both", "UPDATE users SET a = b.c FROM b WHERE b.id = users.id"),
        ("both", "UPDATE users SET a = 1 WHERE"),
        ("both", "DELETE FROM users, orders"),
        ("both", "INSERT INTO users VALUES (?)"),
        ("both", "TRUNCATE users"),
        ("both", ".read other.sql"),
        ("both", "SHOW TABLES"),
        ("both", "EXPLAIN PRAGMA foreign_keys = OFF"),
        ("both", "DROP TABLE a b"),
        ("both", "ALTER TABLE 'users' ADD COLUMN a INT"),
        ("both", "CREATE VIEW v AS SELECT 'unterminated"),
        ("backfill", "UPDATE users SET a = b.c FROM b"),
        ("both", f"UPDATE users SET a = {'(' * 501}1{')' * 501} WHERE id = 1"),
    ],
    "rename": [
        ("both", "ALTER TABLE users RENAME TO people"),
        ("both", "ALTER TABLE main.users RENAME COLUMN a TO z"),
        ("both", 'ALTER TABLE "users" RENAME [a] TO `z`'),
        ("both", "CREATE TABLE IF NOT EXISTS users (id);\nALTER TABLE users RENAME TO people"),
    ],
    "drop-in-expand": [
        ("expand", "CREATE VIEW IF NOT EXISTS v AS SELECT 1;\nDROP VIEW v"),
        ("expand", "CREATE TABLE a (id INT);\nCREATE INDEX IF NOT EXISTS i ON a (id);\nDROP INDEX i"),
        ("expand", "DROP TABLE users"),
        ("expand", "DROP TABLE IF EXISTS main.users"),
        ("expand", "DROP INDEX i"),
        ("expand", "DROP VIEW v"),
        ("expand", "DROP TRIGGER t"),
        ("expand", "ALTER TABLE users DROP COLUMN a"),
        ("expand", "ALTER TABLE users DROP a"),
        ("expand", "CREATE TABLE a (id);\nDROP TABLE a;\nDROP TABLE a"),
        ("expand", "CREATE TABLE a (id);\nALTER TABLE users ADD COLUMN a INT REFERENCES a (id) ON DELETE CASCADE;\nDROP TABLE a"),
    ],
    "table-rebuild": [
        ("contract", "CREATE TABLE new (id INTEGER PRIMARY KEY, a TEXT);\nDROP TABLE users;\nALTER TABLE new RENAME TO Users"),
        ("contract", "DROP TABLE users;\nCREATE TABLE users (id INTEGER PRIMARY KEY)"),
    ],
    "table-rewrite": [
        ("both", "CREATE VIRTUAL TABLE f USING fts5 (a, content='users');\nINSERT INTO f (f) VALUES ('rebuild')"),
        ("both", "CREATE VIRTUAL TABLE f USING fts5 (a, content='users');\nINSERT INTO main.f (\"F\") VALUES ('Optimize')"),
        ("both", "INSERT INTO f(f, rank) VALUES('integrity-check', 1)"),
        ("both", "CREATE VIRTUAL TABLE f USING fts5 (a, content='users');\nWITH x AS (SELECT 'rebuild' AS b) INSERT INTO f (f) SELECT b FROM x"),
        ("contract", "ALTER TABLE users DROP COLUMN a"),
    ],
    "add-not-null": [
        ("both", "ALTER TABLE users ADD COLUMN a INT NOT NULL DEFAULT (NULL)"),
        ("both", "ALTER TABLE users ADD COLUMN a INT NOT NULL"),
        ("both", "ALTER TABLE users ADD a VARCHAR(10) NOT NULL DEFAULT NULL"),
        ("both", "ALTER TABLE users ADD a NOT NULL COLLATE NOCASE"),
        ("both", "ALTER TABLE users ADD a TEXT COLLATE NOCASE NOT NULL CHECK (a <> '')"),
        ("both", "ALTER TABLE users ADD a INT NOT NULL REFERENCES b (id)"),
    ],
    "volatile-default": [
        ("both", "ALTER TABLE users ADD COLUMN a TEXT DEFAULT CURRENT_TIMESTAMP"),
        ("both", "ALTER TABLE users ADD COLUMN a TEXT NOT NULL DEFAULT (hex(randomblob(16)))"),
        ("both", "ALTER TABLE users ADD COLUMN a TEXT DEFAULT ('a' || 'b')"),
    ],
    "rewriting-column": [
        ("both", "ALTER TABLE users ADD COLUMN a INT GENERATED ALWAYS AS (b + 1) STORED"),
        ("both", "ALTER TABLE users ADD COLUMN a AS (b + 1) STORED NOT NULL"),
    ],
    "inline-constraint": [
        ("both", "ALTER TABLE users ADD COLUMN a TEXT CHECK (length(a) > 1)"),
        ("both", "ALTER TABLE users ADD COLUMN a TEXT DEFAULT 'x' CHECK (a IN ('x', 'y'))"),
        ("both", "ALTER TABLE users ADD COLUMN a INT NOT NULL DEFAULT 1 CHECK (a > 0 OR a IS 5)"),
        ("both", "ALTER TABLE users ADD COLUMN a INT UNIQUE"),
        ("both", "ALTER TABLE main.users ADD a INT UNIQUE DEFAULT NULL"),
        ("both", "ALTER TABLE users ADD a INT DEFAULT 5 UNIQUE"),
        ("both", "ALTER TABLE users ADD a INT AS (id) VIRTUAL UNIQUE"),
        ("both", "ALTER TABLE users ADD a TEXT NOT NULL UNIQUE DEFAULT (hex(randomblob(16))) COLLATE NOCASE"),
        ("both", "ALTER TABLE users ADD COLUMN a INTEGER PRIMARY KEY AUTOINCREMENT"),
        ("both", "ALTER TABLE users ADD COLUMN a INT CONSTRAINT c CHECK (a > 0)"),
    ],
    "foreign-key": [("both", "ALTER TABLE users ADD COLUMN a INT NOT NULL DEFAULT 1 REFERENCES b (id) ON DELETE SET NULL DEFERRABLE INITIALLY DEFERRED")],
    "index-blocks-writers": [
        ("both", "ALTER TABLE users ADD COLUMN a INT DEFAULT 0;\nALTER TABLE users ADD COLUMN c INT;\nCREATE UNIQUE INDEX i ON users (a, c)"),
        ("both", "CREATE INDEX i ON users (a)"),
        ("both", "CREATE INDEX IF NOT EXISTS main.i ON users (lower(a)) WHERE b"),
        ("contract", "CREATE UNIQUE INDEX i ON users (a)"),
        ("both", "ALTER TABLE users ADD COLUMN a INT;\nCREATE UNIQUE INDEX i ON users (a)"),
        ("both", "ALTER TABLE users ADD COLUMN a INT;\nCREATE UNIQUE INDEX i ON users (lower(a), 1)"),
        ("both", "CREATE TABLE temp_users (id);\nCREATE INDEX i ON users (id)"),
    ],
    "holds-the-old-version": [
        ("expand", "ALTER TABLE users ADD COLUMN a TEXT;\nCREATE UNIQUE INDEX i ON users (typeof(a))"),
        ("expand", "ALTER TABLE users ADD COLUMN a INT AS (b + 1) VIRTUAL NOT NULL"),
        ("expand", "ALTER TABLE users ADD COLUMN a INT DEFAULT 0;\nCREATE UNIQUE INDEX i ON users (a) WHERE a > 0"),
        ("expand", "ALTER TABLE users ADD COLUMN a INT CHECK (a IS NOT NULL)"),
        ("expand", "ALTER TABLE users ADD COLUMN a INT DEFAULT 0 CHECK (a > 0)"),
        ("expand", "ALTER TABLE users ADD COLUMN a TEXT DEFAULT 'x' CHECK (length(a) > 2)"),
        ("expand", "ALTER TABLE users ADD COLUMN a INT CHECK (a > 0 OR b > 0)"),
        ("expand", "ALTER TABLE users ADD COLUMN a INT;\nCREATE UNIQUE INDEX i ON users (b, a)"),
    ],
    "unique": [
        ("expand", "ALTER TABLE users ADD COLUMN a INT;\nCREATE UNIQUE INDEX i ON users (ifnull(a, 0))"),
        ("expand", "ALTER TABLE users ADD COLUMN a TEXT;\nCREATE UNIQUE INDEX i ON users (a IS NOT NULL COLLATE NOCASE DESC)"),
        ("expand", "ALTER TABLE users ADD COLUMN a TEXT DEFAULT 'x';\nCREATE UNIQUE INDEX i ON users (lower(a))"),
        ("expand", "ALTER TABLE users ADD COLUMN a TEXT AS (lower(first_name));\nCREATE UNIQUE INDEX i ON users (a)"),
        ("expand", "ALTER TABLE users ADD COLUMN a INT NOT NULL DEFAULT 0;\nCREATE UNIQUE INDEX i ON users (a)"),
        (
            "expand",
            "ALTER TABLE users ADD COLUMN a INT DEFAULT 0;\n"
            "ALTER TABLE users ADD COLUMN c TEXT DEFAULT 'x';\n"
            "ALTER TABLE users RENAME a TO d;\n"
            "CREATE UNIQUE INDEX i ON users (d, c COLLATE NOCASE)",
        ),
        ("expand", "CREATE UNIQUE INDEX i ON users (a)"),
    ],
    "whole-table-update": [
        *(("both", f"UPDATE users SET a = 2 WHERE {each}") for each in ALWAYS),
        ("both", "UPDATE users SET full_name = first_name || ' ' || last_name"),
        ("both", "UPDATE OR IGNORE users AS u SET a = 1"),
    ],
    "update-outside-backfill": [("both", "UPDATE users SET a = 1 WHERE b IS NOT DISTINCT FROM 2")],
    "delete-without-where": [
        ("both", "DELETE FROM users"),
        *(("both", f"DELETE FROM users WHERE {each}") for each in ALWAYS),
    ],
    "delete-in-expand": [("expand", "DELETE FROM users WHERE a = 1")],
    "delete-in-contract": [
        *(
            ("contract", f"DELETE FROM users WHERE {each}")
            for each in ("1=1 AND id=2", "a IS NOT NULL", "1=2", "'a'='A'", "id = b", "NOT 1 OR id = 3", "id IN (1, 2)")
        ),
        ("contract", "DELETE FROM users WHERE a = 1"),
    ],
    "backfill": [
        ("backfill", ""),
        ("backfill", " -- UPDATE users SET a = 1;"),
        ("backfill", "ALTER TABLE users ADD COLUMN a INT"),
        ("backfill", "DROP TABLE users"),
        ("backfill", "UPDATE users SET a = 1;\nUPDATE orders SET a = 1"),
        ("backfill", "UPDATE users SET a = 1 RETURNING id"),
    ],
    "copies-rows": [
        ("both", "CREATE TABLE a (id INT);\nCREATE TABLE b (id INT);\nINSERT INTO a SELECT b.id FROM b JOIN b AS c ON b.id = c.id, users"),
        ("both", "CREATE TABLE a (id INT);\nINSERT INTO a SELECT 1 WHERE 1 IN users"),
        ("both", "CREATE TABLE a (id INT);\nWITH x AS (SELECT 1 AS b UNION ALL SELECT b + 1 FROM x) INSERT INTO a SELECT b FROM x"),
        ("both", "CREATE TABLE a (id INT);\nWITH x AS (SELECT id FROM users) INSERT INTO a SELECT id FROM x"),
        ("both", "CREATE TABLE a (id INT);\nCREATE VIRTUAL TABLE f USING fts5 (b, content='users');\nINSERT INTO a SELECT b FROM f"),
        ("both", "CREATE TABLE a (id INT);\nINSERT INTO users (id) SELECT id FROM a"),
        ("both", "INSERT INTO users (id) SELECT id FROM b WHERE NOT EXISTS (SELECT 1 FROM users WHERE id = 5)"),
        ("both", "INSERT INTO users (id) SELECT 5 WHERE NOT EXISTS (SELECT 1 FROM b WHERE id = 5)"),
        ("both", "INSERT INTO users (a) SELECT a FROM b"),
        ("both", "CREATE TABLE a (id INT);\nINSERT INTO a SELECT id FROM users"),
        ("both", "INSERT INTO users VALUES ((SELECT max(id) FROM b))"),
        ("both", "CREATE TABLE a AS SELECT * FROM users"),
    ],
    "row-locks": [("backfill", "UPDATE users SET a = (SELECT b FROM orders WHERE orders.id = users.id)")],
    "data-modifying-cte": [("both", "WITH x AS (SELECT 1) UPDATE users SET a = 1"), ("both", "WITH x AS (SELECT f(1)) SELECT * FROM x")],
    "replaces": [
        ("both", "REPLACE INTO users (id) VALUES (1)"),
        ("both", "INSERT OR REPLACE INTO users (id) VALUES (1)"),
        ("both", "INSERT INTO users (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET a = 1"),
    ],
    "side-effect": [
        ("backfill", "UPDATE users SET a = f(b), c = load_extension(d)"),
        ("both", "SELECT load_extension('x')"),
        ("both", "INSERT INTO users VALUES (load_extension('x'))"),
        ("backfill", "UPDATE users SET a = f(b)"),
        ("both", "SELECT f(a) FROM users"),
        ("both", "SELECT count(*) FROM users"),
        ("both", "WITH x AS (SELECT a FROM users) SELECT a FROM x"),
        ("both", "WITH x (a) AS (SELECT f(1)) INSERT INTO users (a) SELECT a FROM x"),
    ],
    "trigger": [
        ("both", "CREATE TABLE a (id INT);\nCREATE TRIGGER t AFTER INSERT ON a BEGIN DELETE FROM users WHERE id = 1; END;\nINSERT INTO a VALUES (1)"),
        ("both", "CREATE TABLE a (id INT);\nCREATE TRIGGER t AFTER INSERT ON a BEGIN DELETE FROM users WHERE id = 1; END;\nDELETE FROM a WHERE id = 1"),
        ("both", "CREATE TRIGGER t AFTER INSERT ON users BEGIN UPDATE users SET a = 1; END"),
        ("both", "CREATE TRIGGER IF NOT EXISTS t INSTEAD OF DELETE ON v BEGIN SELECT 1; END"),
        ("both", "CREATE VIEW v AS SELECT 1 AS a;\nCREATE TRIGGER t INSTEAD OF INSERT ON v BEGIN DELETE FROM users; END;\nINSERT INTO v VALUES (1)"),
        ("both", "CREATE TRIGGER t BEFORE UPDATE OF a ON users WHEN NEW.a BEGIN SELECT RAISE(ABORT, 'on'); END"),
    ],
    "pragma": [
        ("both", "PRAGMA foreign_keys = OFF"),
        ("both", "INSERT INTO sqlite_sequence VALUES ('users', 1)"),
        ("both", "REPLACE INTO main.sqlite_stat1 VALUES ('users', NULL, '1')"),
        ("both", "PRAGMA main.journal_mode = DELETE"),
        ("both", "PRAGMA writable_schema = 1"),
        ("both", "PRAGMA user_version"),
    ],
    "vacuum": [("both", "VACUUM"), ("both", "VACUUM INTO 'x'"), ("both", "REINDEX"), ("both", "ANALYZE users")],
    "attach": [("both", "ATTACH 'x' AS y"), ("both", "DETACH y")],
    "transaction-control": [
        ("both", "BEGIN IMMEDIATE"),
        ("both", "COMMIT"),
        ("both", "END"),
        ("both", "ROLLBACK"),
        ("both", "SAVEPOINT s"),
        ("both", "RELEASE s"),
    ],
    "temporary-table": [
        ("both", "CREATE TEMP TABLE a (id)"),
        ("both", "CREATE TABLE temp.a (id)"),
        ("both", "CREATE TEMPORARY VIEW v AS SELECT 1"),
        ("both", "CREATE TEMP TRIGGER t AFTER INSERT ON users BEGIN SELECT 1; END"),
    ],
    "virtual-table": [("both", "CREATE VIRTUAL TABLE a USING csv(filename='x')")],
}

WITH_OTHERS: dict[str, set[str]] = {
    "table-rebuild": {"drop-in-expand"},
    "rewriting-column": {"holds-the-old-version"},
    "trigger": {"delete-in-expand", "delete-in-contract"},
    "holds-the-old-version": {"inline-constraint", "index-blocks-writers"},
}
"""What else is wrong with some cases of a rule."""

WARN = {"index-blocks-writers", "inline-constraint", "table-rewrite", "delete-in-contract", "replaces", "row-locks", "side-effect", "holds-the-old-version"}
"""Rules that may only warn; the others are always errors."""

GOOD: list[tuple[str, str]] = [
    ("both", "PRAGMA table_info(users)"),
    ("both", "CREATE TABLE n AS SELECT 1 AS a"),
    ("both", "INSERT INTO users (id, first_name) SELECT 5, 'x' WHERE NOT EXISTS (SELECT 1 FROM users WHERE id = 5)"),
    (
        "both",
        "CREATE TABLE docs (id INTEGER PRIMARY KEY, a TEXT);\n"
        "CREATE VIRTUAL TABLE f USING fts5 (a, content='docs', content_rowid='id');\n"
        "CREATE TRIGGER t AFTER INSERT ON docs BEGIN INSERT INTO f (rowid, a) VALUES (new.id, new.a); END;\n"
        "CREATE TRIGGER u AFTER DELETE ON docs WHEN (old.id > 1) BEGIN UPDATE f SET a = 'x' WHERE rowid = old.id; SELECT RAISE(IGNORE); END;\n"
        "INSERT INTO docs VALUES (1, 'x');\n"
        "DROP TABLE docs",
    ),
    ("both", "CREATE TABLE a (id INT);\nCREATE INDEX i ON a (id);\nDROP INDEX i;\nCREATE VIEW v AS SELECT * FROM a;\nDROP VIEW v"),
    (
        "both",
        "CREATE VIRTUAL TABLE f USING fts5 (a, content='users');\n"
        "INSERT INTO f (rowid, a) VALUES (1, 'rebuild');\n"
        "INSERT INTO f (f, rank) VALUES ('automerge', 4)",
    ),
    ("both", "CREATE TABLE job (job TEXT);\nINSERT INTO job (job) VALUES ('rebuild')"),
    ("both", 'ALTER TABLE users ADD "primary" INT'),
    ("both", "CREATE TABLE a (id INT);\nSELECT count(*) FROM a AS x LEFT JOIN a AS y USING (id) WHERE x.id IS DISTINCT FROM y.id"),
    ("both", "CREATE TABLE a (id INT);\nCREATE TRIGGER t AFTER INSERT ON a BEGIN SELECT 1; END;\nDROP TRIGGER t"),
    ("both", "VALUES (1)"),
    ("both", "WITH x (a) AS (SELECT 1) SELECT a FROM x"),
    ("both", "EXPLAIN QUERY PLAN SELECT id FROM users"),
    ("both", "INSERT INTO users (id) SELECT 5 UNION ALL SELECT 6"),
    (
        "both",
        "CREATE TABLE a (id INT);\nCREATE TABLE c (id INT);\nWITH x (b) AS (VALUES (1), (2)) INSERT INTO a SELECT b FROM x;\n"
        "INSERT INTO c SELECT a.id FROM a, (SELECT 1) AS d WHERE a.id NOT IN (SELECT id FROM c) ON CONFLICT DO NOTHING;\n"
        "DELETE FROM a WHERE id IN (SELECT id FROM c);\nUPDATE c SET id = (SELECT max(id) FROM a)",
    ),
    (
        "both",
        "CREATE VIEW v AS SELECT id AS number FROM users;\n"
        "CREATE TRIGGER t INSTEAD OF INSERT ON v BEGIN INSERT INTO users (id) VALUES (new.number); END;\n"
        "CREATE TRIGGER u INSTEAD OF DELETE ON v BEGIN DELETE FROM users WHERE id = old.number; END;\nDROP VIEW v",
    ),
    ("both", ""),
    ("both", "-- DROP TABLE users;\n/* DROP TABLE users */;"),
    ("both", "ALTER TABLE users ADD COLUMN full_name TEXT"),
    ("both", "ALTER TABLE users ADD full_name"),
    ("both", "ALTER TABLE [users] ADD COLUMN `drop` VARCHAR(255) NOT NULL DEFAULT 'DROP TABLE users' COLLATE NOCASE"),
    ("both", "ALTER TABLE main.users ADD COLUMN a DOUBLE PRECISION DEFAULT -1.5"),
    ("both", "ALTER TABLE users ADD COLUMN a UNSIGNED BIG INT DEFAULT (1)"),
    ("both", "ALTER TABLE users ADD COLUMN a BLOB DEFAULT x'00'"),
    ("both", "ALTER TABLE users ADD COLUMN a MONEY DEFAULT TRUE"),
    ("both", "ALTER TABLE users ADD COLUMN a INT REFERENCES b (id) ON DELETE CASCADE"),
    ("both", "ALTER TABLE users ADD COLUMN a INT DEFAULT NULL REFERENCES b"),
    ("both", "ALTER TABLE users ADD COLUMN a INT GENERATED ALWAYS AS (b + 1) VIRTUAL"),
    ("both", "ALTER TABLE users ADD COLUMN a INT AS (b + 1)"),
    ("both", "ALTER TABLE users ADD COLUMN a INT;\nALTER TABLE users DROP COLUMN a"),
    ("both", "ALTER TABLE users ADD COLUMN a INT;\nALTER TABLE users RENAME COLUMN a TO z"),
    ("both", "CREATE TABLE a (id INTEGER PRIMARY KEY AUTOINCREMENT, b TEXT UNIQUE DEFAULT CURRENT_TIMESTAMP, c INT REFERENCES users (id)) STRICT"),
    ("both", "CREATE TABLE IF NOT EXISTS a (id INT)"),
    ("both", "CREATE TABLE a (id INT);\nCREATE UNIQUE INDEX i ON A (id);\nALTER TABLE main.a RENAME TO b;\nUPDATE b SET id = 1;\nDELETE FROM b;\nDROP TABLE b"),
    ("both", "CREATE TABLE a (id INT);\nREPLACE INTO a VALUES (1);\nALTER TABLE a RENAME id TO b;\nALTER TABLE a DROP COLUMN b"),
    ("both", "CREATE TABLE a (id INT);\nCREATE TRIGGER t AFTER INSERT ON a BEGIN UPDATE a SET id = CASE WHEN 1 THEN 2 END; DELETE FROM users; END"),
    ("both", "CREATE VIRTUAL TABLE a USING fts5 (b, c)"),
    ("both", "CREATE VIEW v AS SELECT * FROM users"),
    ("both", "INSERT INTO users (a, b) VALUES (1, 'SELECT'), (2, NULL)"),
    ("both", "INSERT OR IGNORE INTO users DEFAULT VALUES"),
    ("both", "INSERT INTO users (id) VALUES (1) ON CONFLICT DO NOTHING"),
    ("contract", "DROP TABLE users; DROP INDEX i; DROP VIEW v; DROP TRIGGER t"),
    ("backfill", "UPDATE users SET full_name = first_name || ' ' || last_name"),
    ("backfill", "UPDATE main.users AS u SET a = coalesce(b, 1) WHERE a IS NULL"),
]
