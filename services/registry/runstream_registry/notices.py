"""What webhooks are called for: MLflow's events with MLflow's payloads, and our own for promotions.

Entities and actions are written as in MLflow's REST API, upper case; in a webhook's body they are lower case (MLflow).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_MODEL: Final = {"name": "example_model"}
_VERSION: Final = {"name": "example_model", "version": "1"}
_PROMPT: Final = {"name": "example_prompt"}
_PROMPT_VERSION: Final = {"name": "example_prompt", "version": "1"}
_TAGS: Final = {"tags": {"example_key": "example_value"}}
_TAG: Final = {"key": "example_key", "value": "example_value"}
_NO_TAG: Final = {"key": "example_key"}
_REQUEST: Final = {
    **_VERSION,
    "request_id": "8f14e45fceea467ea1a5e3b2c6d7f809",
    "target_kind": "alias",
    "target": "production",
    "requested_by": "ada",
    "actor": "grace",
    "reason": "better on every slice",
}

EXAMPLES: Final[dict[str, dict[str, dict[str, Any]]]] = {
    "REGISTERED_MODEL": {
        "CREATED": {**_MODEL, **_TAGS, "description": "An example registered model"},
        "UPDATED": {**_MODEL, "description": "An example registered model"},
        "DELETED": _MODEL,
    },
    "MODEL_VERSION": {
        "CREATED": {
            **_VERSION,
            "source": "models:/123",
            "run_id": "abcd1234abcd5678",
            **_TAGS,
            "description": "An example model version",
        },
        "UPDATED": {**_VERSION, "description": "An example model version"},
        "DELETED": _VERSION,
    },
    "MODEL_VERSION_TAG": {"SET": {**_VERSION, **_TAG}, "DELETED": {**_VERSION, **_NO_TAG}},
    "MODEL_VERSION_ALIAS": {
        "CREATED": {"name": "example_model", "alias": "example_alias", "version": "1"},
        "DELETED": {"name": "example_model", "alias": "example_alias"},
    },
    "PROMPT": {
        "CREATED": {**_PROMPT, **_TAGS, "description": "An example prompt"},
        "UPDATED": {**_PROMPT, "description": "An example prompt"},
        "DELETED": _PROMPT,
    },
    "PROMPT_VERSION": {
        "CREATED": {
            **_PROMPT_VERSION,
            "template": "Hello {{name}}!",
            **_TAGS,
            "description": "An example prompt version",
        },
        "UPDATED": {**_PROMPT_VERSION, "description": "An example prompt version"},
        "DELETED": _PROMPT_VERSION,
    },
    "PROMPT_TAG": {"SET": {**_PROMPT, **_TAG}, "DELETED": {**_PROMPT, **_NO_TAG}},
    "PROMPT_VERSION_TAG": {"SET": {**_PROMPT_VERSION, **_TAG}, "DELETED": {**_PROMPT_VERSION, **_NO_TAG}},
    "PROMPT_ALIAS": {
        "CREATED": {"name": "example_prompt", "alias": "example_alias", "version": "1"},
        "DELETED": {"name": "example_prompt", "alias": "example_alias"},
    },
    # Of MLflow's AI gateway; may be asked for, never happens here.
    "BUDGET_POLICY": {
        "EXCEEDED": {
            "budget_policy_id": "bp-abc123",
            "budget_unit": "USD",
            "budget_amount": 100.0,
            "current_spend": 105.5,
            "duration_unit": "MONTHS",
            "duration_value": 1,
            "target_scope": "ENDPOINT",
            "workspace": "default",
            "target_value": "ep-abc123",
            "window_start": 1_704_067_200_000,
        }
    },
    "PROMOTION": {
        "CREATED": {
            **_VERSION,
            "promotion_id": "c9f0f895fb98484f9b2d6a1e7c3b5d20",
            "sequence": 1,
            "previous_version": None,
            "target_kind": "alias",
            "target": "production",
            "rollback": False,
            "actor": "ada",
            "reason": "better on every slice",
            "run_id": "4f2a9c31d1e84f6c8f0e8d0c7b1a2e35",
            "git_commit": "",
            "artifact_uri": "runstream://model-versions/7c9e6679742540de944be07fc1f90ae7",
            "artifact_digest": "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae",
        }
    },
    "PROMOTION_REQUEST": {
        "CREATED": _REQUEST,
        "APPROVED": _REQUEST,
        "REJECTED": _REQUEST,
        "EXPIRED": _REQUEST,
    },
}
"""Entity to action to the ``data`` of its body: every event that there is. Those with CREATED, SET and DELETED that
MLflow has too carry the same fields; it has no UPDATED, and no DELETED of models, versions and prompts."""


def event_name(entity: str, action: str) -> str:
    """One word for an event, as webhooks keep it: "MODEL_VERSION.CREATED"."""
    return f"{entity}.{action}"


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that webhooks are told of.

    Args:
        entity: what changed, a key of ``EXAMPLES``.
        action: what became of it, a key of the entity's examples.
        model: name of the model or prompt, for webhooks that are called for some models only.
        data: becomes ``data`` in the body; JSON values, with versions as text (MLflow).

    Raises:
        ValueError: there is no such event; no webhook could ask for it.
    """

    entity: str
    action: str
    model: str
    data: Mapping[str, Any]

    def __post_init__(self) -> None:
        if self.action not in EXAMPLES.get(self.entity, {}):
            raise ValueError(f"there is no event {event_name(self.entity, self.action)}")
