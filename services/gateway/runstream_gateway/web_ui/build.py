"""Where the static build of MLflow's web UI is: package data of the whole `mlflow` wheel."""

from __future__ import annotations

import zipfile
from importlib.util import find_spec
from pathlib import Path, PurePosixPath

import structlog

log = structlog.get_logger(__name__)

IN_PACKAGE = PurePosixPath("server/js/build")
IN_WHEEL = "mlflow/server/js/build/"
INDEX = "index.html"


def find_build(folder: Path | None) -> Path | None:
    """The folder with the build, None when there is none.

    Args:
        folder: the setting; the installed `mlflow` is asked if it is None, without importing it.
    """
    if folder is not None:
        if not (folder / INDEX).is_file():
            log.warning("mlflow_ui_missing", folder=str(folder))
            return None
        return folder
    spec = find_spec("mlflow")
    for location in (spec.submodule_search_locations or ()) if spec is not None else ():
        candidate = Path(location) / IN_PACKAGE
        if (candidate / INDEX).is_file():
            return candidate
    return None


def unpack(wheel: Path, target: Path) -> int:
    """Take the build out of a wheel file, for images that shall not hold the whole package.

    Args:
        wheel: `mlflow-<version>-py3-none-any.whl`.
        target: folder for the build; made when it is missing.

    Returns:
        How many files were written.

    Raises:
        ValueError: the wheel holds no build, as that of mlflow-skinny, or a name that leads out of the folder.
        OSError: the wheel cannot be read or the folder not be written.
    """
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if name.startswith(IN_WHEEL) and not name.endswith("/")]
        if IN_WHEEL + INDEX not in names:
            raise ValueError(f"{wheel.name} holds no {IN_WHEEL}{INDEX}: it is not the whole mlflow package")
        for name in names:
            relative = PurePosixPath(name.removeprefix(IN_WHEEL))
            if relative.is_absolute() or ".." in relative.parts:
                raise ValueError(f"{wheel.name} holds a name that leads out of the folder: {name}")
            path = target / relative
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(archive.read(name))
    return len(names)
