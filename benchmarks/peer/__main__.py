"""Measure the peer alone: `python -m benchmarks.peer --database-url postgresql://…/empty_database`."""

import argparse
import time

from benchmarks import peer, workload


def main() -> None:
    """Run every measurement of the peer and print its figures as they come."""
    arguments = _arguments()
    with peer.MlflowServer(arguments.database_url, workers=arguments.workers) as server:
        if arguments.grow_points:
            _print(
                "append_growth", peer.append_growth(server, arguments.seconds, points=arguments.grow_points)
            )
        _print("accepted", peer.log_batch_rate(server, arguments.seconds))
        _print("create_run", peer.create_run_rate(server, arguments.seconds))
        delay = peer.write_delay(server)
        _print("delay", f"median {delay.median_ms:.1f} ms, p99 {delay.percentile_ms(99):.1f} ms")
        for synchronous in (True, False):
            rate = peer.log_metric_rate(server, arguments.seconds, synchronous=synchronous)
            _print("log_metric", f"{'sync' if synchronous else 'async'} {rate}")
        _print_reads(server, arguments)


def _print_reads(server: peer.MlflowServer, arguments: argparse.Namespace) -> None:
    started = time.perf_counter()
    experiment_id = peer.load_search_experiment(server, arguments.runs)
    _print("loaded", f"{arguments.runs} runs in {time.perf_counter() - started:.1f} s")
    search = peer.search_runs_latency(server, experiment_id)
    _print("search_runs", f"median {search.median_ms:.1f} ms, p95 {search.percentile_ms(95):.1f} ms")
    started = time.perf_counter()
    history = peer.load_history(server, arguments.history_points)
    _print("loaded", f"{history.points} points in {time.perf_counter() - started:.1f} s")
    chart = peer.history_chart_latency(server, history)
    _print("history_chart", f"median {chart.median_ms:.1f} ms, p95 {chart.percentile_ms(95):.1f} ms")
    _print("history_whole", peer.history_whole_rate(server, history))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database-url", required=True, help="an empty PostgreSQL database")
    parser.add_argument("--workers", type=int, default=2, help="MLflow server processes")
    parser.add_argument("--seconds", type=float, default=20.0, help="time for each rate")
    parser.add_argument("--runs", type=int, default=workload.SEARCH_RUNS, help="runs to search in")
    parser.add_argument("--history-points", type=int, default=workload.HISTORY_POINTS)
    parser.add_argument("--grow-points", type=int, default=0, help="points for append_growth; 0 skips it")
    return parser.parse_args()


def _print(name: str, figure: object) -> None:
    print(f"{name:14} {figure}", flush=True)


if __name__ == "__main__":
    main()
