"""Addresses of services: whether one is well formed, holds no key, and stands on this machine."""

import ipaddress
from urllib.parse import urlsplit

from orapo.errors import SettingError


def require_address(key: str, address: object) -> None:
    """Refuses anything but http://HOST... and https://HOST... without a user, password or query.

    Raises:
        SettingError: it is something else; a password isn't repeated.
    """
    parts = urlsplit(address if isinstance(address, str) else "")
    if parts.username or parts.password or parts.query:
        raise SettingError(f"{key} holds a user, password or query; keys belong in the environment")
    if not (parts.scheme in ("http", "https") and parts.hostname):
        raise SettingError(f"{key} is {address!r}; allowed: http://HOST... or https://HOST...")


def is_external(address: str) -> bool:
    """True where what is sent may leave this machine: the host isn't loopback."""
    host = urlsplit(address).hostname or ""
    try:
        return host != "localhost" and not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return True
