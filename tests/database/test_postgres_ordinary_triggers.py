"""Of triggers as most databases have them, for audit, updated_at and notices, nobody is told anything: what a migration does there fails no write."""

import pytest

from bleen.database import sync
from bleen.database.foresight import Foresight
from bleen.database.migration import Pair, parse
from bleen.database.parser import split
from bleen.database.postgres.catalogue import PostgresCatalogue
from bleen.database.schema import Schema
from databases import Base

COLUMNS = "user_id action name status created_at".split()
POSTS = f"""
    CREATE TABLE posts (id int PRIMARY KEY, body text, updated_at timestamptz, {", ".join(f"{each} text" for each in COLUMNS)});
    CREATE TABLE audits (id serial, auditable_type text, auditable_id int, user_id text, action text, name text, status text, old jsonb, new jsonb,
        created_at timestamptz DEFAULT now());
    CREATE TABLE lasts (post_id int, status text, data json);
    CREATE UNIQUE INDEX ON audits (id);
    CREATE SCHEMA audit; CREATE EXTENSION hstore;
    CREATE TABLE audit.logged_actions (event_id bigint, schema_name text, table_name text, action text, row_data hstore, changed_fields hstore, client text);
    INSERT INTO posts (id) VALUES (1);"""
RUNS = "CREATE FUNCTION runs() RETURNS trigger LANGUAGE plpgsql AS $f$ {} $f$;"
BEFORE = "CREATE TRIGGER runs BEFORE INSERT OR UPDATE ON posts FOR EACH ROW EXECUTE FUNCTION runs();"
AFTER = "CREATE TRIGGER runs AFTER INSERT OR UPDATE OR DELETE ON posts FOR EACH ROW EXECUTE FUNCTION runs('id');"
WIKI = """
DECLARE
    audit_row audit.logged_actions; -- a row of the log
    excluded_cols text[] = ARRAY[]::text[];
BEGIN
    audit_row = ROW(1, TG_TABLE_SCHEMA::text, TG_TABLE_NAME::text, substring(TG_OP, 1, 1), NULL, NULL, current_query());
    IF (TG_OP = 'UPDATE' AND TG_LEVEL = 'ROW') THEN
        audit_row.row_data = hstore(OLD.*) - excluded_cols;
        audit_row.changed_fields = (hstore(NEW.*) - audit_row.row_data) - excluded_cols;
    ELSIF (TG_OP = 'DELETE' AND TG_LEVEL = 'ROW') THEN
        audit_row.row_data = hstore(OLD.*) - excluded_cols;
    ELSE
        audit_row.row_data = hstore(NEW.*) - excluded_cols;
    END IF;
    INSERT INTO audit.logged_actions VALUES (audit_row.*);
    RETURN NULL;
END;"""
ORDINARY = {
    "updated_at": ("BEGIN NEW.updated_at = now(); RETURN NEW; END", BEFORE),
    "updated_at of a row that changes, and a job": (
        "BEGIN IF NEW IS DISTINCT FROM OLD THEN NEW.updated_at = now(); INSERT INTO audits (status, auditable_id) VALUES ('new', NEW.id); END IF;"
        " RETURN NEW; END",
        BEFORE,
    ),
    "updated_at of all of a row that changes": (
        "BEGIN IF row(NEW.*) IS DISTINCT FROM row(OLD.*) THEN NEW.updated_at = now(); INSERT INTO audits (name) VALUES ('x'); END IF; RETURN NEW; END",
        BEFORE,
    ),
    "updated_at unless only that changes": (
        "BEGIN IF TG_OP = 'UPDATE' THEN IF to_jsonb(NEW) - 'created_at' <> to_jsonb(OLD) - 'created_at' THEN NEW.updated_at = now(); END IF; END IF;"
        " RETURN NEW; END",
        BEFORE,
    ),
    "an audit that names its columns": (
        "BEGIN INSERT INTO audits (auditable_type, auditable_id, user_id, action, old, new)"
        " VALUES (TG_TABLE_NAME, coalesce(NEW.id, OLD.id), current_user, TG_OP, to_jsonb(OLD), to_jsonb(NEW)); RETURN COALESCE(NEW, OLD); END",
        AFTER,
    ),
    "an audit by operation": (
        "BEGIN IF TG_OP = 'DELETE' THEN INSERT INTO audits (action, old) VALUES (TG_OP, row_to_json(OLD)::jsonb) ON CONFLICT (id) DO UPDATE SET name = 'x';"
        " RETURN OLD; ELSE INSERT INTO audits (name, action, old, new)"
        " SELECT 'x', TG_OP, CASE WHEN TG_OP = 'UPDATE' THEN to_jsonb(OLD) - 'id' END, to_jsonb(NEW); RETURN NEW; END IF; END",
        AFTER,
    ),
    "an update of the log": ("BEGIN UPDATE lasts SET status = 'old', data = row_to_json(NEW.*) WHERE post_id = NEW.id; RETURN NULL; END", AFTER),
    "a notice": (
        "BEGIN PERFORM pg_notify('posts', json_build_object('action', TG_OP, 'name', TG_TABLE_NAME, 'new', row_to_json(NEW))::text); RETURN NULL; END",
        AFTER,
    ),
    "a notice in a variable": (
        "DECLARE data json; told json; BEGIN IF TG_OP = 'DELETE' THEN data = row_to_json(OLD); ELSE data = row_to_json(NEW); END IF;"
        " told = json_build_object('name', TG_TABLE_NAME, 'action', lower(TG_OP), 'status', data); PERFORM pg_notify('posts', told::text); RETURN NULL; END",
        AFTER,
    ),
    "a record of versions": (
        "DECLARE record_jsonb jsonb = to_jsonb(NEW); old_record jsonb = to_jsonb(OLD); BEGIN INSERT INTO audits (auditable_id, action, name, status, old, new)"
        " SELECT coalesce((record_jsonb ->> 'id')::int, (old_record ->> 'id')::int), TG_OP, TG_TABLE_NAME, 'x', old_record, record_jsonb"
        " WHERE coalesce(record_jsonb, old_record) IS NOT NULL; RETURN coalesce(NEW, OLD); END",
        AFTER,
    ),
    "an audit of what changes": (
        "BEGIN IF TG_OP = 'UPDATE' THEN INSERT INTO audits (action, name, new) VALUES (TG_OP, 'x', hstore_to_jsonb(hstore(NEW) - hstore(OLD))); END IF;"
        " RETURN NULL; END",
        AFTER,
    ),
    "a counter": ("BEGIN UPDATE lasts SET status = coalesce(status, '') || 'x' WHERE post_id = NEW.id; RETURN NEW; END", BEFORE),
    "the audit of the wiki": (WIKI, AFTER),
    "the row of the log in a variable": (
        "DECLARE one audits; BEGIN one.id := 9; one.new := to_jsonb(NEW) - 'id'; INSERT INTO audits SELECT one.* ON CONFLICT DO NOTHING; RETURN NULL; END",
        AFTER,
    ),
}


@pytest.mark.parametrize(("body", "trigger"), ORDINARY.values(), ids=ORDINARY)
def test_of_an_ordinary_trigger_nobody_is_told_anything(base: Base, body: str, trigger: str) -> None:
    """While its function speaks of it: not of what is called so elsewhere. What a gate or a revert waits for, it asks of ``needing``."""
    writes = "INSERT INTO posts (id, body) VALUES (2, 'x'); UPDATE posts SET body = 'y'; DELETE FROM posts WHERE id = 2"
    comes, goes = "ALTER TABLE posts ADD COLUMN phone text;", [f"ALTER TABLE posts DROP COLUMN {each};" for each in COLUMNS]
    server = base.open()
    for each in (POSTS, RUNS.format(body), trigger, writes):
        server.rows(each)
    catalogue = PostgresCatalogue(server.rows)
    told = [*catalogue.outgrown(split(comes), ()), *catalogue.spreading(split(comes), ()), *catalogue.spreading(split("".join(goes)), ())]
    needing = [found.why for each in goes for found in catalogue.needing(split(each), ())]
    migration, foresight = parse("0001_x", {"expand.sql": comes, "contract.sql": "".join(goes)}, ""), Foresight(Schema(server))
    plan = [each for each in (*foresight.foreseen(migration), *foresight.risks(migration)) if "runs" in each]
    pairs = [sync.risks(server, Pair("posts", (each,), ("full",), {"full": each}, {each: "full"}), "full") for each in ("name", "status")]
    for each in (comes, *goes, writes):
        server.rows(each)
    server.close()
    assert (told, needing, plan, pairs) == ([], [], [], [[], []])
