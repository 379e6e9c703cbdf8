"""Connections to servers outside of AWS: they trust what the machine trusts, and go by way of its proxies."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]

import urllib3


class Web:
    """Pools of connections, one for each proxy.

    Args:
        environment: the process environment, of which proxies and certificates are taken.
        at_once: how many connections to one server are kept open.
    """

    def __init__(self, environment: Mapping[str, str], *, at_once: int) -> None:
        self._settings = {name.lower(): value for name, value in environment.items() if value}
        self._at_once = at_once
        self._pools: dict[str, urllib3.PoolManager] = {}

    def to(self, url: str) -> urllib3.PoolManager:
        """The connections for an address: by way of the proxy that is set for its host, if one is."""
        parts = urlsplit(url)
        proxy = self._settings.get(f"{parts.scheme}_proxy") or self._settings.get("all_proxy") or ""
        bypassed = proxy_bypass_environment(parts.hostname or "", {"no": self._settings.get("no_proxy", "")})
        if bypassed or proxy.startswith("socks"):
            proxy = ""
        if proxy not in self._pools:
            self._pools[proxy] = self._connections(proxy)
        return self._pools[proxy]

    def _connections(self, proxy: str) -> urllib3.PoolManager:
        shared: dict[str, Any] = {"maxsize": self._at_once, "ssl_context": self._trust()}
        if not proxy:
            return urllib3.PoolManager(**shared)
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        who, _, host = parts.netloc.rpartition("@")
        headers = urllib3.make_headers(proxy_basic_auth=unquote(who)) if who else {}
        return urllib3.ProxyManager(urlunsplit(parts._replace(netloc=host)), proxy_headers=headers, **shared)

    def _trust(self) -> ssl.SSLContext:
        context = ssl.create_default_context(
            cafile=self._settings.get("ssl_cert_file"), capath=self._settings.get("ssl_cert_dir")
        )
        if more := self._settings.get("node_extra_ca_certs"):
            context.load_verify_locations(more)
        return context
