"""Which database: the one place that knows the order in which settings are looked at."""

import os
import re
from collections.abc import Mapping

from pgorch.errors import ConfigError

_LIBPQ = ("PGHOST", "PGHOSTADDR", "PGSERVICE", "PGDATABASE")


def resolve_dsn(explicit: str | None = None, *, environment: Mapping[str, str] | None = None) -> str | None:
    """The DSN of the first of these that is set: `explicit`, PGORCH_DSN, DATABASE_URL, libpq's own variables
    (PGHOST, PGHOSTADDR, PGSERVICE or PGDATABASE). None if none is: then there is no database but an embedded
    one.

    For libpq's variables it is the empty DSN, "": libpq reads them itself. Raises ConfigError if what is set
    names another kind of database.
    """
    environment = os.environ if environment is None else environment
    named = {
        "The DSN": explicit,
        "PGORCH_DSN": environment.get("PGORCH_DSN"),
        "DATABASE_URL": environment.get("DATABASE_URL"),
    }
    for name, value in named.items():
        if value and value.strip():
            return _readable(value.strip(), name)
    return "" if any(environment.get(name) for name in _LIBPQ) else None


def resolve_direct_dsn(
    explicit: str | None = None, *, dsn: str | None = None, environment: Mapping[str, str] | None = None
) -> str | None:
    """The DSN of the same database without the pooler, for what needs a session of its own: `explicit`, else
    PGORCH_DIRECT_DSN. None if there is none.

    `dsn`: the DSN that was given by hand, if one was: PGORCH_DIRECT_DSN belongs to that of the environment.
    """
    environment = os.environ if environment is None else environment
    name, value = "The direct DSN", explicit
    if not value and not dsn:
        name, value = "PGORCH_DIRECT_DSN", environment.get("PGORCH_DIRECT_DSN")
    return _readable(value.strip(), name) if value and value.strip() else None


def _readable(dsn: str, name: str) -> str:
    scheme = re.match(r"([a-z][a-z0-9]*)(\+[a-z0-9_]+)?://", dsn, re.IGNORECASE)
    if scheme is None:
        return dsn
    if scheme[1].lower() not in ("postgres", "postgresql"):
        raise ConfigError(
            f"{name} names a database of the kind {scheme[1]}; pgorch lives in PostgreSQL.",
            hint="Set PGORCH_DSN to postgresql://user@host:5432/database",
        )
    # SQLAlchemy writes its driver into the scheme, postgresql+psycopg://, which libpq does not know.
    return f"postgresql://{dsn[scheme.end() :]}"
