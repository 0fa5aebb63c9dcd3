"""Fifty people who answer one question at the same moment, over HTTP and in SQL, with both answers."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from uuid import UUID

import httpx
import psycopg

from tests.support.races import open_connection

_DECIDE = "select pgorch.decide(p_run_id => %s, p_decision => %s, p_actor => %s)"


@dataclass
class Decided:
    """For each question who won, and with what; and how often the others were told what."""

    winners: list[tuple[str, str]] = field(default_factory=list)
    refusals: Counter[str] = field(default_factory=Counter)
    unnamed: int = 0


class Deciders:
    """Clients of the API and sessions of the database, as many as are named."""

    def __init__(self, dsn: str, urls: list[str], over_http: int, in_sql: int) -> None:
        self._clients = [
            httpx.AsyncClient(base_url=urls[at % len(urls)], timeout=60) for at in range(over_http)
        ]
        self._sessions = [open_connection(dsn) for _ in range(in_sql)]
        self.seen = Decided()

    async def close(self) -> None:
        for client in self._clients:
            await client.aclose()
        for session in self._sessions:
            session.close()

    async def decide(self, run_id: UUID) -> None:
        """All of them at once. Exactly one is to win; who loses is to be told who won."""
        gate = asyncio.Event()
        calls = [
            *(self._over_http(gate, client, run_id, at) for at, client in enumerate(self._clients)),
            *(self._in_sql(gate, session, run_id, at) for at, session in enumerate(self._sessions)),
        ]
        tasks = [asyncio.create_task(call) for call in calls]
        await asyncio.sleep(0)
        gate.set()
        answers = await asyncio.gather(*tasks)
        won = [(who, decision) for who, decision, problem in answers if problem is None]
        assert len(won) == 1, f"{len(won)} of {len(answers)} have won: {won}"
        self.seen.winners += won
        for _, _, problem in answers:
            if problem is not None:
                self.seen.refusals[problem.partition(" ")[0]] += 1
                self.seen.unnamed += won[0][1] not in problem

    async def _over_http(
        self, gate: asyncio.Event, client: httpx.AsyncClient, run_id: UUID, at: int
    ) -> tuple[str, str, str | None]:
        decision = "approved" if at % 2 else "rejected"
        await gate.wait()
        response = await client.post(f"/v1/runs/{run_id}/decide", json={"decision": decision})
        problem = None if response.is_success else f"{response.status_code} {response.text}"
        return f"client {at}", decision, problem

    async def _in_sql(
        self, gate: asyncio.Event, session: psycopg.Connection[dict[str, object]], run_id: UUID, at: int
    ) -> tuple[str, str, str | None]:
        decision = "approved" if at % 2 else "rejected"
        await gate.wait()

        def execute() -> str | None:
            try:
                session.execute(_DECIDE.encode(), [run_id, decision, f"user-{at}"])
            except psycopg.Error as problem:
                return f"{problem.sqlstate} {problem.diag.message_primary}"
            return None

        return f"session {at}", decision, await asyncio.to_thread(execute)
