"""The tools of the wire transfer. All are transactional: what they write commits with their checkpoint."""

from pathlib import Path
from typing import Any

from pgorch import Context, tool

HERE = Path(__file__).parent
_SETUP_LOCK = 0x7472616E73666572  # "transfer"


@tool(transactional=True)
def draft_transfer(invoice: int, ctx: Context) -> dict[str, Any]:
    """Draft the transfer that pays an invoice.

    Args:
        invoice: The number of the invoice.
    """
    # Two first runs at once must not both create the tables.
    ctx.connection.execute("select pg_advisory_xact_lock(%s)", [_SETUP_LOCK])
    ctx.connection.execute((HERE / "tables.sql").read_bytes())
    found = ctx.connection.execute(
        "select payee, amount from transfers.invoices where number = %s", [invoice]
    ).fetchone()
    if found is None:
        raise LookupError(f"There is no invoice {invoice}.")
    return {"payee": found[0], "amount": float(found[1])}


@tool
def revise_transfer(amount: float, reason: str) -> dict[str, Any]:
    """Put right what was rejected: whoever rejects says the right amount, and why.

    Args:
        amount: The right amount.
        reason: Why the transfer was rejected.
    """
    return {"amount": amount, "revised": reason}


@tool(transactional=True)
def send_wire(payee: str, amount: float, note: str, ctx: Context) -> dict[str, Any]:
    """Send the money: here it is a row in a table."""
    ctx.connection.execute(
        "insert into transfers.sent (run_id, payee, amount, note) values (%s, %s, %s, %s)",
        [ctx.run_id, payee, amount, note],
    )
    return {"outcome": "sent"}


@tool
def cancel_transfer() -> dict[str, Any]:
    """Send nothing."""
    return {"outcome": "cancelled"}
