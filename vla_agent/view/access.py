"""Who may open the page.  viser itself asks nobody: whoever reaches its port sees everything and presses everything.

Every request and every websocket's handshake passes `Guard.refusal` first:

- Where the page is for this machine alone, the name in ``Host`` must be this machine's: another site's page cannot
  reach it through a name of its own that resolves here (DNS rebinding).
- ``Origin``, where a browser sends it, must be the page itself: no other site's script opens the websocket.
- With a token, the link from the terminal sets a cookie; without link or cookie nothing is served.  Its name has the
  port that the browser sees: two pages of one machine, which share their cookies, do not forget each other's.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from ipaddress import ip_address
from urllib.parse import SplitResult, parse_qs, quote, unquote, urlsplit

COOKIE, PARAMETER = "vla_agent_view", "token"
NO_TOKEN = "this page needs the link that `vla-agent view` printed: it ends in ?token=..."


def is_loopback(host: str) -> bool:
    """Whether an address or name is this machine's own, as far as it says so itself."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


@dataclass(frozen=True)
class Guard:
    """``local``: served for this machine alone.  ``token``: that viewers must have; None: none."""

    local: bool
    token: str | None = None

    def refusal(self, path: str, headers: Mapping[str, str]) -> str:
        """Why a request is refused, in words; empty where it is not.

        Args:
            path: with the query.
            headers: of the request; names in any case.
        """
        sent = {name.lower(): value for name, value in headers.items()}
        host = sent.get("host", "")
        name = _split(f"//{host}").hostname or ""
        if self.local and not is_loopback(name):
            return "this page is served under this machine's own name alone, such as localhost"
        origin = sent.get("origin")
        if origin is not None and _split(origin).netloc.lower() != host.lower():
            return "another site's page may not use this one"
        if self.token is not None and not self._knows_token(path, sent.get("cookie", ""), host):
            return NO_TOKEN
        return ""

    def cookie(self, path: str, host: str) -> str:
        """The cookie that a page with the token in its link is served with; empty for another one."""
        if self.token is None or not self._same(_given(path)):
            return ""
        return f"{_cookie_name(host)}={quote(self.token, safe='')}; HttpOnly; SameSite=Strict; Path=/"

    def _knows_token(self, path: str, cookies: str, host: str) -> bool:
        try:
            crumb = SimpleCookie(cookies).get(_cookie_name(host))
        except CookieError:
            crumb = None
        return self._same(_given(path)) or (crumb is not None and self._same(unquote(crumb.value)))

    def _same(self, given: str) -> bool:
        """Compared in constant time."""
        return self.token is not None and hmac.compare_digest(given.encode(), self.token.encode())


def _given(path: str) -> str:
    return parse_qs(_split(path).query).get(PARAMETER, [""])[0]


def _split(address: str) -> SplitResult:
    """Its parts; none where it is no address."""
    try:
        return urlsplit(address)
    except ValueError:
        return urlsplit("")


def _cookie_name(host: str) -> str:
    port = host.rpartition(":")[2]
    return f"{COOKIE}_{port}" if port.isascii() and port.isdecimal() else COOKIE
