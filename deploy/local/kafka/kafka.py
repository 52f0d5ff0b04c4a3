"""A real Apache Kafka broker on 127.0.0.1, as one plain process. For development and tests, not for production.

    python deploy/local/kafka/kafka.py up [--port 9092] [--data-dir DIR]
    python deploy/local/kafka/kafka.py status | down | fetch

Needs Java 17 or newer and, for the first start, Maven (which fetches the jars that pom.xml names).
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import os
import shutil
import socket
import struct
import subprocess
import sys
import uuid
from pathlib import Path

if not __package__:  # started as a script: the repository root is not on the path yet
    sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from deploy.local.process import LOCAL_DIR, ServerProcess, exclusive, free_port, require_tool

_HERE = Path(__file__).resolve().parent
_CACHE_DIR = LOCAL_DIR / "kafka"
_DEFAULT_PORT = 9092
_START_TIMEOUT_SECONDS = 90.0
_STOP_TIMEOUT_SECONDS = 30.0
_INSTALL_JAVA = "install Java 17 or newer (Debian: apt-get install openjdk-17-jre-headless)"
_INSTALL_MAVEN = "install Maven 3.8 or newer (Debian: apt-get install maven)"

# One node: every replication factor is 1. Few internal partitions and no rebalance delay make tests start quickly;
# topics are created on purpose, so that a misspelt one fails. A killed broker may register again only after its
# session has ended, so the session is short.
_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={log_dir}
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=4
log.cleaner.dedupe.buffer.size=16777216
"""


def resolve_jars() -> Path:
    """Return the folder with Kafka's jars, fetched with Maven when pom.xml is new or has changed.

    Raises MissingToolError without Maven, CalledProcessError when the download fails.
    """
    pom = _HERE / "pom.xml"
    lib_dir = _CACHE_DIR / f"lib-{hashlib.sha256(pom.read_bytes()).hexdigest()[:12]}"
    with exclusive(_CACHE_DIR / "fetch.lock"):
        if not lib_dir.exists():
            maven = require_tool("mvn", install=_INSTALL_MAVEN)
            partial = _CACHE_DIR / "lib-partial"
            shutil.rmtree(partial, ignore_errors=True)
            command = [maven, "-B", "-q", "-f", str(pom), "dependency:copy-dependencies"]
            subprocess.run([*command, "-DincludeScope=runtime", f"-DoutputDirectory={partial}"], check=True)
            partial.rename(lib_dir)
    return lib_dir


def answers_api_versions(port: int) -> bool:
    """Say whether a broker on 127.0.0.1 answers an ApiVersions request, which it does once it serves clients."""
    # int32 size, then int16 api key 18, int16 version 0, int32 correlation id, int16 null client id.
    request = struct.pack(">ihhih", 10, 18, 0, 1, -1)
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(request)
            answer = connection.recv(10)
    except OSError:
        return False
    # int32 size, int32 correlation id, int16 error code.
    return answer[4:10] == struct.pack(">ih", 1, 0)


class KafkaServer:
    """One combined broker and controller (KRaft). The data directory survives kill and restart.

    Args:
        data_dir: holds the configuration, the server's log, its pid and its topics; created when missing.
        port: client port on 127.0.0.1.
        heap_mebibytes: limit of the Java heap.
    """

    def __init__(self, data_dir: Path, port: int, *, heap_mebibytes: int = 512) -> None:
        self.data_dir = data_dir.resolve()
        self.port = port
        self.bootstrap = f"127.0.0.1:{port}"
        self._heap_mebibytes = heap_mebibytes
        self._properties_path = self.data_dir / "server.properties"
        self._process = ServerProcess("kafka", self.data_dir)

    def start(self) -> None:
        """Start the broker and block until it answers. Formats an empty data directory first.

        Raises MissingToolError without Java or Maven, ServerFailedError when it does not come up.
        """
        java = require_tool("java", install=_INSTALL_JAVA)
        class_path = f"{_HERE}{os.pathsep}{resolve_jars()}/*"
        self._write_properties()
        if not (self._log_dir / "meta.properties").exists():
            self._format(java, class_path)
        heap = f"-Xmx{self._heap_mebibytes}m"
        command = [
            java,
            heap,
            "-XX:+ExitOnOutOfMemoryError",
            "-cp",
            class_path,
            "kafka.Kafka",
            str(self._properties_path),
        ]
        self._process.start(command, os.environ)
        self._process.wait_ready(
            lambda: answers_api_versions(self.port), timeout_seconds=_START_TIMEOUT_SECONDS
        )

    def stop(self) -> None:
        """Shut the broker down in good order. A broker that is not running is no error."""
        self._process.stop(timeout_seconds=_STOP_TIMEOUT_SECONDS)

    def kill(self) -> None:
        """End the broker with SIGKILL and wait until it is gone."""
        self._process.kill()

    def is_running(self) -> bool:
        """Say whether the process that this data directory names is alive."""
        return self._process.find() is not None

    @property
    def _log_dir(self) -> Path:
        return self.data_dir / "topics"

    def _write_properties(self) -> None:
        self.data_dir.mkdir(parents=True, exist_ok=True)
        text = _PROPERTIES.format(port=self.port, controller_port=free_port(), log_dir=self._log_dir)
        self._properties_path.write_text(text)

    def _format(self, java: str, class_path: str) -> None:
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
        # "=" keeps an id that begins with a hyphen from being read as another option.
        arguments = ["format", f"--cluster-id={cluster_id}", f"--config={self._properties_path}"]
        with self._process.log_path.open("ab") as log:
            command = [java, "-cp", class_path, "kafka.tools.StorageTool", *arguments]
            subprocess.run(command, stdout=log, stderr=log, check=True)


def main() -> int:
    """Run the command line; returns the exit status (`status`: 0 when the broker answers, else 1)."""
    parser = argparse.ArgumentParser(description="A local Apache Kafka broker for development and tests.")
    parser.add_argument("action", choices=["up", "down", "status", "fetch"])
    parser.add_argument("--port", type=int, default=_DEFAULT_PORT)
    parser.add_argument("--data-dir", type=Path, default=_CACHE_DIR / "data")
    arguments = parser.parse_args()
    server = KafkaServer(arguments.data_dir, arguments.port)
    if arguments.action == "fetch":
        sys.stdout.write(f"{resolve_jars()}\n")
        return 0
    if arguments.action == "up" and not server.is_running():
        server.start()
    if arguments.action == "down":
        server.stop()
        return 0
    running = server.is_running() and answers_api_versions(server.port)
    sys.stdout.write(
        f"kafka: {server.bootstrap} {'answers' if running else 'is not running'} ({server.data_dir})\n"
    )
    return 0 if running else 1


if __name__ == "__main__":
    raise SystemExit(main())
