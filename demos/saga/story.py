"""The saga demo, told and checked."""

import json
from pathlib import Path
from typing import Any

from demos.machinery import Machinery
from demos.story import claim, steps_of, tell

GRAPH = Path(__file__).parent / "graph.json"
UNTOUCHED = {"LH 4711": 9, "Aurora": 5, "ada-1": 100, "ada-2": 5000, "bob-1": 5000, "cleo-1": 5000}
PRICE = 480


def play(machinery: Machinery, yes: bool) -> None:
    """Three trips: a second card, a blocked card, no ticket. Disproved if any goes otherwise."""
    graph_id = machinery.api.post("/graph/create", json.loads(GRAPH.read_text()))["graph_id"]
    tell("A trip is a flight, a hotel, a payment and a ticket: four steps that commit one by one.")
    tell("Seats, rooms and cards are tables. What a failed trip has taken must be given back.")

    ada = _trip(machinery, graph_id, "ada", "completed")
    claim(
        "ada's card is declined; she is asked once for another one, which is charged",
        steps_of(ada) == ["flight", "hotel", "other_card", "pay", "ticket"]
        and [event["error"]["type"] for event in ada["history"] if event["kind"] == "step_failed"]
        == ["CardDeclined"],
    )
    taken = UNTOUCHED | {"LH 4711": 8, "Aurora": 4, "ada-2": 5000 - PRICE}
    claim("one seat, one room and the price are taken, and no more", _world(machinery) == taken)
    claim("and there is one ticket", _tickets(machinery) == ["ada"])

    bob = _trip(machinery, graph_id, "bob", "failed")
    _show_log(machinery, bob)
    claim(
        "bob's card is blocked, for which the graph has no edge: the hotel is undone, then the flight",
        _undone(bob) == ["hotel", "flight"],
    )
    claim("seats, rooms and cards are as they were before bob", _world(machinery) == taken)

    cleo = _trip(machinery, graph_id, "cleo", "failed")
    _show_log(machinery, cleo)
    claim(
        "cleo has paid and gets no ticket: payment, hotel and flight are undone, the newest first",
        _undone(cleo) == ["pay", "hotel", "flight"] and cleo["error"]["type"] == "PassportExpired",
    )
    claim(
        "seats, rooms and cards are as they were, her money is back, and she has no ticket",
        _world(machinery) == taken and _tickets(machinery) == ["ada"],
    )


def _trip(machinery: Machinery, graph_id: str, traveller: str, status: str) -> Any:
    state = {"traveller": traveller, "card": f"{traveller}-1", "price": PRICE}
    run = machinery.api.post("/graph/run", {"graph_id": graph_id, "initial_state": state})
    return machinery.settled(run["run_id"], status)


def _undone(document: Any) -> list[str]:
    return [event["node"] for event in document["history"] if event["kind"] == "step_undone"]


def _show_log(machinery: Machinery, document: Any) -> None:
    rows = machinery.rows("select entry from trips.log where run_id = %s order by id", document["run_id"])
    tell(f"    the log of {document['input']['traveller']}: {', '.join(row['entry'] for row in rows)}")


def _tickets(machinery: Machinery) -> list[str]:
    return [row["traveller"] for row in machinery.rows("select traveller from trips.tickets order by id")]


def _world(machinery: Machinery) -> dict[str, int]:
    rows = machinery.rows(
        """
        select code as name, seats as n from trips.flights
        union all select name, rooms from trips.hotels
        union all select number, balance from trips.cards
        """
    )
    return {row["name"]: int(row["n"]) for row in rows}
