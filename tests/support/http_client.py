"""Calls an ASGI application in this process, one request after the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any

import httpx
from starlette.types import ASGIApp


class AppClient:
    """`get` and `post` as in httpx; an iterable as `content` is sent in parts, without announcing its length."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    def get(self, path: str, **options: Any) -> httpx.Response:
        return asyncio.run(self._call("GET", path, options))

    def post(self, path: str, **options: Any) -> httpx.Response:
        content = options.get("content")
        if content is not None and not isinstance(content, str | bytes):
            options["content"] = _in_parts(content)
        return asyncio.run(self._call("POST", path, options))

    async def _call(self, method: str, path: str, options: dict[str, Any]) -> httpx.Response:
        transport = httpx.ASGITransport(self._app)
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
            return await client.request(method, path, **options)


async def _in_parts(parts: Iterable[bytes]) -> AsyncIterator[bytes]:
    for part in parts:
        yield part
