"""What the parts of both clients have in common: how they ask the database."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager

from psycopg_pool import PoolClosed, PoolTimeout, TooManyRequests

from pgorch.database.queries import Queries, SyncQueries
from pgorch.errors import ConfigError, DatabaseUnavailable


class Part(ABC):
    """A part of `Client`."""

    @abstractmethod
    def _queries(self) -> AbstractContextManager[SyncQueries]:
        """The functions of the database, for one call."""


class AsyncPart(ABC):
    """A part of `AsyncClient`."""

    @abstractmethod
    def _queries(self) -> AbstractAsyncContextManager[Queries]:
        """The functions of the database, for one call."""


@contextmanager
def pool_translated() -> Iterator[None]:
    """Errors of a caller's pool, as pgorch's."""
    try:
        yield
    except PoolClosed as error:
        raise ConfigError(f"The pool is not open: {error}", hint="Open it first: pool.open()") from error
    except (PoolTimeout, TooManyRequests) as error:
        raise DatabaseUnavailable(
            f"The pool has no connection to give: {error}",
            hint="Is the database away, or the pool too small? pool.get_stats() tells.",
        ) from error
