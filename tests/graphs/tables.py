"""Tables of a user beside pgorch, for waits on their rows."""

from tests.graphs.graphs import Graphs

# The engine has its own; it takes this one's place where a test is about triggers only.
STAND_IN = """
    do $$ begin
        if to_regproc('pgorch._row_changed') is null then
            create function pgorch._row_changed() returns trigger language plpgsql
                as 'begin return null; end';
        end if;
    end $$
"""

TABLES = """
    create schema shop;
    create table shop.orders (id text primary key, status text, "Total Price" numeric);
    create table shop.lines (order_id text, line integer, primary key (order_id, line));
    create table shop.events (id bigint, kind text, primary key (id)) partition by range (id);
    create table shop.events_low partition of shop.events for values from (0) to (1000);
    create table shop."Odd Name" (id integer primary key);
    create view shop.open_orders as select * from shop.orders
"""


def make_tables(graphs: Graphs) -> None:
    graphs.connection.execute(STAND_IN)
    graphs.connection.execute(TABLES)
