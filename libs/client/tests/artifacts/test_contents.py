"""Objects as bytes; the expectations are MLflow's."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
import yaml
from PIL import Image
from runstream.artifacts import contents
from runstream_common.errors import InvalidArgument


def test_dictionaries_by_suffix():
    given = {
        "b": 1,
        "a": [1.5, None],
        "ü": np.float32(2),
        "array": np.arange(2),
        "odd": {
            1,
        },
    }
    read = json.loads(contents.dict_bytes(given, "x/y.json"))
    assert read == {"b": 1, "a": [1.5, None], "ü": 2.0, "array": [0, 1], "odd": "{1}"}
    for path in ("a.yml", "a.YAML"):
        assert yaml.safe_load(contents.dict_bytes(given, path)) == read
    assert json.loads(contents.dict_bytes([1], "no suffix")) == [1]


def test_a_figure_of_matplotlib():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    figure = Figure()
    figure.subplots().plot([1, 2])
    assert contents.figure_bytes(figure, "a.png", {}).startswith(b"\x89PNG")
    assert contents.figure_bytes(figure, "a.pdf", {}).startswith(b"%PDF")
    small = contents.figure_bytes(figure, "a.png", {"dpi": 20})
    assert Image.open(io.BytesIO(small)).width == 128
    with pytest.raises(InvalidArgument, match="neither"):
        contents.figure_bytes(object(), "a.png", {})


class PlotlyFigure:
    """What Plotly's figures offer."""

    def write_html(self):
        """Marks it."""

    def to_html(self, **options):
        return f"<html>{options}"

    def to_image(self, **options):
        return str(options).encode()


def test_a_figure_of_plotly():
    assert contents.figure_bytes(PlotlyFigure(), "a.html", {}) == b"<html>{'include_plotlyjs': 'cdn'}"
    assert contents.figure_bytes(PlotlyFigure(), "a.svg", {"width": 5}) == b"{'format': 'svg', 'width': 5}"
    with pytest.raises(InvalidArgument, match=r"\.html"):
        contents.figure_bytes(PlotlyFigure(), "a.txt", {})


@pytest.mark.parametrize(
    ("array", "mode", "pixel"),
    [
        (np.array([[True, False]]), "L", 255),
        (np.array([[7, 0]], np.int64), "L", 7),
        (np.array([[1.0, 0.0]]), "L", 255),
        (np.array([[[9], [0]]], np.uint8), "L", 9),
        (np.array([[[1, 2, 3], [0, 0, 0]]], np.uint8), "RGB", (1, 2, 3)),
        (np.array([[[1, 2, 3, 4], [0, 0, 0, 0]]], np.uint8), "RGBA", (1, 2, 3, 4)),
    ],
)
def test_arrays_become_images(array, mode, pixel):
    image = contents.image_of(array)
    assert (image.mode, image.size, image.getpixel((0, 0))) == (mode, (2, 1), pixel)
    assert Image.open(io.BytesIO(contents.image_bytes(image, "a.png"))).size == (2, 1)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros(3),
        np.zeros((2, 2, 2)),
        np.array([[256]]),
        np.array([[-1]]),
        np.array([[1.5]]),
        np.array([[np.nan]]),
        np.array([["a"]]),
        "text",
    ],
)
def test_what_is_no_image_is_refused(array):
    with pytest.raises(InvalidArgument, match="image"):
        contents.image_of(array)


def test_image_formats_follow_the_suffix():
    image = Image.new("RGBA", (2, 2))
    with pytest.raises(InvalidArgument, match="suffix"):
        contents.image_bytes(image, "a.nope")
    with pytest.raises(InvalidArgument, match="JPEG"):
        contents.image_bytes(image, "a.jpg")


def test_images_of_a_series_have_mlflow_s_names():
    files = contents.stepped_image_files(np.zeros((600, 300), np.uint8), "val/dog 1", 3, 1_700_000_000_000)
    full, small = sorted(files, key=len)
    assert full.startswith("images/val#dog 1%step%3%timestamp%1700000000000%")
    assert small == f"{full.removesuffix('.png')}%compressed.webp"
    assert Image.open(io.BytesIO(files[full])).size == (300, 600)
    assert Image.open(io.BytesIO(files[small])).size == (128, 256)
    with pytest.raises(InvalidArgument, match="key"):
        contents.stepped_image_files(np.zeros((2, 2)), "a%b", 0, 0)


def test_tables_are_split_json_and_grow():
    first = contents.table_bytes({"a": [1, 2], "b": ["x", None]}, "t.json", None)
    assert json.loads(first) == {"columns": ["a", "b"], "data": [[1, "x"], [2, None]]}
    second = contents.table_bytes({"b": ["y"], "c": np.array([1.5])}, "t.json", first)
    assert json.loads(second) == {
        "columns": ["a", "b", "c"],
        "data": [[1, "x", None], [2, None, None], [None, "y", 1.5]],
    }
    assert json.loads(contents.table_bytes({"a": 1}, "t.json", None)) == {"columns": ["a"], "data": [[1]]}
    for wrong in ([1], {"a": [1], "b": [1, 2]}):
        with pytest.raises(InvalidArgument, match="data"):
            contents.table_bytes(wrong, "t.json", None)
    with pytest.raises(InvalidArgument, match="parquet"):
        contents.table_bytes({"a": [1]}, "t.csv", None)


def test_tables_of_pandas_and_in_parquet():
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    frame = pandas.DataFrame({"a": [1, 2], "t": pandas.to_datetime(["2024-01-01", "2024-01-02"])})
    parsed = json.loads(contents.table_bytes(frame, "t.json", None))
    assert (parsed["columns"], parsed["data"][0][0]) == (["a", "t"], 1)
    assert parsed["data"][0][1].startswith("2024-01-01T00:00:00")
    first = contents.table_bytes(frame, "t.parquet", None)
    read = pandas.read_parquet(io.BytesIO(contents.table_bytes(frame, "t.parquet", first)))
    assert read["a"].tolist() == [1, 2, 1, 2]
    read = pandas.read_parquet(io.BytesIO(contents.table_bytes({"a": [3]}, "t.parquet", first)))
    assert read["a"].tolist() == [1, 2, 3]
