"""Asks a server on this machine for predictions over one connection that is opened again when it was closed."""

from __future__ import annotations

import http.client
import json
from typing import Any
from urllib.parse import urlsplit

TIMEOUT_S = 10.0
TRIES = 3


class PredictClient:
    """Not for use by several threads."""

    def __init__(self, url: str) -> None:
        self._http = http.client.HTTPConnection(urlsplit(url).netloc, timeout=TIMEOUT_S)

    def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        """Return the answer to a question for /predict. Raises RuntimeError when the server refuses it."""
        body = json.dumps(question)
        for again in range(TRIES):
            try:
                self._http.request("POST", "/predict", body, {"content-type": "application/json"})
                reply = self._http.getresponse()
                text = reply.read()
                break
            except (OSError, http.client.HTTPException):
                # The server closes connections that were silent for long, and all of them when it ends.
                self._http.close()
                if again == TRIES - 1:
                    raise
        if reply.status != 200:
            raise RuntimeError(f"the server answered {reply.status}: {text[:300]!r}")
        answer: dict[str, Any] = json.loads(text)
        return answer

    def close(self) -> None:
        """Close the connection."""
        self._http.close()
