"""Signatures: whether a file is, byte for byte, what the holder of a key signed.

A signature is ed25519 (RFC 8032) over the file's exact bytes, stored beside the file: 64 raw bytes
in ``FILE.sig``. Keys are PEM (PKCS #8 private, SubjectPublicKeyInfo public), so openssl can make and
check all of it. Needs the ``sign`` extra.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import MissingExtraError, SignatureError
from .files import read_bounded, write_atomically

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )

POLICIES = ("off", "warn", "enforce")
SUFFIX = ".sig"
SIGNATURE_BYTES = 64
MAX_KEY_BYTES = 16 * 1024


def _ignore(warning: str) -> None:
    pass


@dataclass(frozen=True)
class Trust:
    """Whose files to load.

    Attributes:
        policy: ``off`` loads any file, ``warn`` loads it with a warning if no key signed it,
            ``enforce`` refuses it.
        public_keys: PEM files; a signature by one of them is enough.
        warn: called with each warning, one line.
    """

    policy: str = "off"
    public_keys: tuple[Path, ...] = ()
    warn: Callable[[str], object] = _ignore

    def __post_init__(self) -> None:
        """Raise SignatureError for an unknown policy: a typo must not pass for ``off``."""
        if self.policy not in POLICIES:
            raise SignatureError(
                f"signature policy '{self.policy}' is unknown. Known: {', '.join(POLICIES)}."
            )


def check(data: bytes, path: str | Path, trust: Trust) -> str:
    """Return why a file is not trusted; empty if it is, or if the policy is ``off``.

    Args:
        data: the bytes of the file, exactly those that will be used.
        path: the file; its signature is beside it.
        trust: whose signature is required.

    Raises:
        SignatureError: it is not trusted, or a key cannot be used, and the policy is ``enforce``.
        MissingExtraError: the ``sign`` extra is not installed, and the policy is ``enforce``.
    """
    if trust.policy == "off":
        return ""
    try:
        _verify(data, Path(path), trust.public_keys)
    except (SignatureError, MissingExtraError) as error:
        if trust.policy == "enforce":
            raise
        return f"{path}: loaded anyway: {str(error).removeprefix(f'{path}: ')}"
    return ""


def sign(path: str | Path, private_key: str | Path) -> Path:
    """Sign a file's current bytes and return the path of the signature beside it.

    Raises:
        SignatureError: the file or the key cannot be used, or the signature cannot be written.
        MissingExtraError: the ``sign`` extra is not installed.
    """
    key = _private_key(Path(private_key))
    path = Path(path)
    target = signature_path(path)
    signature = key.sign(read_bounded(path, None, SignatureError))
    try:
        write_atomically(target, signature)
    except OSError as error:
        raise SignatureError(f"{target}: cannot be written: {error.strerror}.") from error
    return target


def make_keys(name: str | Path) -> tuple[Path, Path]:
    """Write a new pair of keys and return their paths: private ``NAME.pem``, public ``NAME.pub``.

    The private key is readable by its owner only, and not encrypted.

    Raises:
        SignatureError: one of the files already exists, or cannot be written.
        MissingExtraError: the ``sign`` extra is not installed.
    """
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    except ModuleNotFoundError as error:
        raise MissingExtraError("cryptography", "sign") from error
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    paths = Path(f"{name}.pem"), Path(f"{name}.pub")
    for path in paths:
        if os.path.lexists(path):
            raise SignatureError(
                f"{path}: already exists, and a lost key cannot be recovered. Choose another name."
            )
    for path, text, mode in zip(paths, (private, public), (0o600, 0o644), strict=True):
        try:  # never through a link, never over a file that has appeared meanwhile
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
                file.write(text)
        except OSError as error:
            raise SignatureError(f"{path}: cannot be written: {error.strerror}.") from error
    return paths


def signature_path(path: str | Path) -> Path:
    """Return the path of the signature of a file; if it is a link, of what it points to."""
    path = Path(path)
    target = path.resolve() if path.is_symlink() else path
    return Path(f"{target}{SUFFIX}")


def _verify(data: bytes, path: Path, public_keys: tuple[Path, ...]) -> None:
    if not public_keys:
        raise SignatureError(f"{path}: no public key given to check its signature with.")
    keys = [_public_key(key) for key in public_keys]
    from cryptography.exceptions import InvalidSignature

    place = signature_path(path)
    if not os.path.lexists(place):
        raise SignatureError(
            f"{path}: is not signed: there is no {place.name} beside it. "
            f"Fix: hebb sign file {path} --key KEY.pem"
        )
    signature = read_bounded(place, SIGNATURE_BYTES, SignatureError)
    if len(signature) != SIGNATURE_BYTES:
        raise SignatureError(
            f"{place}: has {len(signature)} bytes; a signature has {SIGNATURE_BYTES}."
        )
    for key in keys:
        with contextlib.suppress(InvalidSignature):
            key.verify(signature, data)
            return
    raise SignatureError(
        f"{path}: signature does not match any trusted key ({', '.join(map(str, public_keys))}): the file was "
        f"changed after signing, or signed by someone else. Get a fresh copy from its author."
    )


def _public_key(path: Path) -> Ed25519PublicKey:
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
        from cryptography.hazmat.primitives.serialization import load_pem_public_key
    except ModuleNotFoundError as error:
        raise MissingExtraError("cryptography", "sign") from error
    text = read_bounded(path, MAX_KEY_BYTES, SignatureError)
    try:
        key = load_pem_public_key(text)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise SignatureError(f"{path}: not a public key in PEM (the .pub of a pair).") from error
    if not isinstance(key, Ed25519PublicKey):
        raise SignatureError(f"{path}: a public key, but not an ed25519 one.")
    return key


def _private_key(path: Path) -> Ed25519PrivateKey:
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
    except ModuleNotFoundError as error:
        raise MissingExtraError("cryptography", "sign") from error
    text = read_bounded(path, MAX_KEY_BYTES, SignatureError)
    try:
        key = load_pem_private_key(text, password=None)
    except TypeError as error:
        raise SignatureError(
            f"{path}: is encrypted. Fix: openssl pkey -in {path} -out PLAIN.pem"
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise SignatureError(f"{path}: not a private key in PEM (the .pem of a pair).") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise SignatureError(f"{path}: a private key, but not an ed25519 one.")
    return key
