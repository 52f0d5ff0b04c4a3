import json
import math
from pathlib import Path

import pytest

from benchmarks.report import Result, table, write_json


def test_more_is_better_for_rates() -> None:
    assert Result(name="accepted", topology="kafka", unit="points/s", value=900, peer=3).ratio == 300


def test_less_is_better_for_times() -> None:
    assert Result(name="delay", topology="kafka", unit="ms", value=20, peer=50).ratio == 2.5


def test_no_peer_means_no_ratio() -> None:
    result = Result(name="memory", topology="kafka", unit="MB", value=100)
    assert result.row() == {
        "name": "memory",
        "topology": "kafka",
        "unit": "MB",
        "value": 100.0,
        "peer": None,
        "ratio": None,
    }


@pytest.mark.parametrize("figure", [0.0, -1.0, math.nan, math.inf])
def test_a_figure_that_measured_nothing_is_refused(figure: float) -> None:
    with pytest.raises(ValueError, match="not a measurement"):
        Result(name="accepted", topology="kafka", unit="points/s", value=figure)
    with pytest.raises(ValueError, match="not a measurement"):
        Result(name="accepted", topology="kafka", unit="points/s", value=1, peer=figure)


def test_a_unit_without_direction_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown unit 'furlongs'"):
        Result(name="accepted", topology="kafka", unit="furlongs", value=1)


def test_json_is_sorted_and_holds_exactly_the_agreed_fields(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "latest.json"
    results = [
        Result(name="queryable", topology="embedded", unit="points/s", value=123456.789, peer=3700),
        Result(name="accepted", topology="kafka", unit="points/s", value=1),
        Result(name="accepted", topology="embedded", unit="points/s", value=2),
    ]
    write_json(results, path)
    written = json.loads(path.read_text())
    assert [(row["name"], row["topology"]) for row in written] == [
        ("accepted", "embedded"),
        ("accepted", "kafka"),
        ("queryable", "embedded"),
    ]
    assert written[2] == {
        "name": "queryable",
        "topology": "embedded",
        "unit": "points/s",
        "value": 123500.0,
        "peer": 3700.0,
        "ratio": 33.37,
    }
    assert [entry.name for entry in path.parent.iterdir()] == ["latest.json"]


def test_table_starts_with_the_name_and_is_aligned() -> None:
    lines = table(
        [
            Result(name="history_chart", topology="embedded", unit="ms", value=12.5, peer=1250),
            Result(name="accepted", topology="kafka", unit="points/s", value=1_000_000),
        ]
    ).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[0].split() == ["name", "topology", "unit", "value", "peer", "ratio"]
    assert lines[2].split() == ["accepted", "kafka", "points/s", "1,000,000", "-", "-"]
    assert lines[3].split() == ["history_chart", "embedded", "ms", "12.5", "1,250", "100", "x"]
