"""The half of a run that logs files. Other than metrics, nothing here waits in the spool: a server that is away is an error."""

from __future__ import annotations

import json
import os
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runstream_common.errors import InvalidArgument

from runstream.artifacts import contents
from runstream.artifacts.locations import joined, parse_location

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runstream.artifacts.client import Artifacts
    from runstream.artifacts.progress import Progress
    from runstream.artifacts.results import Artifact
    from runstream.tracking.session import Session

IMAGES_TAG = "mlflow.loggedImages"
ARTIFACTS_TAG = "mlflow.loggedArtifacts"

_tables = threading.Lock()


class RunArtifacts(ABC):
    """Methods of `Run` that log files; names and rules as MLflow's."""

    run_id: str
    _session: Session

    @property
    def artifacts(self) -> Artifacts:
        """Everything else that can be done with files; see `Client.artifacts`.

        Raises:
            FailedPrecondition: this is a child that was forked after gRPC had been used, which does not survive it.
        """
        return self._session.artifacts()

    @abstractmethod
    def set_tags(self, tags: Mapping[str, object]) -> None:
        """See Run."""

    @abstractmethod
    def _begin_artifacts(self) -> None:
        """Raise unless the run can be given files."""

    def log_artifact(
        self,
        local_path: str | os.PathLike[str],
        artifact_path: str | None = None,
        *,
        skip_special: bool = False,
        progress: Progress = None,
    ) -> None:
        """Store a file under its own name, or a folder with its name.

        Args:
            local_path: file or folder.
            artifact_path: directory in the run; None means its root.
            skip_special: leave symbolic links and special files out instead of refusing them.
            progress: True draws a bar, False nothing, None a bar if standard error is a terminal; or a function.

        Raises:
            LocalPathRefused: a symbolic link, a special file or a name that cannot be stored.
            LocalFileChanged: a file was written to meanwhile.
            Unavailable: the server or the object store is away; repeating the call resumes.
        """
        local = Path(local_path)
        target = joined(artifact_path or "", local.resolve().name if local.is_dir() else "")
        self._upload(local, target, skip_special=skip_special, progress=progress)

    def log_artifacts(
        self,
        local_dir: str | os.PathLike[str],
        artifact_path: str | None = None,
        *,
        skip_special: bool = False,
        progress: Progress = None,
    ) -> None:
        """Store the content of a folder; see `log_artifact`."""
        if not Path(local_dir).is_dir():
            raise InvalidArgument.of("local_dir", f"{os.fspath(local_dir)!r} is no folder")
        self._upload(Path(local_dir), artifact_path or "", skip_special=skip_special, progress=progress)

    def log_text(self, text: str, artifact_file: str) -> None:
        """Store a text as UTF-8.

        Args:
            text: text.
            artifact_file: path in the run, such as "notes/today.txt".
        """
        self._store(artifact_file, text.encode())

    def log_dict(self, dictionary: Any, artifact_file: str) -> None:
        """Store a dictionary or list as YAML (.yml, .yaml) or JSON (any other suffix).

        Args:
            dictionary: what JSON can hold; anything else becomes text.
            artifact_file: path in the run.
        """
        self._store(artifact_file, contents.dict_bytes(dictionary, artifact_file))

    def log_figure(
        self, figure: Any, artifact_file: str, *, save_kwargs: Mapping[str, Any] | None = None
    ) -> None:
        """Store a figure of matplotlib (any format it writes) or Plotly (.html or an image).

        Args:
            figure: figure.
            artifact_file: path in the run; its suffix is the format.
            save_kwargs: given to `savefig`, `to_html` or `to_image`.
        """
        self._store(artifact_file, contents.figure_bytes(figure, artifact_file, save_kwargs or {}))

    def log_image(
        self,
        image: Any,
        artifact_file: str | None = None,
        *,
        key: str | None = None,
        step: int | None = None,
        timestamp: int | None = None,
    ) -> None:
        """Store an image, by path or as one of a series over steps.

        Args:
            image: Pillow image, numpy array of shape (h, w), (h, w, 1), (h, w, 3) or (h, w, 4) with integers 0 to 255 or
                floats 0 to 1, or a tensor like it.
            artifact_file: path in the run, instead of a key.
            key: name of a series; it is stored below images/ with a small copy for overviews.
            step: step in the series; None means 0.
            timestamp: milliseconds since the Unix epoch; None means now.
        """
        if (artifact_file is None) == (key is None):
            raise InvalidArgument.of("artifact_file", "give either artifact_file or key")
        if artifact_file is not None:
            if step is not None or timestamp is not None:
                raise InvalidArgument.of(
                    "step", "step and timestamp belong to a series: give key, not artifact_file"
                )
            self._store(artifact_file, contents.image_bytes(contents.image_of(image), artifact_file))
            return
        now_ms = time.time_ns() // 1_000_000 if timestamp is None else timestamp
        for path, content in contents.stepped_image_files(image, key or "", step or 0, now_ms).items():
            self._store(path, content)
        self.set_tags({IMAGES_TAG: True})

    def log_table(self, data: Any, artifact_file: str) -> None:
        """Store a table, or append its rows to the one that is there. Two processes must not append at once.

        Args:
            data: dict of columns (values or lists of one length) or a pandas DataFrame.
            artifact_file: path in the run; .json ("split" orientation) or .parquet.
        """
        with _tables:  # threads of this process would lose rows to each other
            self._begin_artifacts()
            path = joined(artifact_file)
            existing = None
            if self.artifacts.exists(self.run_id, path):
                existing = self.artifacts.read_bytes(self.run_id, path)
            self._store(path, contents.table_bytes(data, path, existing))
            tables, entry = self._logged_tables(), {"path": path, "type": "table"}
            if entry not in tables:
                self.set_tags({ARTIFACTS_TAG: json.dumps([*tables, entry])})

    def download_artifacts(
        self,
        artifact_path: str = "",
        dst_path: str | os.PathLike[str] | None = None,
        *,
        progress: Progress = None,
    ) -> str:
        """Fetch a file or directory of this run; see `runstream.download_artifacts`."""
        return download(self.artifacts, self.run_id, artifact_path, dst_path, progress)

    def list_artifacts(self, artifact_path: str = "") -> list[Artifact]:
        """Files and directories in a directory of this run."""
        return list(self.artifacts.list(self.run_id, artifact_path))

    def _upload(self, local: Path, target: str, *, skip_special: bool, progress: Progress) -> None:
        self._begin_artifacts()
        self.artifacts.upload(local, self.run_id, target, skip_special=skip_special, progress=progress)

    def _store(self, artifact_file: str, content: bytes) -> None:
        self._begin_artifacts()
        self.artifacts.upload_bytes(content, self.run_id, artifact_file)

    def _logged_tables(self) -> list[dict[str, str]]:
        from runstream.query.client import Client  # noqa: PLC0415 - logging alone does not load queries

        with Client(connection=self._session.connection) as client:
            text = client.get_run(self.run_id).tags.get(ARTIFACTS_TAG, "[]")
        tables: list[dict[str, str]] = json.loads(text)
        return tables


def download(
    artifacts: Artifacts,
    place: str,
    path: str,
    dst_path: str | os.PathLike[str] | None,
    progress: Progress,
) -> str:
    """Fetch a file or directory below its own path, as MLflow does; returns where it is now.

    Args:
        artifacts: of a client.
        place: run id or URI.
        path: path below the place.
        dst_path: folder that it goes below; None makes a temporary one.
        progress: see `Artifacts.upload`.
    """
    base = Path(tempfile.mkdtemp(prefix="runstream-") if dst_path is None else dst_path)
    entry = artifacts.resolve(place, path)
    below = base.joinpath(*parse_location(entry).path.split("/"))
    artifacts.download(entry, to=below, progress=progress)
    return str(below)
