"""Waiting for a run."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from pgorch.client import AsyncClient, Client, Run
from pgorch.errors import (
    ConfigError,
    NotFound,
)
from tests.support.races import wait_until

Connection = psycopg.Connection[dict[str, Any]]


def sessions_waiting(connection: Connection) -> int:
    row = connection.execute(
        "select count(*) as n from pg_stat_activity a"
        " where a.datname = current_database() and a.application_name = 'pgorch client waiting'"
        " and a.state = 'idle' and a.query like '%watch_run%'"
    ).fetchone()
    assert row is not None
    return int(row["n"])


def test_waiting_ends_at_once_for_a_run_that_is_at_rest(client: Client) -> None:
    run_id = client.start("asking")
    assert client.wait(run_id, timeout=30).status == "awaiting_approval"
    client.approve(run_id)
    assert client.wait(run_id, timeout=30).status == "completed"


def test_somebody_who_waits_sees_the_end(client: Client, connection: Connection) -> None:
    run_id = client.start("asking")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.wait, run_id, timeout=60, through_approvals=True)
        wait_until(lambda: sessions_waiting(connection) == 1)
        client.approve(run_id)
        run: Run = waiting.result(60)
    assert run.status == "completed"


async def test_a_task_that_waits_sees_the_end(
    async_client: AsyncClient, client: Client, connection: Connection
) -> None:
    run_id = client.start("asking")
    waiting = asyncio.create_task(async_client.wait(run_id, timeout=60, through_approvals=True))
    await asyncio.to_thread(wait_until, lambda: sessions_waiting(connection) == 1)
    await async_client.reject(run_id)
    assert (await waiting).status == "failed"


async def test_time_is_over_with_a_timeout_error(client: Client, async_client: AsyncClient) -> None:
    run_id = client.start("asking")
    with pytest.raises(TimeoutError, match=f"{run_id} .* 0.05 seconds"):
        client.wait(run_id, timeout=0.05, through_approvals=True)
    with pytest.raises(TimeoutError):
        await async_client.wait(run_id, timeout=0.05, through_approvals=True)


def test_a_run_that_is_not_there_is_not_waited_for(client: Client) -> None:
    with pytest.raises(NotFound):
        client.wait(uuid4(), timeout=30)


def test_nobody_can_wait_inside_a_transaction(connection: Connection) -> None:
    with pytest.raises(ConfigError, match="cannot wait"):
        Client(connection=connection).wait(uuid4())
