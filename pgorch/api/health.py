"""Is the process alive, and can it serve?"""

from typing import Any

from starlette.requests import Request

from pgorch.api.services import Services
from pgorch.database.migrations import check_schema_async


async def live(services: Services, request: Request) -> Any:
    """The process answers. It says nothing of the database: a restart would not mend that."""
    return {"status": "ok"}


async def ready(services: Services, request: Request) -> Any:
    """The database answers and its schema fits; else a problem of status 503."""
    async with services.connections.borrow() as connection:
        await check_schema_async(connection)
    return {"status": "ok"}
