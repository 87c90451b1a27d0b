"""Whether the address of a service is on this machine."""

import ipaddress
from urllib.parse import urlsplit


def is_external(address: str) -> bool:
    """Whether what is sent may leave this machine: the host isn't loopback."""
    host = urlsplit(address).hostname or ""
    try:
        return host != "localhost" and not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return True
