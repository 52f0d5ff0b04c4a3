"""A real S3 server (versitygw over a folder) on 127.0.0.1, as one plain process. For development and tests.

    python deploy/local/s3/s3.py up [--port 9000] [--data-dir DIR]
    python deploy/local/s3/s3.py status | down | fetch

Needs Go for the first start, which builds the server into .local/bin.
"""

from __future__ import annotations

import argparse
import http.client
import os
import subprocess
import sys
from pathlib import Path

if not __package__:  # started as a script: the repository root is not on the path yet
    sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from deploy.local.process import LOCAL_DIR, ServerProcess, exclusive, require_tool

_MODULE = "github.com/versity/versitygw/cmd/versitygw"
_VERSION = "v1.8.0"
_BIN_DIR = LOCAL_DIR / "bin"
_DEFAULT_PORT = 9000
_START_TIMEOUT_SECONDS = 30.0
_STOP_TIMEOUT_SECONDS = 10.0
_INSTALL_GO = "install Go 1.25 or newer (https://go.dev/dl)"


def build_server() -> Path:
    """Return the server's program, built with `go install` when it is not there yet.

    Raises MissingToolError without Go, CalledProcessError when the build fails.
    """
    program = _BIN_DIR / f"versitygw-{_VERSION}"
    with exclusive(_BIN_DIR / "build.lock"):
        if not program.exists():
            go = require_tool("go", install=_INSTALL_GO)
            environment = {**os.environ, "GOBIN": str(_BIN_DIR)}
            subprocess.run([go, "install", f"{_MODULE}@{_VERSION}"], env=environment, check=True)
            (_BIN_DIR / "versitygw").rename(program)
    return program


def answers_http(port: int) -> bool:
    """Say whether an S3 server on 127.0.0.1 answers a request without a signature, which it must refuse (403)."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status == http.client.FORBIDDEN
    except OSError:
        return False
    finally:
        connection.close()


class S3Server:
    """One S3 server over a folder. Objects survive kill and restart.

    Args:
        data_dir: holds the buckets, their metadata, the server's log and its pid; created when missing.
        port: port on 127.0.0.1.
        access_key, secret_key: credentials of the only account, which owns every bucket.
    """

    def __init__(
        self,
        data_dir: Path,
        port: int,
        *,
        access_key: str = "runstream",
        secret_key: str = "runstream-local",  # noqa: S107
    ) -> None:
        self.data_dir = data_dir.resolve()
        self.port = port
        self.endpoint = f"http://127.0.0.1:{port}"
        self.region = "us-east-1"
        self.access_key = access_key
        self.secret_key = secret_key
        self._process = ServerProcess("s3", self.data_dir)

    def start(self) -> None:
        """Start the server and block until it answers.

        Raises MissingToolError without Go, ServerFailedError when it does not come up.
        """
        program = build_server()
        # The sidecar keeps metadata in files: not every file system has extended attributes.
        objects, metadata = self.data_dir / "objects", self.data_dir / "metadata"
        objects.mkdir(parents=True, exist_ok=True)
        metadata.mkdir(exist_ok=True)
        command = [str(program), "--port", f"127.0.0.1:{self.port}", "--region", self.region, "--quiet"]
        credentials = {"ROOT_ACCESS_KEY": self.access_key, "ROOT_SECRET_KEY": self.secret_key}
        self._process.start(
            [*command, "posix", "--sidecar", str(metadata), str(objects)], {**os.environ, **credentials}
        )
        self._process.wait_ready(lambda: answers_http(self.port), timeout_seconds=_START_TIMEOUT_SECONDS)

    def stop(self) -> None:
        """Shut the server down in good order. A server that is not running is no error."""
        self._process.stop(timeout_seconds=_STOP_TIMEOUT_SECONDS)

    def kill(self) -> None:
        """End the server with SIGKILL and wait until it is gone."""
        self._process.kill()

    def is_running(self) -> bool:
        """Say whether the process that this data directory names is alive."""
        return self._process.find() is not None


def main() -> int:
    """Run the command line; returns the exit status (`status`: 0 when the server answers, else 1)."""
    parser = argparse.ArgumentParser(description="A local S3 server for development and tests.")
    parser.add_argument("action", choices=["up", "down", "status", "fetch"])
    parser.add_argument("--port", type=int, default=_DEFAULT_PORT)
    parser.add_argument("--data-dir", type=Path, default=LOCAL_DIR / "s3" / "data")
    arguments = parser.parse_args()
    server = S3Server(arguments.data_dir, arguments.port)
    if arguments.action == "fetch":
        sys.stdout.write(f"{build_server()}\n")
        return 0
    if arguments.action == "up" and not server.is_running():
        server.start()
    if arguments.action == "down":
        server.stop()
        return 0
    running = server.is_running() and answers_http(server.port)
    sys.stdout.write(
        f"s3: {server.endpoint} {'answers' if running else 'is not running'} ({server.data_dir})\n"
    )
    return 0 if running else 1


if __name__ == "__main__":
    raise SystemExit(main())
