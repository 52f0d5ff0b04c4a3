"""Who makes a call of MLflow's API, as the registry's audit trail names them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from runstream_gateway.actors import metadata_of, named_actor

if TYPE_CHECKING:
    from starlette.requests import Request

DEFAULT_ACTOR: Final = "mlflow-client"
"""Who is named when a request says nothing: MLflow's client without credentials."""


def actor_of(request: Request) -> str:
    """Who makes the request; ``DEFAULT_ACTOR`` when it does not say."""
    return named_actor(request) or DEFAULT_ACTOR


def actor_metadata(request: Request) -> tuple[tuple[str, str], ...]:
    """What a call of a service carries as its ``metadata``, so that the service knows who asks."""
    return metadata_of(actor_of(request))
