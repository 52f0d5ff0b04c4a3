"""Measure every claim: `python -m benchmarks [--only NAME …] [--topology embedded|kafka] [--quick] [--no-peer]`."""

import argparse
import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from runstream.embedded.ports import free_port
from runstream.embedded.postgres import LocalPostgres

from benchmarks import suite
from benchmarks.report import publish
from deploy.local.kafka.kafka import KafkaServer
from deploy.local.process import MissingToolError
from deploy.local.s3.s3 import S3Server


def main() -> None:
    """Run from the command line."""
    arguments = _arguments()
    plan = suite.QUICK if arguments.quick else suite.FULL
    names = set(arguments.only or suite.NAMES)
    with _work_dir() as folder, _postgres(folder) as postgres:
        peer = {} if arguments.no_peer else suite.measure_peer(postgres, folder, plan, names)
        results = []
        if names & {"small_files", "large_file"}:
            results += suite.measure_files(postgres, folder, None, plan, names, peer)
            with _s3(folder) as server:
                results += suite.measure_files(postgres, folder, server, plan, names, peer)
        for topology in arguments.topology or ("embedded", "kafka"):
            if not names - {"small_files", "large_file"}:
                break
            with contextlib.ExitStack() as resources:
                kafka = resources.enter_context(_kafka(folder)) if topology == "kafka" else None
                results += suite.measure_ours(postgres, folder / topology, kafka, plan, names, peer)
    publish(results, *([arguments.output] if arguments.output else []))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--only", action="append", choices=suite.NAMES, help="measure these alone; may be repeated"
    )
    parser.add_argument("--topology", action="append", choices=("embedded", "kafka"))
    parser.add_argument(
        "--quick", action="store_true", help="short times and small stores: a check, not a measurement"
    )
    parser.add_argument("--no-peer", action="store_true", help="leave MLflow out")
    parser.add_argument("--output", type=Path, help="JSON file instead of benchmarks/results/latest.json")
    return parser.parse_args()


@contextlib.contextmanager
def _work_dir() -> Iterator[Path]:
    # Not TemporaryDirectory: the PostgreSQL user must be able to pass through it.
    folder = Path(tempfile.mkdtemp(prefix="runstream-bench-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _postgres(folder: Path) -> Iterator[LocalPostgres]:
    server = LocalPostgres(folder / "postgres", free_port())
    server.initialise()
    server.start()
    try:
        yield server
    finally:
        server.stop()


@contextlib.contextmanager
def _kafka(folder: Path) -> Iterator[str]:
    server = KafkaServer(folder / "kafka-data", free_port())
    try:
        server.start()
    except MissingToolError as problem:
        raise SystemExit(f"the kafka topology cannot be measured: {problem}") from problem
    try:
        yield server.bootstrap
    finally:
        server.stop()


@contextlib.contextmanager
def _s3(folder: Path) -> Iterator[S3Server]:
    server = S3Server(folder / "s3-data", free_port())
    try:
        server.start()
    except MissingToolError as problem:
        raise SystemExit(f"files in S3 cannot be measured: {problem}") from problem
    try:
        yield server
    finally:
        server.stop()


if __name__ == "__main__":
    main()
