"""The functions of the package that log and fetch files; names and rules as MLflow's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runstream_common.errors import InvalidArgument

from runstream.artifacts.locations import is_place
from runstream.tracking.fluent import require_run, session
from runstream.tracking.run_artifacts import download

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from runstream.artifacts.progress import Progress
    from runstream.artifacts.results import Artifact


def log_artifact(
    local_path: str | os.PathLike[str],
    artifact_path: str | None = None,
    *,
    skip_special: bool = False,
    progress: Progress = None,
) -> None:
    """Store a file or folder with the active run; see `Run.log_artifact`."""
    require_run().log_artifact(local_path, artifact_path, skip_special=skip_special, progress=progress)


def log_artifacts(
    local_dir: str | os.PathLike[str],
    artifact_path: str | None = None,
    *,
    skip_special: bool = False,
    progress: Progress = None,
) -> None:
    """Store the content of a folder with the active run; see `Run.log_artifacts`."""
    require_run().log_artifacts(local_dir, artifact_path, skip_special=skip_special, progress=progress)


def log_text(text: str, artifact_file: str) -> None:
    """Store a text with the active run; see `Run.log_text`."""
    require_run().log_text(text, artifact_file)


def log_dict(dictionary: Any, artifact_file: str) -> None:
    """Store a dictionary as JSON or YAML with the active run; see `Run.log_dict`."""
    require_run().log_dict(dictionary, artifact_file)


def log_figure(figure: Any, artifact_file: str, *, save_kwargs: Mapping[str, Any] | None = None) -> None:
    """Store a figure with the active run; see `Run.log_figure`."""
    require_run().log_figure(figure, artifact_file, save_kwargs=save_kwargs)


def log_image(
    image: Any,
    artifact_file: str | None = None,
    *,
    key: str | None = None,
    step: int | None = None,
    timestamp: int | None = None,
) -> None:
    """Store an image with the active run; see `Run.log_image`."""
    require_run().log_image(image, artifact_file, key=key, step=step, timestamp=timestamp)


def log_table(data: Any, artifact_file: str) -> None:
    """Store a table with the active run, or append to it; see `Run.log_table`."""
    require_run().log_table(data, artifact_file)


def download_artifacts(
    artifact_uri: str | None = None,
    run_id: str | None = None,
    artifact_path: str | None = None,
    dst_path: str | os.PathLike[str] | None = None,
    *,
    progress: Progress = None,
) -> str:
    """Fetch a file or directory below its own path; returns where it is now.

    Args:
        artifact_uri: `runs:/…`, `models:/…` or `runstream://…`, instead of a run id.
        run_id: run; None, without a URI, means the active one.
        artifact_path: path in the run; only with a run.
        dst_path: folder that it goes below; None makes a temporary one.
        progress: True draws a bar, False nothing, None a bar if standard error is a terminal; or a function.

    Raises:
        InvalidArgument: both a URI and a run are given.
        NotFound: there is nothing there.
        Unavailable: the server or the object store is away; repeating the call resumes.
    """
    place = _place(artifact_uri, run_id, artifact_path)
    path = "" if artifact_uri is not None else artifact_path or ""
    return download(session().artifacts(), place, path, dst_path, progress)


def list_artifacts(
    artifact_uri: str | None = None, run_id: str | None = None, artifact_path: str | None = None
) -> list[Artifact]:
    """Files and directories in a directory; see `download_artifacts`."""
    place = _place(artifact_uri, run_id, artifact_path)
    path = "" if artifact_uri is not None else artifact_path or ""
    return list(session().artifacts().list(place, path))


def _place(artifact_uri: str | None, run_id: str | None, artifact_path: str | None) -> str:
    if artifact_uri is None:
        return run_id or require_run().run_id
    if run_id is not None or artifact_path is not None:
        raise InvalidArgument.of("artifact_uri", "give either a URI, or a run with a path")
    if not is_place(artifact_uri):
        raise InvalidArgument.of("artifact_uri", f"{artifact_uri!r:.300} is no URI of artifacts")
    return artifact_uri
