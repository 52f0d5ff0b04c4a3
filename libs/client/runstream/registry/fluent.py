"""The functions of the package for the registry: they ask the server that this process logs to."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from runstream_common.errors import FailedPrecondition

from runstream.connection import target_of
from runstream.query.client import Client
from runstream.query.client_waiting import default_url

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runstream.registry.flows_prompts import TemplateLike
    from runstream.registry.results import ModelVersion, ParentVersion
    from runstream.registry.results_promotions import PromotionOutcome
    from runstream.registry.results_prompts import PromptVersion

PROMPTS_SCHEME = "prompts:/"

_lock = threading.Lock()
_clients: dict[str, Client] = {}


def register_model(
    model_uri: str,
    name: str,
    *,
    description: str = "",
    tags: Mapping[str, object] | None = None,
    signature: Any = None,
    parents: Sequence[ParentVersion] = (),
    alias: str = "",
) -> ModelVersion:
    """Make a new version of a model, and the model if there is none; MLflow's register_model.

    Args:
        model_uri: "runs:/<run id>/<path>", a path among the files of the active run such as "model",
            "models:/<name>/<version>", or a URI of another store.
        name: model.
        description: free text of the version.
        tags: tags of the version.
        signature: as in MLflow's MLmodel; None reads the MLmodel file among the files.
        parents: versions that it was made from.
        alias: alias to promote it to at once; the gates apply.

    Raises:
        FailedPrecondition: a path was given and no run is active.
        PromotionRefused: the version was made, but a rule does not let it have the alias.
    """
    models = _client().models
    version = models.create_version(
        name,
        _source(model_uri),
        description=description,
        tags=tags,
        signature=signature,
        parents=parents,
        create_model=True,
    )
    if not alias:
        return version
    models.promote(name, version.version, alias=alias, reason="registered with this alias")
    return models.get_version(name, version.version)


def promote(
    name: str,
    version: int | str,
    *,
    alias: str = "",
    stage: str = "",
    reason: str = "",
    expected_current: int | None = None,
    dry_run: bool = False,
) -> PromotionOutcome:
    """Move an alias or stage to a version, if the gates let it; see `Client.models.promote`."""
    return _client().models.promote(
        name,
        version,
        alias=alias,
        stage=stage,
        reason=reason,
        expected_current=expected_current,
        dry_run=dry_run,
    )


def rollback(
    name: str, *, alias: str = "", stage: str = "", reason: str = "", expected_current: int | None = None
) -> PromotionOutcome:
    """Promote the version that an alias or stage held before; see `Client.models.rollback`."""
    return _client().models.rollback(
        name, alias=alias, stage=stage, reason=reason, expected_current=expected_current
    )


def register_prompt(
    name: str,
    template: TemplateLike,
    *,
    commit_message: str = "",
    tags: Mapping[str, object] | None = None,
    model_config: Mapping[str, Any] | None = None,
    response_format: Mapping[str, Any] | None = None,
) -> PromptVersion:
    """Make a new version of a prompt, and the prompt if there is none; see `Client.prompts.register`."""
    return _client().prompts.register(
        name,
        template,
        commit_message=commit_message,
        tags=tags,
        model_config=model_config,
        response_format=response_format,
    )


def load_prompt(name_or_uri: str, version: int | str | None = None, *, link: bool = True) -> PromptVersion:
    """Read a version of a prompt; the newest one unless told otherwise. MLflow's load_prompt.

    Args:
        name_or_uri: name, "prompts:/<name>/<version>" or "prompts:/<name>@<alias>".
        version: number, "@alias" or "latest", when only the name is given.
        link: note that the active run used it; without a run nothing is noted.
    """
    name, named = parse_prompt_uri(name_or_uri)
    found = _client().prompts.get(name, named if version is None else version)
    run = _active_run()
    if link and run is not None:
        _client().prompts.link(name, found.version, run_id=run.run_id)
    return found


def parse_prompt_uri(text: str) -> tuple[str, str | None]:
    """Name and version ("3", "@alias") of a prompt; the version is None when the text names none."""
    if not text.startswith(PROMPTS_SCHEME):
        return text, None
    rest = text.removeprefix(PROMPTS_SCHEME)
    name, slash, version = rest.partition("/")
    if slash:
        return name, version
    name, at, alias = rest.rpartition("@")
    return (name, f"@{alias}") if at else (rest, None)


def _source(model_uri: str) -> str:
    if ":/" in model_uri:
        return model_uri
    run = _active_run()
    if run is None:
        raise FailedPrecondition(
            f"{model_uri!r} is a path in a run, and no run is active; give runs:/<run id>/{model_uri}",
            reason="NO_ACTIVE_RUN",
        )
    return f"runs:/{run.run_id}/{model_uri}"


def _active_run() -> Any:
    from runstream.tracking import fluent  # noqa: PLC0415 - reading alone does not load the logging half

    return fluent.active_run()


def _client() -> Client:
    """One client for each server, kept for the life of the process."""
    target = target_of(default_url(None))
    with _lock:
        if target not in _clients:
            _clients[target] = Client(target)
        return _clients[target]
