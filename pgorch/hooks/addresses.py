"""Which addresses may be sent to: naming a receiver must not open what only our own network can reach."""

import asyncio
import ipaddress
import socket
from typing import Final

# What the registries of the IANA have for special use. Written down because the answers of the standard
# library differ between its versions.
_SPECIAL_V4: Final = tuple(
    ipaddress.IPv4Network(network)
    for network in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
        "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15",
        "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/3",
    )
)  # fmt: skip
# Of IPv6 one range is handed out to the public; these parts of it are not, or lead to an IPv4 address.
_PUBLIC_V6: Final = ipaddress.IPv6Network("2000::/3")
_SPECIAL_V6: Final = tuple(
    ipaddress.IPv6Network(network) for network in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")
)
# In these the last four bytes are the IPv4 address that is meant.
_CARRY_V4: Final = (ipaddress.IPv6Network("::ffff:0:0/96"), ipaddress.IPv6Network("64:ff9b::/96"))


class Refused(Exception):
    """The address is not one to send to."""


def is_public(address: str) -> bool:
    """Can anybody on the internet reach it? `address` is an IP address, with or without a zone."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        if not any(ip in network for network in _CARRY_V4):
            return ip in _PUBLIC_V6 and not any(ip in network for network in _SPECIAL_V6)
        ip = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return not any(ip in network for network in _SPECIAL_V4)


async def checked_addresses(host: str, port: int, *, allow_private: bool) -> list[str]:
    """The IP addresses of a host, looked up once: who connects to one of them reaches what was checked.

    Raises Refused if any of them is not public, and OSError if there is none.
    """
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(address[0]) for *_, address in found))
    for address in addresses:
        if not (allow_private or is_public(address)):
            raise Refused(f"{host} is {address}, which is no public address: allow_private would allow it")
    return addresses
