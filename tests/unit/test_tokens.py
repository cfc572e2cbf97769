"""The splitter of MySQL and SQLite: each statement as it was written, at its place, whatever stands in and around it; never a guess."""

import sqlite3

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bleen.database.statements import Comment, Dialect, Place, Unreadable, place
from bleen.database.tokens import comments, read, split
from lint_cases_mysql import BODIES

QUICK = settings(max_examples=200)

BOTH = [
    "SELECT 1",
    "INSERT INTO t VALUES ('a;b', 'it''s', 'two\nlines')",
    "UPDATE t SET a = CASE WHEN b THEN 'x;' ELSE 'y' END WHERE c = \"--\"",
    "ALTER TABLE `a``;b` ADD COLUMN c INT /* in between; */ NULL",
    "SELECT x'4142', 0x41, 1.5e-3, .5, a.b, -1 -- behind;\n + 2",
    "SELECT begin, loop_, end_, trigger_ FROM event",
    "DELETE FROM \u00e9t\u00e9",
]
MYSQL = [
    *BOTH,
    r"SELECT 'a\';b', 'c\\', N'd;', _utf8mb4'e;', " + r'"f\";g", "h"";i"',
    "SELECT 5--1, 6 # a comment; with a semicolon\n + 7",
    "SELECT IF(a, REPEAT('x;', 2), 'y'), REPLACE(b, ';', '') FROM `end`",
    "CREATE TABLE event (`begin` INT, end INT, trigger_ INT)",
    "BEGIN",
    "SET @begin = 1, @`if;` = 2, @'case;' = 3",
    "ALTER TABLE t ADD a INT /*!80023 INVISIBLE */",
    "/*!40101 SET NAMES utf8 */",
    "SELECT /*+ MAX_EXECUTION_TIME(1) */ 1",
    "GRANT ALL ON a.* TO 'b;c'@'%'",
]
SQLITE = [
    *BOTH,
    "SELECT [a;b], 'c\\', ?1, :a, @b, $c, a -> '$.b', 5--1;\n + 3",
    'SELECT \'a\' || /* --; */ "b;""c"',
    "CREATE TRIGGER a AFTER INSERT ON t BEGIN UPDATE t SET a = CASE WHEN 1 THEN 2 END; DELETE FROM t WHERE b = 'END;'; END",
    "CREATE TEMP TRIGGER IF NOT EXISTS a INSTEAD OF UPDATE OF b ON v WHEN NEW.a BEGIN SELECT RAISE(ABORT, 'no; END;'); END",
    "CREATE TABLE trigger_ (end, 'begin')",
]
KNOWN: dict[Dialect, list[str]] = {"mysql": MYSQL + BODIES, "sqlite": SQLITE}
BETWEEN = {
    "mysql": [";", ";\n", " ;\n\n", ";-- a; comment\n", ";# another;\n", "/* DROP TABLE x; */;\t", ";;", "\n;\r\n", "; --\n"],
    "sqlite": [";", ";\n", " ;\n\n", ";--a; comment\n", "/* DROP TABLE x; */;\t", ";;", "\n;\r\n"],
}


@pytest.mark.parametrize(("dialect", "statement"), [(dialect, statement) for dialect, known in KNOWN.items() for statement in known])
def test_a_statement_alone_is_one_statement(dialect: Dialect, statement: str) -> None:
    assert [each.text for each in split(statement, dialect)] == [statement]
    assert [each.text for each in split(f"\n {statement} ;\n", dialect)] == [statement]


@pytest.mark.parametrize("dialect", KNOWN)
@given(data=st.data())
@QUICK
def test_what_was_put_together_comes_apart_as_it_was(dialect: Dialect, data: st.DataObject) -> None:
    """ "fuzzed splitter (comments nested, dollar quotes, E'' and U&'' strings, DELIMITER, trigger bodies): never crashes, never mis-splits" """
    text, expected = "", []
    for statement in data.draw(st.lists(st.sampled_from(KNOWN[dialect]), max_size=8)):
        delimiter = data.draw(st.sampled_from(["", "", "//", "$$", ";;", "|", "##"])) if dialect == "mysql" else ""
        if delimiter and delimiter not in statement:
            text += f"\ndelimiter {delimiter} \n"
            expected.append((statement, len(text)))
            text += f"{statement}{delimiter}\nDELIMITER ;\n"
        else:
            expected.append((statement, len(text)))
            text += statement + data.draw(st.sampled_from(BETWEEN[dialect]))
    found = split(text, dialect)
    assert [(each.text, each.offset) for each in found] == expected
    assert [each.at for each in found] == [place(text, offset) for _, offset in expected]


@pytest.mark.parametrize("statement", SQLITE)
def test_sqlite_itself_sees_the_end_of_a_statement_where_we_see_it(statement: str) -> None:
    text = f"{statement};"
    ends = [end for end in range(1, len(text) + 1) if text[end - 1] == ";" and sqlite3.complete_statement(text[:end])]
    assert ends == [len(text)]


@given(st.lists(st.sampled_from([*SQLITE[-3:], "'", '"', "`", "[", "]", ";", "--", "\n", "/*", "*/", "CREATE", "TRIGGER", "END", "BEGIN", " "]), max_size=12))
@QUICK
def test_whatever_we_split_sqlite_takes_for_complete(parts: list[str]) -> None:
    text = " ".join(parts)
    try:
        found = split(text, "sqlite")
    except Unreadable:
        return
    assert all(sqlite3.complete_statement(f"{each.text}\n;") for each in found)


@given(st.sampled_from(["mysql", "sqlite"]), st.text(st.sampled_from("'\"`[]();-#/*!+M\\\n \0$|:@?xDELIMITER\u00e9\ufeff1.e")))
@QUICK
def test_any_text_is_split_or_refused_and_nothing_of_it_is_lost(dialect: Dialect, text: str) -> None:
    try:
        script = read(text, dialect)
    except Unreadable:
        return
    left = list(text)
    for sentence in script.sentences:
        statement = sentence.statement
        assert text[statement.offset : statement.offset + len(statement.text)] == statement.text
        left[statement.offset : statement.offset + len(statement.text)] = " " * len(statement.text)
    for comment in script.comments:
        left[comment.offset : comment.end] = " " * len(comment.text)
    for line in "".join(left).split("\n"):
        assert not line.replace(";", "").strip(" \t\v\f\r") or "DELIMITER" in line or "delimiter" in text.lower()


UNREADABLE: list[tuple[Dialect, str, Place, str]] = [
    ("mysql", "SELECT 1;\n 'a\\'", Place(2, 2), "string has no end"),
    ("mysql", 'SELECT "a""', Place(1, 8), "string has no end"),
    ("mysql", "SELECT `a", Place(1, 8), "name has no end"),
    ("mysql", "/* a", Place(1, 1), "comment has no end"),
    ("mysql", "/* a /* b */ c */ 'd", Place(1, 19), "string has no end"),
    ("mysql", "/*! a", Place(1, 1), "comment has no end"),
    ("mysql", "/*!50000 SELECT '*/' */", Place(1, 1), "depends on the version"),
    ("mysql", "/*!50000 a /* b */ c */", Place(1, 1), "depends on the version"),
    ("mysql", "/*!50000 a -- */\n DROP TABLE t */", Place(1, 1), "depends on the version"),
    ("mysql", "SELECT 1; DELIMITER\nx", Place(1, 11), "DELIMITER is followed"),
    ("mysql", "DELIMITER go\nSELECT 1 go", Place(1, 1), "DELIMITER is followed"),
    ("mysql", "DELIMITER '//'\n", Place(1, 1), "DELIMITER is followed"),
    ("mysql", "CREATE TRIGGER a BEFORE INSERT ON t FOR EACH ROW BEGIN SET @a = 1;\nDROP TABLE t;", Place(1, 1), "no end"),
    ("mysql", "CREATE PROCEDURE p() BEGIN IF 1 THEN SELECT 1; END; END IF", Place(1, 48), "END IF is expected"),
    ("mysql", "SELECT \0", Place(1, 8), "NUL"),
    ("sqlite", "SELECT 'a", Place(1, 8), "string has no end"),
    ("sqlite", 'SELECT "a', Place(1, 8), "name has no end"),
    ("sqlite", "SELECT [a", Place(1, 8), "name has no end"),
    ("sqlite", "SELECT 1 /* a", Place(1, 10), "comment has no end"),
    ("sqlite", "\nCREATE TRIGGER a AFTER INSERT ON t BEGIN SELECT 1;\nDROP TABLE t;", Place(2, 1), "no end"),
]


@pytest.mark.parametrize(("dialect", "text", "at", "why"), UNREADABLE)
def test_what_has_no_end_is_refused_with_its_place(dialect: Dialect, text: str, at: Place, why: str) -> None:
    with pytest.raises(Unreadable, match=why) as refused:
        split(text, dialect)
    assert refused.value.at == at


def test_two_dashes_begin_a_comment_of_mysql_only_before_white_space() -> None:
    assert [each.text for each in split("SELECT 5--1; SELECT 6--\n;", "mysql")] == ["SELECT 5--1", "SELECT 6"]
    assert [each.text for each in split("SELECT 5--1; SELECT 6--\n;", "sqlite")] == ["SELECT 5"]


def test_a_backslash_escapes_in_mysql_alone() -> None:
    text = r"SELECT 'a\'; SELECT 'b'"
    assert [each.text for each in split(text, "sqlite")] == [r"SELECT 'a\'", "SELECT 'b'"]
    with pytest.raises(Unreadable):
        split(text, "mysql")
    assert len(split(text + ";'", "mysql")) == 1


def test_comments_say_what_they_say_and_where_and_what_a_server_carries_out_is_none() -> None:
    text = "-- one\nSELECT '-- no' # two\n, 1 /*three*/; /*! four */"
    assert comments(text, "mysql") == [Comment("one", 0, 6), Comment("two", 22, 27), Comment("three", 32, 41)]
    assert comments("--one\n;/* two */", "sqlite") == [Comment("one", 0, 5), Comment("two", 7, 16)]


def test_a_body_between_delimiters_may_hold_what_it_likes() -> None:
    for sign in ("//", "##", "#"):  # which is the client's end of a statement before it begins a comment
        body = "CREATE TRIGGER a BEFORE INSERT ON t FOR EACH ROW BEGIN IF 1 THEN SET @a = 1; END"
        text = f"DELIMITER {sign}\n{body}{sign}\nDELIMITER ;\nSELECT 1; # one\n"
        assert [(each.text[-3:], each.at.line) for each in split(text, "mysql")] == [("END", 2), ("T 1", 4)]
