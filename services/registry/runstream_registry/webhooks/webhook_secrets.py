"""Secrets of webhooks at rest: encrypted when the deployment has a key for it."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from runstream_common.errors import FailedPrecondition

if TYPE_CHECKING:
    from pydantic import SecretStr

    from runstream_registry.webhook_entities import StoredSecrets

_PLAIN: Final = "plain:"
_FERNET: Final = "fernet:"
_NEW_SECRET_BYTES: Final = 32


class SecretUnreadable(FailedPrecondition):
    """A stored secret was encrypted with a key that this process does not have."""

    default_reason = "WEBHOOK_SECRET_UNREADABLE"


class SecretBox:
    """Turns secrets into what the database keeps, and back.

    Args:
        keys: Fernet keys, separated by commas: the first encrypts, all decrypt. Empty: secrets are kept as they are.

    Raises:
        FailedPrecondition: a key is not 32 bytes in URL-safe base64.
    """

    def __init__(self, keys: SecretStr) -> None:
        texts = [key.strip() for key in keys.get_secret_value().split(",") if key.strip()]
        try:
            self._cipher = MultiFernet([Fernet(key) for key in texts]) if texts else None
        except ValueError as error:
            raise FailedPrecondition(
                "RUNSTREAM_WEBHOOK_SECRET_KEYS must be Fernet keys: 32 bytes in URL-safe base64",
                reason="SETTING_INVALID",
            ) from error

    def close(self, secret: str) -> str:
        """What is stored for a secret; empty for none."""
        if not secret:
            return ""
        if self._cipher is None:
            return _PLAIN + secret
        return _FERNET + self._cipher.encrypt(secret.encode()).decode()

    def open(self, stored: StoredSecrets) -> list[str]:
        """The secrets that sign, newest first; none when there is none.

        Raises:
            SecretUnreadable: the key is missing.
        """
        return [self._open_one(text) for text in (stored.current, stored.previous) if text]

    def _open_one(self, stored: str) -> str:
        if stored.startswith(_PLAIN):
            return stored.removeprefix(_PLAIN)
        try:
            if self._cipher is None:
                raise InvalidToken
            return self._cipher.decrypt(stored.removeprefix(_FERNET)).decode()
        except InvalidToken as error:
            raise SecretUnreadable(
                "the webhook's secret cannot be decrypted with RUNSTREAM_WEBHOOK_SECRET_KEYS"
            ) from error


def new_secret() -> str:
    """A secret that nobody can guess."""
    return secrets.token_urlsafe(_NEW_SECRET_BYTES)
