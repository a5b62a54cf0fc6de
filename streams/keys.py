"""The key files of an installation: who signs what, and the key of the pseudonyms.

`learner` signs model updates, `monitor` and `operator` sign commands. A process is given only the private keys it
needs; public keys go to everybody. The pseudonym key stays with intake.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from rheostat.streams.errors import ConfigError
from rheostat.streams.models.signing import PRIVATE_SUFFIX, Signer, generate_signer, load_signer, save_signer

NAMES = ("learner", "monitor", "operator")
PSEUDONYM_FILE = "pseudonym.key"
PSEUDONYM_KEY_BYTES = 32


def create_keys(folder: Path) -> list[str]:
    """Make the keys that are missing in `folder`; return the names of those made. Existing files are never touched."""
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for name in NAMES:
        if not (folder / f"{name}{PRIVATE_SUFFIX}").exists():
            save_signer(generate_signer(name), folder)
            made.append(name)
    path = folder / PSEUDONYM_FILE
    if not path.exists():
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(PSEUDONYM_KEY_BYTES) + "\n")
        made.append(PSEUDONYM_FILE)
    return made


def signer(folder: Path, name: str) -> Signer:
    """Return one private key. Raises ConfigError when its file is missing or readable by others."""
    path = folder / f"{name}{PRIVATE_SUFFIX}"
    if not path.exists():
        raise ConfigError(f"{path}: no such key; make keys with: rheostat keys {folder}")
    return load_signer(path)


def pseudonym_key(folder: Path) -> bytes:
    """Return the key of the pseudonyms. Raises ConfigError when it is missing or not one."""
    path = folder / PSEUDONYM_FILE
    try:
        key = bytes.fromhex(path.read_text().strip())
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; make keys with: rheostat keys {folder}") from error
    except ValueError as error:
        raise ConfigError(f"{path}: not a key, it must hold {PSEUDONYM_KEY_BYTES * 2} hexadecimal digits") from error
    if len(key) < PSEUDONYM_KEY_BYTES:
        raise ConfigError(f"{path}: {len(key)} bytes, a key has at least {PSEUDONYM_KEY_BYTES}")
    return key
