"""Objects as bytes of a file: dictionaries, figures, images, tables. The rules are MLflow's (`MlflowClient.log_*`).

pandas, Pillow, matplotlib, Plotly and PyYAML are used when an object of theirs is given, or a file of that kind is asked for.
"""

from __future__ import annotations

import io
import json
import random
import re
import string
import uuid
from typing import TYPE_CHECKING, Any

import numpy as np
from runstream_common.errors import InvalidArgument

from runstream.query.frames import require

if TYPE_CHECKING:
    from collections.abc import Mapping

YAML_SUFFIXES = ("yml", "yaml")
TABLE_SUFFIXES = ("json", "parquet")
MAX_THUMBNAIL_PIXELS = 256
_PLOTLY_IMAGES = ("png", "jpeg", "jpg", "webp", "svg", "pdf")
_IMAGE_KEY = re.compile(r"[a-zA-Z0-9_\-./ ]+")


def suffix_of(path: str) -> str:
    """Suffix of a path in lower case, without the dot."""
    name = path.rpartition("/")[2]
    return name.rpartition(".")[2].lower() if "." in name else ""


def dict_bytes(dictionary: Any, path: str) -> bytes:
    """A dictionary as YAML when the path ends in .yml or .yaml, else as JSON; what neither knows becomes text."""
    if suffix_of(path) in YAML_SUFFIXES:
        yaml = require("yaml", extra="yaml")
        plain = json.loads(json.dumps(dictionary, default=_plain))
        text: str = yaml.safe_dump(
            plain, indent=2, default_flow_style=False, allow_unicode=True, sort_keys=False
        )
        return text.encode()
    return json.dumps(dictionary, indent=2, default=_plain, ensure_ascii=False).encode()


def figure_bytes(figure: Any, path: str, save_options: Mapping[str, Any]) -> bytes:
    """A figure of matplotlib in the format of the path's suffix, or of Plotly as HTML or an image.

    Raises:
        InvalidArgument: it is neither, or the suffix is none that can be written.
    """
    buffer = io.BytesIO()
    if hasattr(figure, "savefig"):
        figure.savefig(buffer, **{"format": suffix_of(path) or "png", **save_options})
        return buffer.getvalue()
    if not hasattr(figure, "write_html"):
        raise InvalidArgument.of(
            "figure", f"{type(figure).__name__} is neither a figure of matplotlib nor one of Plotly"
        )
    if suffix_of(path) == "html":
        text: str = figure.to_html(**{"include_plotlyjs": "cdn", **save_options})
        return text.encode()
    if suffix_of(path) in _PLOTLY_IMAGES:
        image: bytes = figure.to_image(**{"format": suffix_of(path), **save_options})
        return image
    raise InvalidArgument.of(
        "artifact_file", f"{path!r} must end in .html, .{', .'.join(_PLOTLY_IMAGES)} for a Plotly figure"
    )


def image_of(image: Any) -> Any:
    """A Pillow image of a Pillow image, a numpy array, or what converts to one (a tensor on the CPU).

    Arrays have shape (h, w), (h, w, 1), (h, w, 3) or (h, w, 4); booleans, integers 0 to 255 or floats 0 to 1.

    Raises:
        InvalidArgument: it is no such thing.
        ImportError: Pillow is not installed.
    """
    pillow = require("PIL.Image", extra="image")
    if isinstance(image, pillow.Image):
        return image
    if callable(getattr(image, "to_pil", None)):  # mlflow.Image
        return image.to_pil()
    if not hasattr(image, "__array__"):
        raise InvalidArgument.of("image", f"{type(image).__name__} is neither an image nor an array")
    return pillow.fromarray(_pixels(np.asarray(image)))


def _pixels(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    if array.ndim not in {2, 3} or (array.ndim == 3 and array.shape[2] not in {1, 3, 4}):
        raise InvalidArgument.of("image", f"shape {array.shape} is not (h, w) or (h, w, 1, 3 or 4)")
    if array.dtype.kind == "b":
        array = array.astype(np.uint8) * 255
    elif array.dtype.kind in "iu":
        _check_range(array, 255)
    elif array.dtype.kind == "f":
        _check_range(array, 1)
        array = array * 255
    else:
        raise InvalidArgument.of("image", f"pixels of type {array.dtype} cannot be shown")
    array = array.astype(np.uint8)
    return array[:, :, 0] if array.ndim == 3 and array.shape[2] == 1 else array


def _check_range(array: np.ndarray[Any, Any], most: int) -> None:
    if array.size and not (array.min() >= 0 and array.max() <= most):
        raise InvalidArgument.of("image", f"{array.dtype} pixels must be 0 to {most}")


def image_bytes(image: Any, path: str) -> bytes:
    """A Pillow image in the format of the path's suffix.

    Raises:
        InvalidArgument: Pillow cannot write such a file.
    """
    pillow = require("PIL.Image", extra="image")
    form = pillow.registered_extensions().get(f".{suffix_of(path)}")
    if form is None:
        raise InvalidArgument.of("artifact_file", f"{path!r} does not end in the suffix of an image format")
    buffer = io.BytesIO()
    try:
        image.save(buffer, format=form)
    except OSError as error:  # such as JPEG without an alpha channel
        raise InvalidArgument.of("artifact_file", f"{form}: {error}") from error
    return buffer.getvalue()


def stepped_image_files(image: Any, key: str, step: int, timestamp_ms: int) -> dict[str, bytes]:
    """The files of one image of a series, by path: the image, and a small copy for overviews.

    The names are those that MLflow's interface reads the series from.

    Args:
        image: see `image_of`.
        key: name of the series: letters, digits, "_", "-", ".", " " and "/".
        step: step.
        timestamp_ms: milliseconds since the Unix epoch.
    """
    if not _IMAGE_KEY.fullmatch(key):
        raise InvalidArgument.of(
            "key", f"{key!r:.100} may only contain letters, digits, _, -, ., spaces and /"
        )
    picture = image_of(image)
    # Not hexadecimal after "%", which would be read as an escaped character in a URL (mlflow issue 14136).
    unique = random.choice(string.ascii_lowercase[6:]) + str(uuid.uuid4())[1:]  # noqa: S311 - no secret
    stem = f"images/{key.replace('/', '#')}%step%{step}%timestamp%{timestamp_ms}%{unique}"
    small = picture.copy()
    small.thumbnail((MAX_THUMBNAIL_PIXELS, MAX_THUMBNAIL_PIXELS))
    return {
        f"{stem}.png": image_bytes(picture, "image.png"),
        f"{stem}%compressed.webp": image_bytes(small, "image.webp"),
    }


def table_bytes(data: Any, path: str, existing: bytes | None) -> bytes:
    """A table as JSON ("split": columns and rows) or Parquet, behind the rows that are there already.

    Args:
        data: dict of columns (values or lists of one length), or a pandas DataFrame.
        path: ends in .json or .parquet.
        existing: the file as it is; None when there is none.

    Raises:
        InvalidArgument: it is no such thing.
        ImportError: Parquet is asked for and pandas or pyarrow are not installed.
    """
    if suffix_of(path) not in TABLE_SUFFIXES:
        raise InvalidArgument.of("artifact_file", f"{path!r} must end in .json or .parquet")
    if suffix_of(path) == "parquet":
        return _parquet_table(data, existing)
    columns, rows = _split(data)
    if existing is not None:
        columns, rows = _appended(json.loads(existing), columns, rows)
    return json.dumps({"columns": columns, "data": rows}, default=_plain, ensure_ascii=False).encode()


def _parquet_table(data: Any, existing: bytes | None) -> bytes:
    pandas = require("pandas", extra="pandas")
    require("pyarrow", extra="arrow")
    columns, rows = _split(data)
    frame = data if hasattr(data, "to_parquet") else pandas.DataFrame(rows, columns=columns)
    if existing is not None:
        frame = pandas.concat([pandas.read_parquet(io.BytesIO(existing)), frame], ignore_index=True)
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False)
    return buffer.getvalue()


def _split(data: Any) -> tuple[list[Any], list[list[Any]]]:
    if hasattr(data, "to_json") and hasattr(data, "columns"):
        parsed = json.loads(data.to_json(orient="split", index=False, date_format="iso"))
        return parsed["columns"], parsed["data"]
    if not isinstance(data, dict):
        raise InvalidArgument.of("data", f"{type(data).__name__} is neither a dict nor a pandas DataFrame")
    lists = {key: _column(value) for key, value in data.items()}
    lengths = {len(values) for values in lists.values()}
    if len(lengths) > 1:
        raise InvalidArgument.of("data", f"columns have different lengths: {sorted(lengths)}")
    return list(lists), [list(row) for row in zip(*lists.values(), strict=True)]


def _column(values: Any) -> list[Any]:
    if isinstance(values, np.ndarray):
        return list(values.tolist()) if values.ndim else [values.item()]
    return list(values) if isinstance(values, list | tuple) else [values]


def _appended(
    existing: dict[str, Any], columns: list[Any], rows: list[list[Any]]
) -> tuple[list[Any], list[list[Any]]]:
    """Rows behind others by column name; a column that one side lacks is null there, as in pandas.concat."""
    every = [*existing["columns"], *(name for name in columns if name not in existing["columns"])]

    def widened(names: list[Any], table: list[list[Any]]) -> list[list[Any]]:
        return [[dict(zip(names, row, strict=True)).get(name) for name in every] for row in table]

    return every, [*widened(existing["columns"], existing["data"]), *widened(columns, rows)]


def _plain(value: Any) -> Any:
    """What JSON does not know: numpy's numbers and arrays as Python's, anything else as text."""
    if isinstance(value, np.generic):
        return value.item()
    return value.tolist() if isinstance(value, np.ndarray) else str(value)
