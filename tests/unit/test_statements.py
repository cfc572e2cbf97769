"""PostgreSQL's statements told apart: exactly what was written, exactly where it stands."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bleen.database.parser import Source, comments
from bleen.database.statements import Statement, Unreadable, place, split

STATEMENTS = [
    "SELECT 1",
    "select ';'",
    "SELECT 'it''s; -- no comment'",
    r"SELECT E'it\'s; \\', E'\n;'",
    r"SELECT U&'d\0061t\+000061;' AS U&\"d\0061t;a\"".replace('\\"', '"'),
    "SELECT $$a;b$$, $tag$ $$ ; $other$ ; $tag$",
    'SELECT "a;b", """;" FROM "t;"',
    "SELECT 1 -- one; two\n + 2",
    "SELECT 1 /* one; /* two; */ three; */ + 2",
    "SELECT B'01', X'1F', 'a'\n';b'",
    "SELECT 'a' -- ü;'\n-- '\n';b' --\n'c', 'd'",
    "SELECT 'ü;é', \"ñ;\" FROM \U0001f40d",
    "DO $body$ BEGIN PERFORM 1; /* ; */ EXECUTE 'DROP TABLE t;'; END; $body$",
    "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $f$\nBEGIN\n  NEW.a := ';'; -- ;\n  RETURN NEW;\nEND;\n$f$",
    "CREATE FUNCTION g() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1; SELECT CASE WHEN true THEN 2 END; END",
    "CREATE RULE r AS ON INSERT TO t DO ALSO (SELECT 1; SELECT 2)",
    "CREATE TRIGGER t BEFORE INSERT ON a FOR EACH ROW EXECUTE FUNCTION f(';')",
    "ALTER TABLE t ADD COLUMN a int DEFAULT 1",
    "CREATE TABLE t (a int, b text DEFAULT ';')",
    "SELECT $1, a ->> 'b;', c @> '{}'",
]

BETWEEN = [
    " ",
    "\n",
    "\t\r\n",
    "-- a; comment\n",
    "--\n",
    "/* a; /* nested; */ comment */",
    "/**/",
    "-- ü 'é\n",
    "/* it's $$ \" */",
    "-- bleen: allow rename it\n",
    ";",
    " ;\n; ",
]

layout = st.lists(st.sampled_from(BETWEEN), max_size=4).map("".join)


@given(st.lists(st.tuples(layout, st.sampled_from(STATEMENTS), layout), max_size=6), layout)
def test_statements_in_any_surroundings_come_back_exactly(parts: list[tuple[str, str, str]], end: str) -> None:
    """ "fuzzed splitter (comments nested, dollar quotes, E'' and U&'' strings, trigger bodies): never crashes, never mis-splits" """
    text, expected = "", []
    for before, statement, behind in parts:
        text += before
        expected.append(Statement(statement, place(text, len(text)), len(text)))
        text += statement + behind + "\n;"
    text += end
    assert split(text) == expected


@given(st.text() | st.text(alphabet="'\"$;-*/\\\n EU&aé(){}[].,:=0BEGINATOMICD"))
def test_no_text_is_too_strange_to_be_told_of(text: str) -> None:
    try:
        statements = split(text)
    except Unreadable as error:
        statements, at = [], error.at
    else:
        at = place(text, len(text))
    assert all(text[each.offset :].startswith(each.text) and each.text and each.at == place(text, each.offset) for each in statements)
    assert 1 <= at.line <= text.count("\n") + 1
    assert 1 <= at.column <= len(text.split("\n")[at.line - 1]) + 1


def test_the_last_statement_needs_no_semicolon_and_empty_ones_are_none() -> None:
    assert [each.text for each in split(";;SELECT 1 ; ; SELECT 2 -- end")] == ["SELECT 1", "SELECT 2"]
    assert split("") == split(" \n-- only this\n;") == []


def test_places_count_characters_not_bytes() -> None:
    assert [each.at for each in split("/* ü */ SELECT 'é'; SELECT '\U0001f40d';\n SELECT 1")] == [(1, 9), (1, 21), (2, 2)]


@pytest.mark.parametrize(
    ("text", "at", "why"),
    [
        ("SELECT 1;\n SELECT 'a", (2, 9), "unterminated quoted string"),
        ("SELECT $a$ x $$", (1, 8), "unterminated dollar-quoted string"),
        ("/* /* */ SELECT 1", (1, 1), "unterminated /* comment"),
        ('SELECT "a', (1, 8), "unterminated quoted identifier"),
        ("SELECT 1;\nALTER TABEL t", (2, 7), "syntax error"),
        ("SELECT 1;\0 DROP TABLE t", (1, 10), "NUL"),
        ("SELECT '\ud800'", (1, 9), "surrogate"),
        ("\ufeffSELECT 1", (1, 1), "byte order mark"),
        ("\\connect shop\nSELECT 1", (1, 1), "a command of psql"),
        ("SELECT " + "-(1+" * 200 + "1" + ")" * 200, (1, 1), "nested too deeply"),
    ],
)
def test_what_cannot_be_told_apart_says_why_and_where(text: str, at: tuple[int, int], why: str) -> None:
    with pytest.raises(Unreadable, match=why.replace("*", r"\*")) as error:
        split(text)
    assert error.value.at == at


def test_a_text_of_nothing_but_parentheses_ends_in_an_error() -> None:
    with pytest.raises(Unreadable, match="memory exhausted"):
        split("SELECT " + "(" * 100_000)


def test_beside_a_statement_that_cannot_be_read_the_others_are() -> None:
    text = "SELECT 1; ALTER TABEL t;\n" + "; DROP TABEL u;\n".join(STATEMENTS) + "; \\d"
    read, faults = Source(text).readable()
    assert [each.statement.text for each in read] == ["SELECT 1", *STATEMENTS]
    assert len(faults) == len(STATEMENTS) + 1


@pytest.mark.parametrize("text", ["SELECT 'a' /* b */\n'c'", "SELECT 'a' -- b\n/* c */ 'd'", "SELECT E'a' -- b\n'c\\'; --'", "SELECT 'a' 'b'"])
def test_a_string_that_goes_on_behind_anything_but_a_line_comment_is_no_string(text: str) -> None:
    """PostgreSQL manual, "String Constants": two that are parted by white space with a line end are one; a plain one alone is so with comments between."""
    with pytest.raises(Unreadable):
        split(text)


def test_comments_are_those_that_the_scanner_sees() -> None:
    text = "-- one\nSELECT '-- no', $$/* no */$$ /* two /* 2 */ */, \"--no\" --  three \n"
    assert [(each.text, text[each.begin : each.end]) for each in comments(text)] == [
        ("one", "-- one"),
        ("two /* 2 */", "/* two /* 2 */ */"),
        ("three", "--  three "),
    ]
