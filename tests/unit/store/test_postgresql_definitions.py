from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from store_checks import refusal, run_sql

from pytest_mipro.records import Row
from pytest_mipro.store import Store

if TYPE_CHECKING:
    from database_server import Server

pytestmark = pytest.mark.uses("psycopg", "sqlalchemy")

FUNCTION = (
    "CREATE FUNCTION planted() RETURNS trigger LANGUAGE plpgsql AS "
    "'BEGIN NEW.value := ''{}''; RETURN NEW; END'"
)
EQUAL = (
    "CREATE FUNCTION equal(varchar, varchar) RETURNS boolean LANGUAGE sql AS 'SELECT true'",
    "CREATE OPERATOR = (LEFTARG = varchar, RIGHTARG = varchar, FUNCTION = equal)",
)
"""An operator that fits the columns better than PostgreSQL's own, which is of ``text``."""
MOVED = "ALTER TABLE rows RENAME TO rows_aside"
WRAPPER = (
    "CREATE FOREIGN DATA WRAPPER planted",
    "CREATE SERVER planted FOREIGN DATA WRAPPER planted",
)

PLANTED = {
    "a trigger planted": (
        FUNCTION,
        "CREATE TRIGGER planted BEFORE INSERT ON rows FOR EACH ROW EXECUTE FUNCTION planted()",
    ),
    "a rule planted": ("CREATE RULE planted AS ON INSERT TO rows DO ALSO DELETE FROM looks",),
    "row security on rows": (
        "ALTER TABLE rows ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY planted ON rows USING (key < 'm')",
    ),
    "a default of the column seal": ("ALTER TABLE rows ALTER seal SET DEFAULT now()::text",),
    "a default of the column id": ("ALTER TABLE about ALTER id SET DEFAULT 7",),
    "a default of the column extra": (
        "ALTER TABLE rows ADD extra text GENERATED ALWAYS AS (upper(value)) STORED",
    ),
    "a constraint planted": ("ALTER TABLE rows ADD CONSTRAINT planted CHECK (length(value) > 0)",),
    "an index of more than columns planted": ("CREATE INDEX planted ON rows (upper(value))",),
    "a type or an order of its own for the column value": (
        "CREATE DOMAIN planted AS text CHECK (length(VALUE) > 0)",
        "ALTER TABLE rows ALTER value TYPE planted",
    ),
    "an inheriting table of rows": ("CREATE TABLE planted () INHERITS (rows)",),
    "a partitioned table rows": (MOVED, "CREATE TABLE rows (key text) PARTITION BY LIST (key)"),
    "a foreign table rows": (*WRAPPER, MOVED, "CREATE FOREIGN TABLE rows (x int) SERVER planted"),
    "a view rows": (MOVED, "CREATE MATERIALIZED VIEW rows AS SELECT * FROM rows_aside"),
    "an operator =": EQUAL,
    "a function count": (
        "CREATE FUNCTION count(varchar) RETURNS bigint LANGUAGE sql AS 'SELECT 0::bigint'",
    ),
}


@pytest.fixture
def url(postgresql_url: str) -> str:
    """Return the URL of a database on a server."""
    return postgresql_url


@pytest.mark.parametrize("definition", PLANTED)
def test_what_no_store_has_is_refused(store: Store, url: str, definition: str) -> None:
    """It would run code as the user who opens the store, or hide or change records."""
    run_sql(url, *PLANTED[definition])
    message = refusal(url)

    assert store.name in message
    assert f"is a database of something else, it has {definition}, which no store has" in message


def test_a_search_path_before_the_catalog_is_refused(
    store: Store, url: str, postgresql: Server
) -> None:
    """The owner of a schema that comes first decides what every name stands for."""
    postgresql.execute("ALTER DATABASE test SET search_path = public, pg_catalog")
    try:
        assert "it has a search path that begins with public" in refusal(url)
    finally:
        postgresql.execute("ALTER DATABASE test RESET search_path")
    assert store.rows.get("k") is None


def test_another_application_may_have_all_of_it(store: Store, url: str) -> None:
    """A database may be shared: tables of other names may have what they need."""
    tables = "CREATE TABLE orders (key varchar DEFAULT now()::text CHECK (length(key) > 0))"
    trigger = "CREATE TRIGGER mine BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION planted()"
    kind = "CREATE TYPE colour AS ENUM ('red')"
    equal = "CREATE FUNCTION same(colour, text) RETURNS boolean LANGUAGE sql AS 'SELECT true'"
    operator = "CREATE OPERATOR = (LEFTARG = colour, RIGHTARG = text, FUNCTION = same)"
    view = "CREATE VIEW open_orders AS SELECT * FROM orders"
    run_sql(url, tables, FUNCTION, trigger, kind, equal, operator, view)
    store.rows.put(Row("k", 1.0))

    with closing(Store.open(url)) as again:
        assert again.rows.get("k") == Row("k", 1.0)
