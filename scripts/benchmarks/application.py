"""The demo's service again, as WSGI for gunicorn and as ASGI for uvicorn."""

import os
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

VERSION = os.environ.get("VERSION", "")


def wsgi(environ: Mapping[str, Any], start: Callable[[str, list[tuple[str, str]]], object]) -> Iterable[bytes]:
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)) or b"well\n"
    start("200 OK", [("Content-Length", str(len(body))), ("X-Served-By", VERSION)])
    return [body]


async def asgi(scope: Mapping[str, Any], receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]) -> None:
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    body = body or b"well\n"
    headers = [(b"content-length", str(len(body)).encode()), (b"x-served-by", VERSION.encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
