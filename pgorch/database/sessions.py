"""What the server knows of sessions that keep us waiting.

A dead peer can look like a slow one: the network keeps quiet, or a proxy in between still takes what we send.
A session that the server does not have, or that waits for us, will never answer.
"""

from collections.abc import Sequence
from typing import Any, Final, LiteralString

from psycopg import AsyncConnection

GONE: Final = "gone"
_ASK: Final[LiteralString] = """
    select a.pid, case when a.state = 'active' then '' else a.state_change::text end, pg_backend_pid()
    from pg_stat_activity a where a.pid = any(%s) or a.pid = pg_backend_pid()
"""


async def waiting_sessions(connection: AsyncConnection[Any], pids: Sequence[int]) -> dict[int, str] | None:
    """Each of the sessions: "" if it works for us, GONE, or since when it waits for us. None behind a pooler,
    where the numbers that we know are not those of sessions."""
    rows = await (await connection.execute(_ASK, [list(pids)], prepare=False)).fetchall()
    known = {row[0]: row[1] for row in rows}
    if any(row[2] != connection.info.backend_pid for row in rows):
        return None
    return {pid: GONE if pid not in known else known[pid] or "" for pid in pids}
