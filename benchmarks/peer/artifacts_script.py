"""A training process that stores and fetches a folder; runs in the peer's environment and prints one line of JSON.

Arguments: tracking URI, folder, folder for the download.
"""

import json
import sys
import time

import mlflow  # type: ignore[import-not-found]  # only in the peer's environment


def main(tracking_uri: str, folder: str, target: str) -> None:
    """Log every file of a folder through the server's artifact proxy, fetch all of them, print the times."""
    mlflow.set_tracking_uri(tracking_uri)
    with mlflow.start_run() as run:
        mlflow.log_text("warm-up", "warm-up.txt")
        started = time.perf_counter()
        mlflow.log_artifacts(folder, "files")
        stored = time.perf_counter()
    mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path="files", dst_path=target)
    fetched = time.perf_counter()
    print(json.dumps({"upload_seconds": stored - started, "download_seconds": fetched - stored}))


if __name__ == "__main__":
    main(*sys.argv[1:])
