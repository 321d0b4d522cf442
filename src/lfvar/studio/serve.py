"""The studio on the network of this machine, until Ctrl-C."""

from __future__ import annotations

import os
import socket
import sys
import webbrowser
from contextlib import suppress

from lfvar.errors import ConfigError
from lfvar.studio.app import Studio
from lfvar.studio.guard import choose_token, is_loopback
from lfvar.studio.workbench import Workbench

_MOST_CONNECTIONS = 128


def serve(workbench: Workbench, *, host: str, port: int, token: str | None, show: bool) -> None:
    """Serve the page until Ctrl-C.

    Args:
        workbench: What it works with.
        host: The address to listen at; others than the loopback one need a token.
        port: 0: any free one.
        token: See `lfvar.studio.guard.choose_token`.
        show: Open a browser, where there is a screen.

    Raises:
        ConfigError: When the address cannot be listened at, or the token is too short.
    """
    import uvicorn

    token = choose_token(host, token)
    listener = listen(host, port)
    address = page_address(host, listener.getsockname()[1], token)
    config = uvicorn.Config(
        Studio(workbench, token).app,
        log_level="warning",
        access_log=False,  # it would hold the token
        server_header=False,
        limit_concurrency=_MOST_CONNECTIONS,
        timeout_graceful_shutdown=3,
    )
    print(f"the studio is at {address}   (Ctrl-C ends it)", flush=True)
    if not is_loopback(host):
        print("everybody with this address can use it; the connection is not encrypted", flush=True)
    if show and _has_screen():
        webbrowser.open(address)
    with suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[listener])
    print("the studio is closed; what pages had uploaded is deleted", flush=True)


def listen(host: str, port: int) -> socket.socket:
    """A socket at an address.

    Raises:
        ConfigError: When it is taken, or not of this machine.
    """
    try:
        family, _, _, _, place = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        if sys.platform != "win32":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(place)
    except OSError as error:
        raise ConfigError(
            f"host={host} port={port} cannot be used: {error.strerror or error}",
            cure="set port=0 for any free one, or another host",
        ) from error
    return listener


def page_address(host: str, port: int, token: str | None) -> str:
    """What to type into a browser."""
    name = host.strip("[]")
    if name in ("0.0.0.0", "::"):
        name = socket.gethostname()
    name = f"[{name}]" if ":" in name else name
    return f"http://{name}:{port}/" + (f"?token={token}" if token else "")


def _has_screen() -> bool:
    if sys.platform in ("darwin", "win32"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
