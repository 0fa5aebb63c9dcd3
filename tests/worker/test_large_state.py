"""A state that is stored out of its row is sent to a worker once: what follows is what was written since."""

import hashlib
from typing import Any

from tests.support.engine import chain
from tests.worker.conftest import Place

# Does not compress.
BIG = {f"key{n}": hashlib.sha256(str(n).encode()).hexdigest() for n in range(100)}


async def test_every_step_sees_all_that_was_written_before_it(place: Place) -> None:
    names = [f"n{number}" for number in range(40)]
    seen: dict[str, dict[str, Any]] = {}

    def declare(name: str) -> None:
        @place.tool(name=name)
        async def tool(state: dict[str, Any]) -> dict[str, Any]:
            seen[name] = {**state, "many": list(state.get("many", []))}
            state.setdefault("many", []).append("not written")
            return {name: name * 100, "last": name, "many": [name]}

    for name in names:
        declare(name)
    await place.work()
    run_id = place.start(place.create(chain(" ".join(names))), BIG)
    assert (await place.ended(run_id))["status"] == "completed"
    written: dict[str, Any] = {}
    for name in names:
        assert seen[name] == {"many": [], **BIG, **written}
        written |= {name: name * 100, "last": name, "many": [name]}
    assert place.value("select r.state from pgorch.run_list r where r.run_id = %s", run_id) == BIG | written
    assert place.value("select snapshot is not null from pgorch.runs where id = %s", run_id), "never folded"


async def test_conditions_see_what_was_written_and_what_was_there(place: Place) -> None:
    @place.tool
    async def a() -> dict[str, Any]:
        return {"count": 1}

    @place.tool
    async def b() -> dict[str, Any]:
        return {"count": 2}

    @place.tool
    async def wrong() -> None: ...

    @place.tool
    async def c(count: int, key7: str) -> dict[str, Any]:
        return {"seen": [count, key7]}

    await place.work()
    edges = [
        ("a>wrong", {"condition": "!exists($.key99)"}),
        ("a>b", {"condition": f'$.count == 1 && $.key99 == "{BIG["key99"]}"'}),
        ("b>wrong", {"condition": "$.count == 1"}),
        ("b>c", {"condition": {"count": 2, "key5": BIG["key5"]}}),
    ]
    run_id = place.start(place.graph("a b c wrong", edges), BIG)
    assert (await place.ended(run_id))["status"] == "completed"
    assert place.value("select r.state -> 'seen' from pgorch.run_list r where r.run_id = %s", run_id) == [
        2, BIG["key7"],
    ]  # fmt: skip


async def test_who_asks_for_more_than_can_be_delivered_asks_for_less(place: Place) -> None:
    """What delivers too much is, here, a claim of more than three steps."""
    place.connection.execute(
        """create function too_many() returns trigger language plpgsql as $$
           begin
               if (select count(*) from leased where worker_id is not null) > 3 then
                   raise query_canceled using message = 'canceling statement due to statement timeout';
               end if;
               return null;
           end $$;
           create trigger too_many after update on pgorch.steps referencing new table as leased
           for each statement execute function too_many()"""
    )

    @place.tool
    async def a() -> None: ...

    try:
        runs = place.start_many(place.graph("a"), [{}] * 20)
        await place.work()
        for run_id in runs:
            assert (await place.ended(run_id))["status"] == "completed"
    finally:
        # Other tests use this database after us.
        place.connection.execute("drop function too_many() cascade")
