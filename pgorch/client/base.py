"""What the parts of both clients have in common: how they ask the database."""

from abc import ABC, abstractmethod
from contextlib import AbstractAsyncContextManager, AbstractContextManager

from pgorch.database.queries import Queries, SyncQueries


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
