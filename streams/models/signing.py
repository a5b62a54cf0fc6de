"""Ed25519 signatures over DSSE v1 pre-authentication encodings, with key rotation.

A signature covers the payload's type as well as its bytes, so a signed manifest can never pass for a command.
Whoever verifies holds several public keys by id: to rotate, add the new public key everywhere, then sign with it.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from rheostat.streams.errors import ConfigError
from rheostat.streams.models.refusal import Refused

MANIFEST_TYPE = "application/vnd.rheostat.manifest+avro"
COMMAND_TYPE = "application/vnd.rheostat.command+avro"
PRIVATE_SUFFIX = ".pem"
PUBLIC_SUFFIX = ".pub.pem"
_KEY_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}")


def pae(payload_type: str, payload: bytes) -> bytes:
    """Return DSSE v1's pre-authentication encoding: "DSSEv1" SP len SP type SP len SP payload."""
    name = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(name), name, len(payload), payload)


@dataclass(frozen=True, slots=True)
class Signer:
    """A private key and the id under which others know its public half."""

    key_id: str
    private_key: Ed25519PrivateKey = field(repr=False)

    def __post_init__(self) -> None:
        if not _KEY_ID.fullmatch(self.key_id):
            raise ConfigError(
                f"key id {self.key_id!r}: 1 to 64 letters, digits, '.', '_' or '-', not starting with '.'"
            )

    def sign(self, payload_type: str, payload: bytes) -> bytes:
        """Return the 64-byte signature of a payload of this type."""
        return self.private_key.sign(pae(payload_type, payload))

    def public_key(self) -> Ed25519PublicKey:
        """Return the half that verifies."""
        return self.private_key.public_key()


class KeyRing:
    """Public keys by id. Immutable."""

    def __init__(self, keys: Mapping[str, Ed25519PublicKey]) -> None:
        self._keys = MappingProxyType(dict(keys))

    @classmethod
    def of(cls, *signers: Signer) -> KeyRing:
        """Return the ring that accepts these signers."""
        return cls({signer.key_id: signer.public_key() for signer in signers})

    @property
    def key_ids(self) -> tuple[str, ...]:
        """The ids it knows, sorted."""
        return tuple(sorted(self._keys))

    def verify(self, what: str, payload_type: str, payload: bytes, key_id: str, signature: bytes) -> None:
        """Raise Refused, naming `what`, unless the key is known and the signature is its over type and payload."""
        key = self._keys.get(key_id)
        if key is None:
            known = ", ".join(self.key_ids) or "none"
            raise Refused("signature", what, f"signed with unknown key {key_id[:64]!r}; known keys: {known}")
        try:
            key.verify(signature, pae(payload_type, payload))
        except InvalidSignature:
            reason = f"the signature is not that of key {key_id!r} over these bytes"
            raise Refused("signature", what, reason) from None


def generate_signer(key_id: str | None = None) -> Signer:
    """Return a new key; without a name its id is the start of the public key's SHA-256."""
    private = Ed25519PrivateKey.generate()
    return Signer(key_id or hashlib.sha256(private.public_key().public_bytes_raw()).hexdigest()[:16], private)


def save_signer(signer: Signer, folder: Path) -> tuple[Path, Path]:
    """Write `KEY_ID.pem` (mode 0600) and `KEY_ID.pub.pem`; existing files are never replaced (FileExistsError)."""
    private = folder / f"{signer.key_id}{PRIVATE_SUFFIX}"
    public = folder / f"{signer.key_id}{PUBLIC_SUFFIX}"
    _write_new(private, _private_pem(signer.private_key), 0o600)
    _write_new(public, _public_pem(signer.public_key()), 0o644)
    return private, public


def load_signer(path: Path) -> Signer:
    """Read a private key file; its id is the file's name. Raises ConfigError, also when others may read the file."""
    text = _read(path)
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise ConfigError(f"{path}: other users can read this private key; run: chmod 600 {path}")
    try:
        key = serialization.load_pem_private_key(text, password=None)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{path}: not an unencrypted PEM private key") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"{path}: not an Ed25519 key")
    return Signer(path.name.removesuffix(PRIVATE_SUFFIX), key)


def load_key_ring(folder: Path) -> KeyRing:
    """Read every `*.pub.pem` of a folder. Raises ConfigError when there is none or one is not an Ed25519 key."""
    files = sorted(folder.glob(f"*{PUBLIC_SUFFIX}"))
    if not files:
        raise ConfigError(f"{folder}: no public keys (*{PUBLIC_SUFFIX}) here; make some with: rheostat keys")
    return KeyRing({path.name.removesuffix(PUBLIC_SUFFIX): _public_key(path) for path in files})


def _public_key(path: Path) -> Ed25519PublicKey:
    try:
        key = serialization.load_pem_public_key(_read(path))
    except ValueError as error:
        raise ConfigError(f"{path}: not a PEM public key") from error
    if not isinstance(key, Ed25519PublicKey):
        raise ConfigError(f"{path}: not an Ed25519 key")
    return key


def _private_pem(key: Ed25519PrivateKey) -> bytes:
    plain = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)


def _public_pem(key: Ed25519PublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def _write_new(path: Path, text: bytes, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Created with its final mode: at no moment can another user open the private key.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(text)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
