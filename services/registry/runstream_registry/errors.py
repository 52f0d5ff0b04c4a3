"""Refusals of this service, with the reasons that clients key on."""

from __future__ import annotations

from runstream_common.errors import (
    AlreadyExists,
    FailedPrecondition,
    FieldViolation,
    InvalidArgument,
    NotFound,
)


class ModelNotFound(NotFound):
    """There is no model, or prompt, of that name."""

    default_reason = "MODEL_NOT_FOUND"

    def __init__(self, name: str) -> None:
        super().__init__(f"registered model {name!r} does not exist", metadata={"name": name[:250]})


class ModelNameTaken(AlreadyExists):
    """A model or prompt has the name; both share one name space (MLflow)."""

    default_reason = "MODEL_NAME_TAKEN"

    def __init__(self, name: str, *, prompt: bool) -> None:
        kind = "prompt" if prompt else "registered model"
        super().__init__(f"a {kind} named {name!r} exists", metadata={"name": name[:250], "kind": kind})


class VersionNotFound(NotFound):
    """The model has no such version."""

    default_reason = "VERSION_NOT_FOUND"

    def __init__(self, name: str, what: int | str) -> None:
        wanted = f"version {what}" if isinstance(what, int) else what
        super().__init__(f"registered model {name!r} has no {wanted}", metadata={"name": name[:250]})


class AliasNotFound(InvalidArgument):
    """The model has no such alias. An invalid argument and not a missing thing, as in MLflow."""

    default_reason = "ALIAS_NOT_FOUND"

    def __init__(self, name: str, alias: str) -> None:
        description = f"registered model {name!r} has no alias {alias!r}"
        super().__init__(
            [FieldViolation("alias", description)], metadata={"name": name[:250], "alias": alias[:255]}
        )


class VersionIdTaken(AlreadyExists):
    """The chosen version id belongs to a version of another model."""

    default_reason = "VERSION_ID_TAKEN"

    def __init__(self, version_id: str) -> None:
        super().__init__(
            f"version_id {version_id} belongs to another model", metadata={"version_id": version_id}
        )


class NoFiles(FailedPrecondition):
    """The source of a version holds no files."""

    default_reason = "SOURCE_HAS_NO_FILES"


class SourceNotFound(NotFound):
    """The source of a version names something that does not exist."""

    default_reason = "SOURCE_NOT_FOUND"


class PromptNotFound(NotFound):
    """There is no prompt of that name; a registered model of that name is none."""

    default_reason = "PROMPT_NOT_FOUND"

    def __init__(self, name: str) -> None:
        super().__init__(f"prompt {name!r} does not exist", metadata={"name": name[:250]})


class PromptImmutable(FailedPrecondition):
    """What a prompt version says never changes."""

    default_reason = "PROMPT_IMMUTABLE"


class WebhookNotFound(NotFound):
    """There is no such webhook."""

    default_reason = "WEBHOOK_NOT_FOUND"

    def __init__(self, webhook_id: str) -> None:
        super().__init__(f"webhook {webhook_id} does not exist", metadata={"webhook_id": webhook_id})


class WebhookDisabled(FailedPrecondition):
    """The webhook is not called at present."""

    default_reason = "WEBHOOK_DISABLED"

    def __init__(self, webhook_id: str) -> None:
        super().__init__(
            f"webhook {webhook_id} is disabled; activate it first", metadata={"webhook_id": webhook_id}
        )


class TooManyWebhooks(FailedPrecondition):
    """There are as many webhooks as there may be."""

    default_reason = "TOO_MANY_WEBHOOKS"

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"there are {limit} webhooks already, which is the most", metadata={"limit": str(limit)}
        )


class DeliveryNotFound(NotFound):
    """There is no such delivery; the log forgets old ones."""

    default_reason = "DELIVERY_NOT_FOUND"

    def __init__(self, delivery_id: str) -> None:
        super().__init__(f"delivery {delivery_id} does not exist", metadata={"delivery_id": delivery_id})
