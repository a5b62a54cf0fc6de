"""`rheostat explain`: why a prediction scored as it did, asked of a running server."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import typer

from rheostat.streams.cli.options import ConfigFile, Json, Settings, load_offline, read_api_keys
from rheostat.streams.errors import ConfigError

_TIMEOUT_S = 30


def explain(
    prediction_id: Annotated[str, typer.Argument(help="The prediction_id that was answered.")],
    url: Annotated[str | None, typer.Option("--url", help="Of the server; by default the one of the settings.")] = None,
    config: ConfigFile = None,
    settings: Settings = None,
    as_json: Json = False,
) -> None:
    """Say in words what moved a score, which version gave it, and what that had learned from.

    Example: `rheostat explain 0199c82c-c000-7bef-aa26-82f7d9edb54d --config rheostat.toml`
    """
    serve = load_offline(config, settings).config.serve
    keys = read_api_keys("serve.api_keys_file", serve.api_keys_file)
    found = _asked(url or f"http://{serve.host}:{serve.port}", prediction_id, keys)
    print(json.dumps(found) if as_json else in_words(found))


def in_words(found: Mapping[str, Any]) -> str:
    """Return an explanation as lines of text."""
    limits = [f"- {each['text']}" for each in found["limits"]]
    return "\n".join(
        [*(each["text"] for each in found["words"]), *(["What this cannot know:", *limits] if limits else [])]
    )


def _asked(url: str, prediction_id: str, keys: tuple[str, ...]) -> Any:
    if not url.startswith(("http://", "https://")):
        raise ConfigError(f"--url {url}: must begin with http:// or https://")
    headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {keys[0]}"} if keys else {})
    body = json.dumps({"prediction_id": prediction_id}).encode()
    try:
        with urlopen(Request(f"{url.rstrip('/')}/explain", body, headers), timeout=_TIMEOUT_S) as answer:
            return json.loads(answer.read())
    except HTTPError as error:
        raise ConfigError(f"{prediction_id}: {_reason(error)}") from error
    except (URLError, OSError, ValueError) as error:
        raise ConfigError(f"{url} gave no explanation: {error}; is `rheostat serve` running there?") from error


def _reason(error: HTTPError) -> str:
    try:
        return str(json.loads(error.read())["error"])
    except (ValueError, KeyError, TypeError):
        return f"the server answered {error.code}"
