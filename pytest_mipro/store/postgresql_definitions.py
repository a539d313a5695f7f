"""Find what a PostgreSQL database does beside keeping the tables of a store.

A trigger, a rule or a default of somebody else runs its code as the user of this connection, a
policy hides records, and a view need not end. So does an operator that fits the types of a query
better than PostgreSQL's own: the query here compares equal types of PostgreSQL alone, for which
its own operators come first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

from pytest_mipro.store import schema

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

_SYSTEM = "pg_catalog"
_FUNCTIONS = (
    *("count", "current_database", "current_schema", "set_config"),
    *("pg_advisory_unlock_all", "pg_advisory_xact_lock", "pg_try_advisory_lock"),
)
"""The functions that the store and SQLAlchemy call."""
_OPERATORS = ("=", "<>", "<", ">", "<=", ">=", "||", "~", "!~", "~~", "!~~")
"""The operators in their queries."""
_DEFINITIONS = text(r"""
    WITH system AS (
        SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = CAST('pg_catalog' AS name)
    ), ours AS (
        SELECT oid, relname, relkind, relrowsecurity FROM pg_catalog.pg_class
        WHERE relkind = ANY (CAST('{r,v,m,f,p}' AS "char"[]))
        AND relname = ANY (CAST(:tables AS name[])) AND pg_catalog.pg_table_is_visible(oid)
    )
    SELECT CASE WHEN relkind = ANY (CAST('{v,m}' AS "char"[])) THEN 'a view'
        WHEN relkind = CAST('f' AS "char") THEN 'a foreign table' ELSE 'a partitioned table'
        END, relname FROM ours WHERE relkind <> CAST('r' AS "char")
    UNION ALL SELECT 'row security on', relname FROM ours WHERE relrowsecurity
    UNION ALL SELECT 'a trigger', tgname
        FROM pg_catalog.pg_trigger JOIN ours ON tgrelid = ours.oid WHERE NOT tgisinternal
    UNION ALL SELECT 'a rule', rulename
        FROM pg_catalog.pg_rewrite JOIN ours ON ev_class = ours.oid
    UNION ALL SELECT 'an inheriting table of', relname
        FROM pg_catalog.pg_inherits JOIN ours ON inhparent = ours.oid OR inhrelid = ours.oid
    UNION ALL SELECT 'a constraint', conname
        FROM pg_catalog.pg_constraint JOIN ours ON conrelid = ours.oid
        WHERE contype <> ALL (CAST('{p,n}' AS "char"[]))
    UNION ALL SELECT 'a default of the column', attname
        FROM pg_catalog.pg_attrdef JOIN ours ON adrelid = ours.oid
        JOIN pg_catalog.pg_attribute ON attrelid = adrelid AND attnum = adnum
        WHERE pg_catalog.pg_get_expr(adbin, adrelid) !~ CAST(:serial AS text)
    UNION ALL SELECT 'a type or an order of its own for the column', attname
        FROM pg_catalog.pg_attribute JOIN ours ON attrelid = ours.oid
        JOIN pg_catalog.pg_type types ON types.oid = atttypid
        LEFT JOIN pg_catalog.pg_collation collations ON collations.oid = attcollation
        WHERE attnum > CAST(0 AS smallint) AND NOT attisdropped AND (
            typnamespace <> (SELECT oid FROM system)
            OR collnamespace <> (SELECT oid FROM system)
        )
    UNION ALL SELECT 'an index of more than columns', indexes.relname
        FROM pg_catalog.pg_index JOIN ours ON indrelid = ours.oid
        JOIN pg_catalog.pg_class indexes ON indexes.oid = indexrelid
        WHERE indexprs IS NOT NULL OR indpred IS NOT NULL
    UNION ALL SELECT 'a function', proname
        FROM pg_catalog.pg_proc WHERE proname = ANY (CAST(:functions AS name[]))
        AND pronamespace <> (SELECT oid FROM system) AND pg_catalog.pg_function_is_visible(oid)
    UNION ALL SELECT 'an operator', oprname
        FROM pg_catalog.pg_operator operators
        JOIN pg_catalog.pg_type lefts ON lefts.oid = oprleft
        JOIN pg_catalog.pg_type rights ON rights.oid = oprright
        WHERE oprname = ANY (CAST(:operators AS name[]))
        AND oprnamespace <> (SELECT oid FROM system)
        AND lefts.typnamespace = (SELECT oid FROM system)
        AND rights.typnamespace = (SELECT oid FROM system)
        AND pg_catalog.pg_operator_is_visible(operators.oid)
""")


def foreign_definition(connection: Connection, path: Sequence[str]) -> str:
    """Return what no store has, such as ``a trigger audit``; empty if there is nothing.

    Other applications may have tables of other names in the same database, with what they need.

    Args:
        connection: A connection to the database.
        path: The schemas in which it looks for a name, which decide what this query is.
    """
    if path[0] != _SYSTEM:
        return f"a search path that begins with {path[0]}"
    names = {
        "tables": [*schema.METADATA.tables],
        "functions": [*_FUNCTIONS],
        "operators": [*_OPERATORS],
        # PostgreSQL numbers the column that is the key; it never has to.
        "serial": r"^nextval\('about_id_seq[0-9]*'::regclass\)$",
    }
    definition = connection.execute(_DEFINITIONS, names).first()
    return "" if definition is None else " ".join(definition)
