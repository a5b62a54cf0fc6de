import dataclasses
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheostat.streams.errors import ConfigError, Corrupt
from rheostat.streams.models import signing
from rheostat.streams.models.commands import Command, ExcludedRange, open_command, sign_command
from rheostat.streams.models.refusal import Refused
from rheostat.streams.models.signing import COMMAND_TYPE, MANIFEST_TYPE, KeyRing, generate_signer
from rheostat.streams.models.version import Version

SIGNER = generate_signer("monitor-1")
OTHER = generate_signer("monitor-2")
RING = KeyRing.of(SIGNER)
ROLLBACK = Command(
    command_id="c-1",
    model="phishing",
    kind="rollback",
    epoch=3,
    reason="the loss grew",
    issuer="monitor",
    issued_at_ms=1_000,
    expires_at_ms=2_000,
    target=Version(2, 41),
    exclude=(ExcludedRange(0, 120), ExcludedRange(1, 90, 95)),
    evidence={"e_value": 1e6},
)


def test_pae_is_that_of_the_dsse_specification() -> None:
    assert signing.pae("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


@given(st.binary(max_size=200), st.binary(max_size=80))
def test_only_the_signature_over_these_bytes_is_accepted(payload: bytes, forged: bytes) -> None:
    signature = SIGNER.sign(MANIFEST_TYPE, payload)
    RING.verify("it", MANIFEST_TYPE, payload, "monitor-1", signature)
    for wrong in (forged, signature[:-1], signature + b"\0", bytes(64), b""):
        with pytest.raises(Refused, match="signature is not that"):
            RING.verify("it", MANIFEST_TYPE, payload, "monitor-1", wrong)
    with pytest.raises(Refused, match="signature is not that"):
        RING.verify("it", MANIFEST_TYPE, payload + b"x", "monitor-1", signature)


def test_a_signature_does_not_carry_over_to_another_type_of_payload() -> None:
    signature = SIGNER.sign(MANIFEST_TYPE, b"body")
    with pytest.raises(Refused):
        RING.verify("it", COMMAND_TYPE, b"body", "monitor-1", signature)


def test_an_unknown_key_is_named_with_those_that_are_known() -> None:
    with pytest.raises(Corrupt, match=r"unknown key 'monitor-2'; known keys: monitor-1") as caught:
        RING.verify("it", MANIFEST_TYPE, b"", "monitor-2", OTHER.sign(MANIFEST_TYPE, b""))
    assert isinstance(caught.value, Refused)
    assert caught.value.check == "signature"


def test_rotation_accepts_both_keys_until_the_old_one_is_taken_away() -> None:
    both, after = KeyRing.of(SIGNER, OTHER), KeyRing.of(OTHER)
    for signer in (SIGNER, OTHER):
        both.verify("it", MANIFEST_TYPE, b"x", signer.key_id, signer.sign(MANIFEST_TYPE, b"x"))
    with pytest.raises(Refused):
        after.verify("it", MANIFEST_TYPE, b"x", SIGNER.key_id, SIGNER.sign(MANIFEST_TYPE, b"x"))


def test_keys_survive_their_files_and_the_private_one_is_for_its_owner_only(tmp_path: Path) -> None:
    private, public = signing.save_signer(SIGNER, tmp_path / "keys")
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert b"PRIVATE" not in public.read_bytes()
    loaded, ring = signing.load_signer(private), signing.load_key_ring(tmp_path / "keys")
    ring.verify("it", MANIFEST_TYPE, b"x", loaded.key_id, loaded.sign(MANIFEST_TYPE, b"x"))
    assert "PRIVATE" not in repr(loaded)
    assert ring.key_ids == ("monitor-1",)


def test_key_files_are_never_replaced(tmp_path: Path) -> None:
    signing.save_signer(SIGNER, tmp_path)
    with pytest.raises(FileExistsError):
        signing.save_signer(SIGNER, tmp_path)


def test_a_private_key_others_can_read_is_refused(tmp_path: Path) -> None:
    private, _ = signing.save_signer(SIGNER, tmp_path)
    private.chmod(0o640)
    with pytest.raises(ConfigError, match="chmod 600"):
        signing.load_signer(private)


def test_wrong_key_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no public keys"):
        signing.load_key_ring(tmp_path)
    with pytest.raises(ConfigError, match=r"absent\.pem"):
        signing.load_signer(tmp_path / "absent.pem")
    (tmp_path / "x.pub.pem").write_text("no key")
    with pytest.raises(ConfigError, match=r"x\.pub\.pem"):
        signing.load_key_ring(tmp_path)


@pytest.mark.parametrize("key_id", ["", "../x", ".hidden", "a/b", "x" * 65])
def test_key_ids_are_file_names(key_id: str) -> None:
    with pytest.raises(ConfigError, match="key id"):
        signing.Signer(key_id, SIGNER.private_key)


def test_commands_survive_the_wire() -> None:
    freeze = dataclasses.replace(ROLLBACK, kind="freeze", target=None, exclude=(), evidence={})
    for command in (ROLLBACK, freeze):
        key, value = sign_command(command, SIGNER)
        assert key == b"phishing"
        assert open_command(value, RING) == command


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_a_changed_byte_is_refused(position: int, flip: int) -> None:
    _, value = sign_command(ROLLBACK, SIGNER)
    position %= len(value)
    changed = value[:position] + bytes([value[position] ^ flip]) + value[position + 1 :]
    with pytest.raises(Refused):
        open_command(changed, RING)


def test_commands_are_verified_before_they_are_parsed() -> None:
    _, value = sign_command(ROLLBACK, OTHER)
    for wrong, check in ((value, "signature"), (None, "record"), (b"", "record"), (b"\0" * 300_000, "limits")):
        with pytest.raises(Refused) as caught:
            open_command(wrong, RING)
        assert caught.value.check == check


def test_commands_that_contradict_themselves_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="needs a new epoch"):
        dataclasses.replace(ROLLBACK, epoch=2)
    with pytest.raises(ValueError, match="rollback needs one"):
        dataclasses.replace(ROLLBACK, target=None)
    with pytest.raises(ValueError, match="resume takes none"):
        dataclasses.replace(ROLLBACK, kind="resume")


def test_a_command_expires_after_its_last_moment() -> None:
    assert not ROLLBACK.expired(2_000)
    assert ROLLBACK.expired(2_001)


@given(st.integers(0, 2**40), st.integers(0, 2**40))
def test_versions_are_read_as_they_are_written(epoch: int, sequence: int) -> None:
    version = Version(epoch, sequence)
    assert Version.parse(str(version)) == version
    assert version < version.next() < Version(epoch + 1, 0)


@pytest.mark.parametrize("text", ["", "1", "1.", ".1", "1.2.3", "-1.2", "1.x", "１.２"])
def test_other_texts_are_not_versions(text: str) -> None:
    with pytest.raises(ValueError, match="not a version"):
        Version.parse(text)
