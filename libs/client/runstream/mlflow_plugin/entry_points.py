"""What MLflow calls for a URI of ours. Loaded with every `import mlflow`, so nothing heavy is imported here."""

from __future__ import annotations

import atexit
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

from runstream.mlflow_plugin.addresses import gateway_url

if TYPE_CHECKING:
    from runstream.mlflow_plugin.tracking_store import RunstreamTrackingStore


def tracking_store(store_uri: str, artifact_uri: str | None = None) -> RunstreamTrackingStore:
    """Entry point `mlflow.tracking_store`."""
    from runstream.mlflow_plugin.tracking_store import RunstreamTrackingStore  # noqa: PLC0415

    del artifact_uri  # of stores that keep files themselves
    return RunstreamTrackingStore(store_uri)


def model_registry_store(store_uri: str, tracking_uri: str | None = None) -> Any:
    """Entry point `mlflow.model_registry_store`."""
    from mlflow.store.model_registry.rest_store import RestStore  # noqa: PLC0415
    from mlflow.utils.credentials import get_default_host_creds  # noqa: PLC0415

    del tracking_uri
    return RestStore(partial(get_default_host_creds, gateway_url(store_uri)))


def workspace_store(workspace_uri: str) -> Any:
    """Entry point `mlflow.workspace_provider`."""
    from mlflow.store.workspace.rest_store import RestWorkspaceStore  # noqa: PLC0415
    from mlflow.utils.credentials import get_default_host_creds  # noqa: PLC0415

    return RestWorkspaceStore(partial(get_default_host_creds, gateway_url(workspace_uri)))


def artifact_repository(
    artifact_uri: str, tracking_uri: str | None = None, registry_uri: str | None = None
) -> Any:
    """Entry point `mlflow.artifact_repository` for `mlflow-artifacts:`.

    MLflow's own repository resolves such a URI by the tracking URI and knows http and https only. With another scheme
    than ours it gets what it would get without us.
    """
    from mlflow.store.artifact.mlflow_artifacts_repo import MlflowArtifactsRepository  # noqa: PLC0415
    from mlflow.tracking._tracking_service.utils import get_tracking_uri  # noqa: PLC0415

    return MlflowArtifactsRepository(
        artifact_uri, tracking_uri=gateway_url(tracking_uri or get_tracking_uri()), registry_uri=registry_uri
    )


def _close_at_exit() -> None:
    # Registered before MLflow registers the end of its active run, so that it comes after it.
    metrics = sys.modules.get("runstream.mlflow_plugin.metric_path")
    if metrics is not None:
        metrics.close_all()


atexit.register(_close_at_exit)
