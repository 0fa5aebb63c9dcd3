"""Which addresses only this machine can reach."""

import ipaddress
from typing import Final

# Under these names a browser on this machine reaches a loopback address, and no other site can be at them.
LOOPBACK_NAMES: Final = frozenset({"127.0.0.1", "localhost", "::1", "[::1]"})


def is_loopback(host: str) -> bool:
    """Is that an address to listen on that nobody outside can reach? Of names only localhost is."""
    if host in LOOPBACK_NAMES:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
