"""Signatures of webhook calls: MLflow's headers and format, which are those of Standard Webhooks."""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

DELIVERY_ID_HEADER: Final = "X-MLflow-Delivery-Id"
TIMESTAMP_HEADER: Final = "X-MLflow-Timestamp"
SIGNATURE_HEADER: Final = "X-MLflow-Signature"
SIGNATURE_VERSION: Final = "v1"


def signature(secret: str, delivery_id: str, timestamp: str, body: str) -> str:
    """``v1,<base64>`` of HMAC-SHA256 over ``<delivery id>.<timestamp>.<body>``.

    Args:
        secret: its UTF-8 bytes are the key (MLflow).
        timestamp: of this attempt, whole seconds since the Unix epoch.
    """
    signed = f"{delivery_id}.{timestamp}.{body}".encode()
    digest = hmac.new(secret.encode(), signed, hashlib.sha256).digest()
    return f"{SIGNATURE_VERSION},{base64.b64encode(digest).decode()}"


def signed_headers(secrets: Sequence[str], delivery_id: str, timestamp: str, body: str) -> dict[str, str]:
    """The headers of a call.

    Args:
        secrets: newest first. Each gives a signature, with a space between them (Standard Webhooks); with none the call
            is not signed.
    """
    headers = {
        "Content-Type": "application/json",
        DELIVERY_ID_HEADER: delivery_id,
        TIMESTAMP_HEADER: timestamp,
    }
    if secrets:
        headers[SIGNATURE_HEADER] = " ".join(
            signature(secret, delivery_id, timestamp, body) for secret in secrets
        )
    return headers
