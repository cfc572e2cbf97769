"""The rules of PostgreSQL, 14 and later: a list of what is known.

A statement that no rule knows is an error, so that a new PostgreSQL's command is one too.
"""

from collections.abc import Callable, Iterator

from postgast import pg_query_pb2 as pb
from postgast import walk

from bleen.database.grammar.postgres import Message, changed, inner, kind, relation
from bleen.database.migration import Phase
from bleen.database.parser import Parsed, Source, comments
from bleen.database.rules import postgres_creates as creates
from bleen.database.rules import postgres_domains as domains
from bleen.database.rules import postgres_indexes as indexes
from bleen.database.rules import postgres_made as made
from bleen.database.rules import postgres_objects as objects
from bleen.database.rules import postgres_rows as rows
from bleen.database.rules import postgres_tables as tables
from bleen.database.rules.findings import Finding, Known
from bleen.database.rules.postgres_look import Look, options
from bleen.database.statements import Statement, Unreadable

__all__ = ["RULES", "STATEMENTS", "comments", "lint", "split"]

RULES = {
    "not-understood": "What cannot be parsed, or what no rule knows, does not pass.",
    "backfill": "backfill.sql is exactly one UPDATE of one table.",
    "rename": "Nothing is renamed: the version that runs knows it by its name.",
    "drop-in-expand": "Nothing is dropped before contract: the old version uses it, and going back needs it.",
    "drop-default": "A default that the old version's INSERTs count on stays until contract.",
    "drop-not-null": "A column that the old version reads takes no NULL before contract: that version, and a rollback to it, may expect a value.",
    "set-default": "A new default reaches the old version's INSERTs too, and may make them fail.",
    "drop-cascade": "CASCADE drops what is not named.",
    "change-type": "A type is never changed directly: a new column is added, filled, and used.",
    "add-not-null": "A column that is added takes NULL, or has a constant default.",
    "not-null-in-expand": "A column that the old version does not know is not required before contract.",
    "set-not-null": "SET NOT NULL, and PRIMARY KEY USING INDEX, only where a CHECK that says so was validated before.",
    "volatile-default": "A column is added without a default that differs from row to row: it rewrites the table.",
    "rewriting-column": "No serial, identity or STORED column is added to a table that has rows: it rewrites the table.",
    "domain-column": "No column of a domain with a constraint, or with a default that differs from row to row, is added: it rewrites the table.",
    "inline-constraint": "A column is added by itself; UNIQUE, PRIMARY KEY, CHECK and REFERENCES come after it, each the safe way.",
    "constraint-without-not-valid": "CHECK and foreign keys are added NOT VALID, then validated in a statement of their own.",
    "constraint-builds-index": "UNIQUE and PRIMARY KEY are made from an index that was built CONCURRENTLY; EXCLUDE cannot be.",
    "foreign-key": "A foreign key ties a new table to one in use: what is done to the new one may lock the other, and DELETEs of the old version may fail.",
    "holds-the-old-version": "A CHECK, foreign key or unique index over what the old version writes waits for contract: it holds that version too.",
    "validate-alone": "VALIDATE CONSTRAINT stands in an ALTER TABLE that does nothing else, and in a command behind nothing else in one transaction.",
    "alter-constraint": "When a constraint is checked does not change under the old version.",
    "generated-expression": "A generated column keeps its expression.",
    "identity": "Identity is not added to, changed on, or taken from a column before contract; one that is added then begins above the numbers that are taken.",
    "index-without-concurrently": "An index of a table in use is built CONCURRENTLY.",
    "unnamed-index": "An index has a name, so that a build that failed is found again.",
    "index-if-not-exists": "CREATE INDEX CONCURRENTLY IF NOT EXISTS takes an INVALID index for a good one.",
    "drop-index-without-concurrently": "An index is dropped CONCURRENTLY.",
    "reindex-without-concurrently": "REINDEX only CONCURRENTLY.",
    "concurrently-in-transaction": "What is done CONCURRENTLY, and VACUUM, cannot stand in a transaction.",
    "refresh-without-concurrently": "A materialized view in use is refreshed CONCURRENTLY.",
    "temporary-table": "No temporary table, view or sequence: it is gone with its connection.",
    "table-rewrite": "Nothing writes a whole table again: SET LOGGED, SET UNLOGGED, SET TABLESPACE, SET ACCESS METHOD, VACUUM FULL, CLUSTER.",
    "lock-table": "No LOCK.",
    "row-locks": "No SELECT ... FOR UPDATE or FOR SHARE.",
    "truncate": "No TRUNCATE of a table in use.",
    "trigger": "A trigger on a table in use waits for contract: it runs for the old version's writes too.",
    "trigger-state": "Triggers and rules of a table in use are not switched on or off.",
    "rule": "No rule (CREATE RULE): statements would do something else than they say.",
    "inheritance": "A table in use gets no parent or type, and loses none.",
    "partition-of": "A partition is made as a table and then attached, which locks out nobody.",
    "attach-partition": "A table that has rows is attached only if a validated CHECK proves its bounds; it goes with what it was attached to.",
    "default-partition": "A partition is attached beside a DEFAULT one only if a validated CHECK of that one excludes its bounds.",
    "detach-partition": "A partition is detached CONCURRENTLY, in contract.",
    "replica-identity": "REPLICA IDENTITY of a table in use is not changed.",
    "row-security": "Which rows a role sees does not change under the old version.",
    "owner": "Nothing in use changes its owner.",
    "set-schema": "Nothing in use moves to another schema.",
    "revoke": "No right is revoked before contract.",
    "enum-value": "A value that is added to an enum can never be taken away.",
    "domain": "A domain in use gets a constraint only as NOT VALID, and loses nothing before contract.",
    "replaces": "CREATE OR REPLACE, and ON CONFLICT DO UPDATE, change under the old version what it calls or reads.",
    "alter-function": "A function that the old version calls is not altered before contract.",
    "alter-sequence": "A sequence in use goes on as it did.",
    "publication": "A publication can make UPDATE and DELETE fail.",
    "extension": "An extension in use is not updated in a release.",
    "role": "Roles are changed beside a release.",
    "database": "Nothing that is about the whole database or server.",
    "dynamic-sql": "Nothing that hides what it carries out: DO, CALL, PREPARE, EXECUTE.",
    "side-effect": "No function is called that may do more than say a value.",
    "whole-table-update": "No UPDATE of all rows at once: it is a backfill.",
    "update-outside-backfill": "An UPDATE belongs in backfill.sql, whatever its WHERE.",
    "delete-without-where": "No DELETE of all rows.",
    "delete-in-expand": "Nothing is deleted before contract.",
    "delete-in-contract": "A DELETE in one go locks what it deletes.",
    "merge": "No MERGE into a table in use.",
    "data-modifying-cte": "No WITH that writes.",
    "copies-rows": "No copy of a table in one go: INSERT ... SELECT, CREATE TABLE AS, SELECT INTO.",
    "many-rows": "An INSERT is of a thousand rows at most.",
    "long-query": "A materialized view of whole tables is one long query.",
    "copy": "No COPY.",
    "session-setting": "Settings of the session are bleen's.",
    "transaction-control": "No BEGIN, COMMIT or ROLLBACK: each statement has a transaction of its own.",
}

Rule = Callable[[Look, Message], Iterator[Finding]]

STATEMENTS: dict[str, Rule] = {
    "AlterTableStmt": tables.alter_table,
    "CreateStmt": creates.create_table,
    "CreateForeignTableStmt": creates.create_foreign_table,
    "IndexStmt": indexes.create_index,
    "ReindexStmt": indexes.reindex,
    "CreateTrigStmt": creates.trigger,
    "CreatePolicyStmt": creates.policy,
    "AlterPolicyStmt": creates.policy,
    "RuleStmt": creates.rule,
    "ViewStmt": rows.view,
    "SelectStmt": rows.select,
    "InsertStmt": rows.insert,
    "UpdateStmt": rows.update,
    "DeleteStmt": rows.delete,
    "MergeStmt": rows.merge,
    "CopyStmt": rows.copy,
    "ExplainStmt": rows.explain,
    "CreateTableAsStmt": rows.create_table_as,
    "RefreshMatViewStmt": rows.refresh,
    "TruncateStmt": rows.truncate,
    "LockStmt": rows.lock,
    **dict.fromkeys(("DoStmt", "CallStmt", "PrepareStmt", "ExecuteStmt"), rows.unseen),
    "DropStmt": objects.drop,
    "RenameStmt": objects.rename,
    "AlterObjectSchemaStmt": objects.set_schema,
    "AlterOwnerStmt": objects.owner,
    "GrantStmt": objects.grant,
    "GrantRoleStmt": objects.grant_role,
    "AlterDefaultPrivilegesStmt": objects.default_privileges,
    "AlterEnumStmt": objects.enum,
    "AlterDomainStmt": domains.alter_domain,
    "CreateDomainStmt": domains.create_domain,
    **dict.fromkeys(("CreateEnumStmt", "CreateRangeStmt", "CompositeTypeStmt"), objects.create_type),
    "DefineStmt": objects.define,
    "CreateFunctionStmt": objects.function,
    "AlterFunctionStmt": objects.alter_function,
    "AlterTSConfigurationStmt": objects.search_configuration,
    "CreateSchemaStmt": objects.create_schema,
    "CreateSeqStmt": objects.sequence,
    "AlterSeqStmt": objects.alter_sequence,
    "CreateStatsStmt": objects.statistics,
    "CreatePublicationStmt": objects.publication,
    "AlterPublicationStmt": objects.publication,
    "AlterExtensionStmt": objects.extension,
    "CreateRoleStmt": objects.create_role,
    **dict.fromkeys(("AlterRoleStmt", "AlterRoleSetStmt", "DropRoleStmt"), objects.role),
    **dict.fromkeys(
        ("CreatedbStmt", "AlterDatabaseStmt", "AlterDatabaseSetStmt", "AlterDatabaseRefreshCollStmt", "DropdbStmt", "AlterSystemStmt"), objects.database
    ),
    **dict.fromkeys(("DropOwnedStmt", "ReassignOwnedStmt"), objects.database),
    "AlterTableMoveAllStmt": objects.move_all,
    "VacuumStmt": objects.vacuum,
    "ClusterStmt": objects.cluster,
    "VariableSetStmt": objects.setting,
    "TransactionStmt": objects.transaction,
    **dict.fromkeys(("CommentStmt", "CreateExtensionStmt", "VariableShowStmt", "ConstraintsSetStmt"), objects.nothing),
}
"""Every statement that a rule knows."""

_LOCKS_NOBODY = frozenset(
    f"{each}Stmt" for each in ("Select", "Insert", "Update", "Delete", "Comment", "VariableSet", "VariableShow", "ConstraintsSet", "Transaction")
)
"""Statements whose locks let everybody read and write, but for the rows that they change."""


_ADDS = ("AlterTableStmt", "CreateStmt", "CreatePolicyStmt", "CreateTrigStmt", "IndexStmt")
"""What changes or refers to a table that is there; what takes rows or the whole of it away has to call it as it was made."""


def lint(text: str, file: str, phase: Phase, known: Known) -> list[Finding]:
    """The findings in one file; never raises."""
    try:
        parsed, faults = Source(text).readable()
    except Unreadable as error:
        parsed, faults = [], [error]
    found = [Finding(file, *fault.at, "not-understood", "error", f"cannot be read: {fault}") for fault in faults]
    if phase == "backfill":
        return found or _backfill(text, file, known, parsed)
    in_transaction = False
    for each in parsed:
        look, statement = Look(file, phase, known, text, each), inner(each.node)
        if kind(statement) in _ADDS and "search_path" not in text.lower():
            _as_made(known, statement)
        if in_transaction and _outside(statement):
            found.append(look.finding("concurrently-in-transaction", "PostgreSQL refuses this between BEGIN and COMMIT; leave these out"))
        found += judged(look, statement)
        if kind(statement) not in _LOCKS_NOBODY and not tables.only_validates(statement):
            known.locks(each.statement.offset)
        if kind(statement) == "TransactionStmt":
            in_transaction = statement.kind in (pb.TRANS_STMT_BEGIN, pb.TRANS_STMT_START) or (
                in_transaction and statement.kind in (pb.TRANS_STMT_SAVEPOINT, pb.TRANS_STMT_RELEASE, pb.TRANS_STMT_ROLLBACK_TO)
            )
    return found


def _as_made(known: Known, statement: Message) -> None:
    """Calls a new table as it was made: ``t`` is ``public.t`` where nothing says that names are looked up elsewhere."""
    for _, node in walk(statement):
        if kind(node) == "RangeVar" and node.schemaname in ("", "public") and not known.made(made.NAME, *relation(node)):
            other = changed(node, schemaname="" if node.schemaname else "public")
            if known.made(made.NAME, *relation(other)):
                node.CopyFrom(other)


def split(text: str) -> list[Statement]:
    """The statements that can be read, beside others that cannot. Raises ``Unreadable``."""
    return [each.statement for each in Source(text).readable()[0]]


def judged(look: Look, statement: Message) -> Iterator[Finding]:
    """What the rules say of one statement."""
    rule = STATEMENTS.get(kind(statement))
    if rule is None:
        yield look.finding(
            "not-understood",
            f"no rule knows this statement ({kind(statement).removesuffix('Stmt')}); see what it locks and changes, and allow it with that as the reason",
        )
    else:
        yield from rule(look, statement)


def _backfill(text: str, file: str, known: Known, parsed: list[Parsed]) -> list[Finding]:
    if not parsed:
        return [Finding(file, 1, 1, "backfill", "error", "there is no UPDATE in it; a migration without a backfill has no backfill.sql")]
    looks = [Look(file, "backfill", known, text, each) for each in parsed]
    more = [
        look.finding("backfill", "a second statement; a backfill is one UPDATE of one table: put the other into a migration of its own") for look in looks[1:]
    ]
    return [*rows.backfill(looks[0], inner(parsed[0].node)), *more]


def _outside(statement: Message) -> bool:
    """Whether PostgreSQL carries it out only outside of a transaction."""
    match kind(statement):
        case "IndexStmt" | "DropStmt":
            return bool(statement.concurrent)
        case "ReindexStmt":
            return options(statement.params).get("concurrently", False)
        case "VacuumStmt":
            return bool(statement.is_vacuumcmd)
        case "AlterTableStmt":
            return any(getattr(each.alter_table_cmd, "def").partition_cmd.concurrent for each in statement.cmds)
    return False
