"""The peer's own virtual environment, made once and kept."""

import fcntl
import hashlib
import subprocess
from pathlib import Path

import uv

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
DEFAULT_PATH = Path(__file__).resolve().parents[2] / ".local" / "mlflow-venv"


def ensure_environment(path: Path = DEFAULT_PATH) -> Path:
    """Return the environment's Python, installing `requirements.txt` when it is missing or changed.

    Blocks for the download the first time. Safe to call from several processes: one installs.

    Raises:
        subprocess.CalledProcessError: uv could not make the environment; its stderr is attached.
    """
    python = path / "bin" / "python"
    stamp = path / ".requirements-sha256"
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if stamp.is_file() and stamp.read_text() == wanted:
            return python
        if not python.is_file():
            _uv("venv", "--quiet", "--python", "3.11", str(path))
        _uv("pip", "install", "--quiet", "--python", str(python), "--requirement", str(REQUIREMENTS))
        stamp.write_text(wanted)
    return python


def _uv(*arguments: str) -> None:
    subprocess.run([uv.find_uv_bin(), *arguments], check=True, capture_output=True, text=True)
