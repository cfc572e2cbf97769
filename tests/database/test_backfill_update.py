"""What is read of a backfill.sql of PostgreSQL."""

import pytest

from bleen.database.grammar.postgres_update import update
from bleen.database.migration import Backfill
from bleen.database.statements import Place, Unreadable


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("UPDATE users SET a = 1", Backfill('"users"', {"a": "1"})),
        ("update s.Users set A = b||'x' , c=d where e;", Backfill('"s"."users"', {"a": "b||'x'", "c": "d"}, "e")),
        ('UPDATE "we ird"."t=1" SET "a=b" = "c=d" WHERE "where" = 1', Backfill('"we ird"."t=1"', {"a=b": '"c=d"'}, '"where" = 1')),
        ("-- SET x = 1\nUPDATE t /* SET y = 2 */ SET a /* = */ = /* b */ c -- WHERE d\nWHERE e -- f\n;-- g", Backfill('"t"', {"a": "c"}, "e")),
        ("UPDATE t SET a = b /* inside */ + c", Backfill('"t"', {"a": "b /* inside */ + c"})),
        ("UPDATE t SET a = '=,WHERE ('', ' || f(b, c), d = $$, = WHERE$$", Backfill('"t"', {"a": "'=,WHERE ('', ' || f(b, c)", "d": "$$, = WHERE$$"})),
        ("UPDATE t SET a = (SELECT b FROM o WHERE o.id = t.id) WHERE c", Backfill('"t"', {"a": "(SELECT b FROM o WHERE o.id = t.id)"}, "c")),
        ("UPDATE t SET a = (ARRAY[b, c])[1], d = CASE WHEN e = 1 THEN 2 END", Backfill('"t"', {"a": "(ARRAY[b, c])[1]", "d": "CASE WHEN e = 1 THEN 2 END"})),
        ("UPDATE t SET a = b = c", Backfill('"t"', {"a": "b = c"})),
        ("UPDATE t SET U&\"d\\0061t\" = 'ä€😀', b = 'é' WHERE c = 'ö' AND d", Backfill('"t"', {"dat": "'ä€😀'", "b": "'é'"}, "c = 'ö' AND d")),
        ("UPDATE t AS x SET a = x.b || c WHERE x.a IS NULL", Backfill('"t"', {"a": "b || c"}, "a IS NULL")),
        (
            'UPDATE s.t "é" SET a = "é".b, c = (SELECT max(d) FROM o WHERE o.id = "é". /* its */ id) WHERE EXISTS (SELECT FROM o x WHERE x.id = "é".id)',
            Backfill('"s"."t"', {"a": "b", "c": '(SELECT max(d) FROM o WHERE o.id = "t".id)'}, 'EXISTS (SELECT FROM o x WHERE x.id = "t".id)'),
        ),
        ("UPDATE t SET a = 1 WHERE (b)", Backfill('"t"', {"a": "1"}, "(b)")),
    ],
)
def test_an_update_is_taken_apart_as_it_was_written(text: str, wanted: Backfill) -> None:
    assert update(text) == wanted


@pytest.mark.parametrize(
    ("text", "says", "at"),
    [
        ("", "one UPDATE", (1, 1)),
        ("SELECT 1", "one UPDATE", (1, 1)),
        ("UPDATE t SET a = 1;\n  UPDATE t SET b = 2", "one UPDATE", (2, 3)),
        ("UPDATE t SET a = 1;\nANALYZE t", "one UPDATE", (2, 1)),
        ("UPDATE t SET a = o.a FROM o WHERE o.id = t.id", "SET x = (SELECT", (1, 8)),
        ("WITH o AS (SELECT 1 AS a) UPDATE t SET a = 1", "as a subquery", (1, 1)),
        ("UPDATE t SET a = 1 RETURNING a", "RETURNING", (1, 8)),
        ("UPDATE t AS x SET a = (SELECT max(b) FROM t WHERE t.id < x.id)", "alias", (1, 8)),
        ("UPDATE t AS x SET a = (SELECT max(b) FROM o AS x)", "alias", (1, 8)),
        ("UPDATE t AS x SET a = f(x)", "alias", (1, 8)),
        ("UPDATE t AS x SET a = f(x.*)", "alias", (1, 8)),
        ("UPDATE ONLY t SET a = 1", "ONLY", (1, 13)),
        ("UPDATE d.s.t SET a = 1", "database", (1, 8)),
        ("UPDATE t\nSET z = 'é', (a, b) = (1, 2)", "SET a = …, and so on", (2, 15)),
        ("UPDATE t SET (a, b) = (SELECT 1, 2)", "one column at a time", (1, 15)),
        ("UPDATE t SET a[1] = 2", "a whole column", (1, 14)),
        ("UPDATE t SET a.b = 2", "a whole column", (1, 14)),
        ("UPDATE t SET a = DEFAULT", "write the default", (1, 14)),
        ("UPDATE t SET a = 1, a = 2", "set twice", (1, 21)),
        ("UPDATE t SET a = $1", "parameter", (1, 18)),
        ("UPDATE t SET a = 1 WHERE CURRENT OF c", "cursor", (1, 8)),
        ("UPDATE t SET a =", "syntax error", (1, 17)),
    ],
)
def test_what_cannot_be_done_in_batches_is_refused_where_it_stands(text: str, says: str, at: tuple[int, int]) -> None:
    """`backfill.sql` is one UPDATE of one table with a key, else an error."""
    with pytest.raises(Unreadable) as refused:
        update(text)
    assert says in str(refused.value)
    assert refused.value.at == Place(*at) or says == "syntax error"
