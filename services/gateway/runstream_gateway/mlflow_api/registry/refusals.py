"""The registry's refusals in MLflow's words; clients show them, and key on their codes."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import PERMISSION_DENIED, RESOURCE_ALREADY_EXISTS

from runstream_gateway.mlflow_api.errors import invalid, missing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runstream_common.errors import PlatformError

    from runstream_gateway.mlflow_api.errors import Wording

    Words: TypeAlias = Mapping[str, Wording]


def model_words(name: str) -> Words:
    """For endpoints about a registered model."""
    return {"MODEL_NOT_FOUND": lambda _: model_missing(name), **_SHARED}


def version_words(name: str, version: str | int) -> Words:
    """For endpoints about a version: MLflow does not tell which of the two is missing."""
    return {
        "MODEL_NOT_FOUND": lambda _: version_missing(name, version),
        "VERSION_NOT_FOUND": lambda _: version_missing(name, version),
        **_SHARED,
    }


def alias_words(name: str, alias: str) -> Words:
    """For reading a version by its alias."""
    return {
        "VERSION_NOT_FOUND": lambda _: missing(f"Latest version not found for model {name}."),
        "ALIAS_NOT_FOUND": lambda _: invalid(f"Registered model alias {alias} not found."),
        **model_words(name),
    }


def new_model_words(name: str, *, prompt: bool) -> Words:
    """For making a model or prompt: both share one name space."""
    return {"MODEL_NAME_TAKEN": lambda refusal: _name_taken(refusal, name, prompt=prompt)}


def renaming_words(name: str, new_name: str) -> Words:
    """For giving a model another name."""
    taken = f"Registered Model (name={new_name}) already exists."
    return {
        "MODEL_NAME_TAKEN": lambda _: MlflowException(taken, error_code=RESOURCE_ALREADY_EXISTS),
        **model_words(name),
    }


def model_missing(name: str) -> MlflowException:
    """The 404 for a registered model that does not exist."""
    return missing(f"Registered Model with name={name} not found")


def version_missing(name: str, version: str | int) -> MlflowException:
    """The 404 for a version that does not exist."""
    return missing(f"Model Version (name={name}, version={version}) not found")


def _name_taken(refusal: PlatformError, name: str, *, prompt: bool) -> MlflowException:
    old = "Prompt" if refusal.metadata.get("kind") == "prompt" else "Registered Model"
    new = "Prompt" if prompt else "Registered Model"
    if old == new:
        text = f"{new} (name={name}) already exists."
    else:
        text = (
            f"Tried to create a {new.lower()} with name {name!r}, but the name is already taken by a "
            f"{old.lower()}. MLflow does not allow creating a model and a prompt with the same name."
        )
    return MlflowException(text, error_code=RESOURCE_ALREADY_EXISTS)


def _promotion_refused(refusal: PlatformError) -> MlflowException:
    """A gate's text; where only people's approval is missing, also how to ask for it."""
    if not _only_approvals_missing(refusal):
        return invalid(refusal.message)
    return MlflowException(
        f"{refusal.message}. Ask for approval at POST /api/runstream/v1/promotion-requests, in the console under "
        "Promotions, or with `runstream models request`.",
        error_code=PERMISSION_DENIED,
    )


def _only_approvals_missing(refusal: PlatformError) -> bool:
    """The metadata names each failed rule as "policy/kind: rule"."""
    count = int(refusal.metadata.get("failed_count", "0"))
    failed = [refusal.metadata.get(f"failed_{index}", "") for index in range(1, count + 1)]
    return bool(failed) and all(item.partition(":")[0].endswith("/approvals") for item in failed)


_SHARED: Words = {"PROMOTION_REFUSED": _promotion_refused}
