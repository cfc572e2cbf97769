"""What the rules of PostgreSQL are written in: one statement being looked at, what we call what we make, its options, and what its functions do."""

from collections.abc import Iterator, Sequence
from itertools import count, repeat
from typing import NamedTuple

from postgast import walk

from bleen.database.grammar.postgres import Message, inner, kind, quoted, words
from bleen.database.migration import Phase
from bleen.database.parser import Parsed
from bleen.database.rules.findings import Finding, Known, Severity
from bleen.database.statements import Place, place


class Look(NamedTuple):
    """One statement, where it stands, and what the release has made before it."""

    file: str
    phase: Phase
    known: Known
    text: str
    """Of the whole file."""
    parsed: Parsed

    @property
    def expanding(self) -> bool:
        return self.phase == "expand"

    def finding(self, rule: str, message: str, fix: str = "", severity: Severity = "error", at: Place | None = None) -> Finding:
        """At the statement's first word, or where ``at`` says."""
        line, column = at or self.parsed.statement.at
        return Finding(self.file, line, column, rule, severity, message, fix)

    def warning(self, rule: str, message: str, fix: str = "", at: Place | None = None) -> Finding:
        return self.finding(rule, message, fix, "warn", at)

    def temporary(self, name: str) -> Finding:
        why = "is gone with its connection, and a migration that goes on in another one then means another one of this name, or none; make a plain one"
        return self.finding("temporary-table", f"{quoted(name)} {why}")

    def later(self, what: str = "") -> str:
        """The fix of what is right, but only in contract."""
        return f"-- contract.sql\n{what or self.parsed.statement.text};"

    def parts(self) -> Iterator[Place]:
        """Where the parts of a list begin, behind the commas outside of parentheses; of the first, the statement itself, and so of what has no place."""
        depth, passed = 0, False
        yield self.parsed.statement.at
        for token in self.parsed.tokens:
            if passed:
                yield place(self.text, token.begin)
            depth += (token.kind in ("ASCII_40", "ASCII_91")) - (token.kind in ("ASCII_41", "ASCII_93"))
            passed = token.kind == "ASCII_44" and depth == 0
        yield from repeat(self.parsed.statement.at)


def default_along(table: str, old: str, new: str) -> str:
    """How a column's default moves to the one that takes its place; names as they have to be written."""
    return f"in expand.sql too, if {old} has a default: ALTER TABLE {table} ALTER COLUMN {new} SET DEFAULT (that of {old});"


def called(*parts: str) -> str:
    """A name of ours for something, from names of theirs: as long as PostgreSQL lets it be (63 bytes)."""
    *first, last = parts
    room = 63 - len(f"_{last}".encode())
    return "_".join(first).encode()[:room].decode(errors="ignore") + f"_{last}"


def called_alone(look: Look, *parts: str) -> str:
    """The same for what has no name here, and as nothing else in this release is called: numbered from the second on, as PostgreSQL does it."""
    *first, last = parts
    name = next(each for each in (called(*first, f"{last}{number or ''}") for number in count()) if not look.known.knows("called", each))
    look.known.learns("called", name)
    return name


def options(nodes: Sequence[Message]) -> dict[str, bool]:
    """The options of VACUUM, REINDEX and their like: whether each is on, as defGetBoolean (define.c) reads it."""
    return {node.def_elem.defname: not node.def_elem.HasField("arg") or _is_on(inner(node.def_elem.arg)) for node in nodes}


def _is_on(value: Message) -> bool:
    match kind(value):
        case "Integer":
            return bool(value.ival)
        case "Boolean":
            return bool(value.boolval)
    return str(getattr(value, "sval", "")).lower() not in ("false", "off")


OF_EXTENSIONS = frozenset("citext geography geometry hstore ltree vector".split())
"""Types of well-known extensions, which lie in whatever schema an extension was made in."""

BUILT_IN = OF_EXTENSIONS | frozenset(
    """
    bit bool box bpchar bytea char cidr circle date daterange datemultirange float4 float8 inet int2 int4 int4range
    int4multirange int8 int8range int8multirange interval json jsonb jsonpath line lseg macaddr macaddr8 money name numeric numrange nummultirange
    oid path pg_lsn point polygon regclass text time timestamp timestamptz timetz tsmultirange tsquery tsrange tstzmultirange tstzrange tsvector uuid
    varbit varchar xml
    """.split()
)
"""Types of PostgreSQL and of its well-known extensions, none of which is a domain."""

SERIAL = {"smallserial": "int2", "serial2": "int2", "serial": "int4", "serial4": "int4", "bigserial": "int8", "serial8": "int8"}
"""The types of what they number."""


# What functions do. PostgreSQL 18, "Functions and Operators", and provolatile of pg_proc; what is not listed may do anything.
STEADY = BUILT_IN | frozenset(
    """
    abs acos acosd age any_value array_agg array_append array_cat array_dims array_fill array_length array_lower array_ndims array_position array_positions
    array_prepend array_remove array_replace array_to_json array_to_string array_to_tsvector array_upper ascii asin asind atan atan2 avg bit_and bit_length
    bit_or bit_xor bool_and bool_or bound_box bpchar btrim cardinality cbrt ceil ceiling char_length character_length chr coalesce col_description concat
    concat_ws convert_from convert_to corr cos cosh cot count covar_pop covar_samp crc32 cume_dist current_database current_schema current_schemas
    current_setting current_user date_bin date_part date_trunc decode degrees dense_rank div encode enum_first enum_last enum_range every exp extract
    factorial first_value floor format format_type gcd get_bit get_byte greatest has_any_column_privilege has_column_privilege has_database_privilege
    has_function_privilege has_schema_privilege has_sequence_privilege has_table_privilege has_type_privilege host hostmask inet_merge inet_same_family
    inet_server_addr initcap isempty isfinite json_agg json_array_elements json_array_elements_text json_array_length json_build_array json_build_object
    json_each json_each_text json_extract_path json_extract_path_text json_object json_object_agg json_object_keys json_populate_record
    json_populate_recordset json_strip_nulls json_to_record json_to_recordset json_to_tsvector json_typeof jsonb_agg jsonb_array_elements
    jsonb_array_elements_text jsonb_array_length jsonb_build_array jsonb_build_object jsonb_each jsonb_each_text jsonb_extract_path jsonb_extract_path_text
    jsonb_insert jsonb_object jsonb_object_agg jsonb_object_keys jsonb_path_exists jsonb_path_match jsonb_path_query jsonb_path_query_array
    jsonb_path_query_first jsonb_populate_record jsonb_populate_recordset jsonb_pretty jsonb_set jsonb_strip_nulls jsonb_to_record jsonb_to_recordset
    jsonb_to_tsvector jsonb_typeof justify_days justify_hours justify_interval lag last_value lcm lead least left length like_escape ln localtime
    localtimestamp log log10 lower lower_inc lower_inf lpad ltrim make_date make_interval make_time make_timestamp make_timestamptz masklen max md5 min
    min_scale mod mode netmask normalize now npoints nth_value ntile nullif num_nonnulls num_nulls obj_description octet_length overlay parse_ident
    percent_rank percentile_cont percentile_disc pg_backend_pid pg_column_size pg_get_constraintdef pg_get_expr pg_get_functiondef pg_get_indexdef
    pg_get_serial_sequence pg_get_triggerdef pg_get_userbyid pg_get_viewdef pg_has_role pg_size_pretty pg_table_is_visible pg_type_is_visible pg_typeof
    phraseto_tsquery pi plainto_tsquery position power querytree quote_ident quote_literal quote_nullable radians range_merge rank regexp_count regexp_instr
    regexp_like regexp_match regexp_matches regexp_replace regexp_split_to_array regexp_split_to_table regexp_substr regr_slope repeat replace reverse right
    round row_number row_to_json rpad rtrim scale session_user set_masklen setweight sha224 sha256 sha384 sha512 shobj_description sign sin sinh split_part
    sqrt starts_with statement_timestamp stddev stddev_pop stddev_samp string_agg string_to_array string_to_table strip strpos substr substring sum tan tanh
    timezone to_ascii to_char to_date to_hex to_json to_jsonb to_number to_regclass to_regnamespace to_regoper to_regproc to_regprocedure to_regrole
    to_regtype to_timestamp to_tsquery to_tsvector transaction_timestamp translate trim trim_array trim_scale trunc ts_delete ts_filter ts_headline ts_rank
    ts_rank_cd tsquery_phrase tsvector_to_array unistr unnest upper upper_inc upper_inf var_pop var_samp variance version websearch_to_tsquery width_bucket
    xmlagg xmlcomment xpath xpath_exists
    """.split()
)
"""The same for every row of a statement, and no effect: a column's default is computed once. A type is a function too: date('2026-01-01')."""

FREE = STEADY | frozenset(
    """
    clock_timestamp currval gen_random_bytes gen_random_uuid gen_salt generate_series generate_subscripts lastval nextval pg_is_in_recovery
    pg_relation_size pg_table_size pg_total_relation_size random random_normal timeofday uuid_generate_v1 uuid_generate_v1mc uuid_generate_v4 uuidv4
    uuidv7
    """.split()
)
"""No effect that anybody else could feel."""

SHARED = ("public", "extensions")
"""Schemas that extensions are made in; the second is Supabase's."""
_OF_EXTENSIONS = frozenset("gen_random_bytes gen_salt uuid_generate_v1 uuid_generate_v1mc uuid_generate_v4".split())


def functions(tree: Message, harmless: frozenset[str]) -> list[str]:
    """The functions that a tree calls and that are not known to be ``harmless``, as written."""
    found = []
    for _, node in walk(tree):
        if kind(node) == "A_Expr" and len(node.name) > 1 and words(node.name)[0] != "pg_catalog":
            found.append(f"OPERATOR({'.'.join(words(node.name))})")
        if kind(node) == "FuncCall":
            name = words(node.funcname)
            known = len(name) == 1 or name[0] == "pg_catalog" or (name[0] in SHARED and name[-1] in _OF_EXTENSIONS)
            if not known or name[-1] not in harmless:
                found.append(quoted(*name))
    return found
