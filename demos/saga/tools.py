"""The tools that book a trip, and those that undo it.

All are transactional here, because flights, hotels and cards are tables of the same database: a seat is taken
in the transaction that records that it was. A tool that calls somebody else's system would send him
`ctx.idempotency_key` instead.
"""

from pathlib import Path
from typing import Any

from psycopg import Connection

from pgorch import Context, tool

HERE = Path(__file__).parent
_SETUP_LOCK = 0x7472697073  # "trips"


class SoldOut(Exception):
    """There is nothing left; trying again does not help."""

    retryable = False


class CardDeclined(Exception):
    """The card has not enough on it; another one may."""


class CardBlocked(Exception):
    """The card was reported stolen; no other is taken from whoever shows it."""

    retryable = False


class PassportExpired(Exception):
    """No ticket is issued on an expired passport."""

    retryable = False


@tool(transactional=True)
def book_flight(ctx: Context, flight: str = "LH 4711") -> dict[str, Any]:
    """Take a seat on a flight."""
    connection = ctx.connection
    # Two first runs at once must not both create the tables.
    connection.execute("select pg_advisory_xact_lock(%s)", [_SETUP_LOCK])
    connection.execute((HERE / "tables.sql").read_bytes())
    _take(connection, "update trips.flights set seats = seats - 1 where code = %s and seats > 0", flight)
    _log(ctx, "flight booked")
    return {"flight": flight}


@tool(transactional=True)
def cancel_flight(flight: str, ctx: Context) -> None:
    """Give the seat back."""
    ctx.connection.execute("update trips.flights set seats = seats + 1 where code = %s", [flight])
    _log(ctx, "flight cancelled")


@tool(transactional=True)
def book_hotel(ctx: Context, hotel: str = "Aurora") -> dict[str, Any]:
    """Take a room."""
    _take(ctx.connection, "update trips.hotels set rooms = rooms - 1 where name = %s and rooms > 0", hotel)
    _log(ctx, "hotel booked")
    return {"hotel": hotel}


@tool(transactional=True)
def cancel_hotel(hotel: str, ctx: Context) -> None:
    """Give the room back."""
    ctx.connection.execute("update trips.hotels set rooms = rooms + 1 where name = %s", [hotel])
    _log(ctx, "hotel cancelled")


@tool(transactional=True)
def charge_card(card: str, price: float, ctx: Context) -> dict[str, Any]:
    """Take the price from a card.

    Args:
        card: The number of the card.
        price: What the trip costs.
    """
    found = ctx.connection.execute(
        "select balance, blocked from trips.cards where number = %s for update", [card]
    ).fetchone()
    if found is None or found[1]:
        raise CardBlocked(f"The card {card} is blocked.")
    if found[0] < price:
        raise CardDeclined(f"The card {card} has {found[0]}, less than {price}.")
    ctx.connection.execute("update trips.cards set balance = balance - %s where number = %s", [price, card])
    _log(ctx, f"{price:g} taken from {card}")
    return {"charged": {"card": card, "price": price}}


@tool(transactional=True)
def refund_card(charged: dict[str, Any], ctx: Context) -> None:
    """Give back what was taken, to the card that it was taken from.

    Args:
        charged: What charging the card had returned.
    """
    ctx.connection.execute(
        "update trips.cards set balance = balance + %s where number = %s", [charged["price"], charged["card"]]
    )
    _log(ctx, f"{charged['price']:g} given back to {charged['card']}")


@tool(transactional=True)
def ask_other_card(traveller: str, card: str, ctx: Context) -> dict[str, Any]:
    """Ask the traveller for another card. He has an app that answers at once, with any that he has."""
    found = ctx.connection.execute(
        "select number from trips.cards where holder = %s and number <> %s order by number",
        [traveller, card],
    ).fetchone()
    _log(ctx, "asked for another card")
    return {"card": found[0] if found else card}


@tool(transactional=True)
def issue_ticket(traveller: str, ctx: Context) -> dict[str, Any]:
    """Issue the ticket, if the traveller has a passport that is valid."""
    valid = ctx.connection.execute(
        "select not expired from trips.passports where holder = %s", [traveller]
    ).fetchone()
    if not valid or not valid[0]:
        raise PassportExpired(f"The passport of {traveller} has expired.")
    ctx.connection.execute(
        "insert into trips.tickets (run_id, traveller) values (%s, %s)", [ctx.run_id, traveller]
    )
    _log(ctx, "ticket issued")
    return {"ticket": f"for {traveller}"}


def _take(connection: Connection[Any], statement: str, what: str) -> None:
    if connection.execute(statement.encode(), [what]).rowcount == 0:
        raise SoldOut(f"{what} is sold out.")


def _log(ctx: Context, entry: str) -> None:
    ctx.connection.execute("insert into trips.log (run_id, entry) values (%s, %s)", [ctx.run_id, entry])
