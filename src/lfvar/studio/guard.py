"""Who gets in, and what an answer may bring along: the token, the Host and Origin headers, security headers."""

from __future__ import annotations

import ipaddress
import secrets
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lfvar.errors import ConfigError

COOKIE = "lfvar-studio"
MIN_TOKEN = 16

HEADERS = {
    # The browser itself refuses whatever does not come from here: no fonts, no analytics, no CDN, no inline script.
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
        "form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches that address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def choose_token(host: str, given: str | None) -> str | None:
    """The token of a studio: as given, else a new one for an address that others reach, else none.

    Raises:
        ConfigError: When the given one can be guessed.
    """
    if given is not None:
        if len(given) < MIN_TOKEN:
            raise ConfigError(
                f"token has {len(given)} characters and could be guessed",
                cure=f"use {MIN_TOKEN} or more, or leave it out: a new one is made",
            )
        return given
    return None if is_loopback(host) else secrets.token_urlsafe(24)


class Guard:
    """Middleware around everything.

    Args:
        app: What it guards.
        token: None: none is asked for, and the page must be addressed as this machine (a foreign name that leads here
            is a page of somebody else's that wants to read ours).
    """

    def __init__(self, app: ASGIApp, token: str | None) -> None:
        self.app = app
        self.token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        response = self._refuse(Request(scope))
        if response is not None:
            await response(scope, receive, _with_headers(send))
            return
        await self.app(scope, receive, _with_headers(send))

    def _refuse(self, request: Request) -> Response | None:
        """The answer to whoever does not get in; None: go on."""
        if not _same_origin(request.headers):
            return PlainTextResponse("This request comes from another page.\n", 403)
        if self.token is None:
            host = urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
            if not is_loopback(host):
                return PlainTextResponse(
                    "This studio answers to its own machine only. Start it with host=ADDRESS to share it.\n", 403
                )
            return None
        given = request.query_params.get("token")
        if given is not None and request.url.path == "/" and self._fits(given):
            response = RedirectResponse("/", 303)  # without the token, which would stay in the history
            response.set_cookie(COOKIE, self.token, httponly=True, samesite="strict", max_age=7 * 86400)
            return response
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
        if self._fits(request.cookies.get(COOKIE, "")) or self._fits(bearer):
            return None
        return PlainTextResponse("This studio needs its token: open the address that its terminal shows.\n", 401)

    def _fits(self, given: str) -> bool:
        assert self.token is not None
        return secrets.compare_digest(given.encode(), self.token.encode())


def _same_origin(headers: Headers) -> bool:
    """False for what another web page sends in the name of whoever looks at it."""
    if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        # A link that leads to the page is welcome, whatever else comes from elsewhere is not.
        return headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
    origin = headers.get("origin")
    return origin is None or urlsplit(origin).netloc == headers.get("host")


def _with_headers(send: Send) -> Send:
    async def add(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(HEADERS)
        await send(message)

    return add
