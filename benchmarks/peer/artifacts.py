"""The peer's artifact proxy, used by its own client."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peer.environment import ensure_environment
from benchmarks.peer.server import MlflowServer

_SCRIPT = Path(__file__).with_name("artifacts_script.py")
_TIMEOUT_SECONDS = 600.0


@dataclass(frozen=True)
class FolderTimes:
    """How long a folder took."""

    upload_seconds: float
    download_seconds: float


def folder_times(server: MlflowServer, folder: Path, target: Path) -> FolderTimes:
    """Log a folder with `mlflow.log_artifacts` and fetch it with `mlflow.artifacts.download_artifacts`.

    Args:
        server: a running peer, which keeps artifacts in a local folder of its own.
        folder: what to store.
        target: an empty folder.

    Raises:
        subprocess.CalledProcessError: the client failed.
    """
    finished = subprocess.run(
        [str(ensure_environment()), "-I", str(_SCRIPT), server.url, str(folder), str(target)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        timeout=_TIMEOUT_SECONDS,
    )
    return FolderTimes(**json.loads(finished.stdout.splitlines()[-1]))
