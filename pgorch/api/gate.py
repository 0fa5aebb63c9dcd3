"""Who makes a request: the bearer of a key, or anybody where no keys are asked for."""

import asyncio
import hashlib
import hmac
import logging
import re
import time
from dataclasses import dataclass
from typing import Final

import psycopg
from starlette.authentication import AuthCredentials, AuthenticationBackend, AuthenticationError
from starlette.requests import HTTPConnection
from starlette.responses import Response

from pgorch.api.access import NOBODY, Caller
from pgorch.api.connections import Connections
from pgorch.api.problems import Problem, problem_of
from pgorch.database.queries import Queries
from pgorch.errors import PgorchError

logger = logging.getLogger("pgorch.api")

# A key that was looked up is believed for so long. Streams ask again as often, so a revoked key ends within
# twice this time: TECHNICAL_DOCS.md promises five seconds.
BELIEVED_SECONDS: Final = 2.0
_PAUSE_SECONDS: Final = 5.0
_CREDENTIALS: Final = re.compile(rb"\s*(?i:bearer) +pgo_([0-9a-f]{12})_([A-Za-z0-9_-]{43})\s*")
_ANY_KEY: Final = "select exists (select from pgorch.key_list k where k.status = 'valid')"
_REALM: Final = 'Bearer realm="pgorch"'
_HINT: Final = (
    "Send Authorization: Bearer KEY. Who runs this server makes keys: pgorch keys create NAME --role ROLE"
)


class Refused(AuthenticationError):
    """Carries a problem through Starlette's middleware."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


def refusal(connection: HTTPConnection, error: AuthenticationError) -> Response:
    """The answer to a request that does not get through."""
    assert isinstance(error, Refused)
    return error.problem.response()


class Gate(AuthenticationBackend):
    """Lets everybody through, as the user of the API's own database session."""

    def open(self) -> None:
        """Called in the event loop before the first request."""

    async def close(self) -> None:
        """Called after the last request."""

    async def identify(self, connection: HTTPConnection) -> Caller:
        """Who makes the request. Raises Problem (401) if that is nobody, and DatabaseUnavailable or
        SchemaMismatch if it cannot be found out."""
        return NOBODY

    async def still_lets_through(self, connection: HTTPConnection) -> bool:
        """Asked by what goes on for long after it was let through. While it cannot be found out: yes."""
        try:
            await self.identify(connection)
        except Problem:
            return False
        except (psycopg.Error, PgorchError, OSError):
            pass
        return True

    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, Caller]:
        try:
            caller = await self.identify(conn)
        except Exception as error:
            raise Refused(problem_of(error)) from error
        return _NO_SCOPES, caller


_NO_SCOPES: Final = AuthCredentials()


@dataclass(frozen=True, slots=True)
class _Known:
    """A key that was looked up. `until`: on the monotonic clock."""

    digest: bytes
    caller: Caller
    until: float


class KeyGate(Gate):
    """Lets the bearers of keys through.

    Keys are looked up on a connection of its own: whoever tries many takes none from the requests of others.
    Only keys that work are remembered, so there are never more of them than in the database.
    """

    def __init__(self, dsn: str, wait_seconds: float) -> None:
        self._connections = Connections(dsn, 1, wait_seconds)
        self._known: dict[str, _Known] = {}
        self._looking: asyncio.Task[None] | None = None

    def open(self) -> None:
        self._looking = asyncio.create_task(self._say_if_there_is_no_key())

    async def close(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
        await self._connections.close()

    async def identify(self, connection: HTTPConnection) -> Caller:
        given = [value for name, value in connection.scope["headers"] if name == b"authorization"]
        if not given:
            raise Problem(
                "unauthenticated", "This needs a key.", hint=_HINT, headers={"www-authenticate": _REALM}
            )
        credentials = _CREDENTIALS.fullmatch(given[0]) if len(given) == 1 else None
        caller = None
        if credentials is not None:
            key_id, digest = credentials[1].decode(), hashlib.sha256(credentials[2]).digest()
            known = self._believed(key_id) or await self._look_up(key_id, digest)
            # Whoever holds another secret of this key holds none.
            if known is not None and hmac.compare_digest(known.digest, digest):
                caller = known.caller
        if caller is None:
            raise Problem(
                "unauthenticated",
                "The key does not work: it is unknown, expired or revoked.",
                hint=_HINT,
                headers={"www-authenticate": f'{_REALM}, error="invalid_token"'},
            )
        return caller

    def _believed(self, key_id: str) -> _Known | None:
        known = self._known.get(key_id)
        return known if known is not None and time.monotonic() < known.until else None

    async def _look_up(self, key_id: str, digest: bytes) -> _Known | None:
        async with self._connections.borrow() as connection:
            # Of many who came at once, the first has looked it up for the others.
            known = self._believed(key_id)
            if known is not None:
                return known
            asked_at = time.monotonic()
            found = await Queries(connection).api_principal(key_id, digest)
            if found is None:
                return None
            believed = (
                BELIEVED_SECONDS if found.expires_in is None else min(BELIEVED_SECONDS, found.expires_in)
            )
            known = _Known(digest, Caller(found.principal, tuple(found.roles)), asked_at + believed)
            self._known[key_id] = known
            return known

    async def _say_if_there_is_no_key(self) -> None:
        while True:
            try:
                async with self._connections.borrow() as connection:
                    row = await (await connection.execute(_ANY_KEY)).fetchone()
            except (psycopg.Error, PgorchError, OSError):
                # The database or its schema may come later than this process.
                await asyncio.sleep(_PAUSE_SECONDS)
                continue
            if not (row and row[0]):
                logger.warning(
                    "No API key works, so every request is answered with 401."
                    " Make one with: pgorch keys create NAME --role admin"
                )
            return
