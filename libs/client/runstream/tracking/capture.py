"""What a run was made with: code version, command, Python, packages. Tag names are MLflow's where it has them."""

from __future__ import annotations

import getpass
import json
import logging
import os
import platform
import re
import shlex
import socket
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

from runstream_contract.limits import MAX_TAG_VALUE_LENGTH

log = logging.getLogger("runstream")

GIT_TIMEOUT_SECONDS = 5.0
_SECRET = re.compile(r"pass(word|wd)?|secret|token|api[-_]?key|credential", re.IGNORECASE)
_HIDDEN = "***"


def user_name() -> str:
    """The user of this process; empty when the system does not say."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # no entry for the uid: containers
        return ""


def start_tags() -> dict[str, str]:
    """Tags that cost nothing to find."""
    return {
        "mlflow.user": user_name(),
        "mlflow.source.name": entry_point(),
        "mlflow.source.type": "NOTEBOOK" if _in_notebook() else "LOCAL",
        "runstream.command": command_line(sys.argv)[:MAX_TAG_VALUE_LENGTH],
        "runstream.python.version": platform.python_version(),
        "runstream.platform": platform.platform(),
        "runstream.host": socket.gethostname(),
        "runstream.pid": str(os.getpid()),
    }


def environment_tags() -> dict[str, str]:
    """Tags that take a moment to find: git state and packages."""
    return {**git_tags(_source_folder()), "runstream.packages": packages_json(MAX_TAG_VALUE_LENGTH)}


def entry_point() -> str:
    """What was started: "module" for `python -m module`, else the script's path, else "<interactive>"."""
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    if spec is not None and spec.name != "__main__":
        return str(spec.name).removesuffix(".__main__")
    return str(getattr(main, "__file__", None) or sys.argv[0] or "<interactive>")


def command_line(arguments: list[str]) -> str:
    """The command line as a shell takes it, with the values of options that look secret hidden."""
    shown = []
    hide_next = False
    for argument in arguments:
        name, equals, _ = argument.partition("=")
        if hide_next and not argument.startswith("-"):
            shown.append(_HIDDEN)
        elif equals and _SECRET.search(name):
            shown.append(f"{name}={_HIDDEN}")
        else:
            shown.append(argument)
        hide_next = argument.startswith("-") and not equals and _SECRET.search(argument) is not None
    return shlex.join(shown)


def git_tags(folder: Path) -> dict[str, str]:
    """Commit, branch and whether files are changed; empty outside a repository or without git."""
    commit = _git(folder, "rev-parse", "HEAD")
    if not commit:
        return {}
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    tags = {"mlflow.source.git.commit": commit}
    branch = _git(folder, "rev-parse", "--abbrev-ref", "HEAD")
    if branch and branch != "HEAD":
        tags["mlflow.source.git.branch"] = branch
    if changed is not None:
        tags["runstream.source.git.dirty"] = "true" if changed else "false"
    return tags


def packages_json(max_chars: int) -> str:
    """Installed packages and their versions as a JSON object; imported ones come first and the rest is cut whole.

    Args:
        max_chars: bound of the text.
    """
    versions = {dist.name: dist.version for dist in distributions() if dist.name}
    imported = {name.partition(".")[0].lower() for name in list(sys.modules)}
    ordered = sorted(
        versions, key=lambda name: (name.lower().replace("-", "_") not in imported, name.lower())
    )
    kept: dict[str, str] = {}
    size = len("{}")
    for name in ordered:
        size += len(json.dumps({name: versions[name]}, separators=(",", ":"))) - 1
        if size > max_chars:
            break
        kept[name] = versions[name]
    return json.dumps(kept, separators=(",", ":"))


def _git(folder: Path, *arguments: str) -> str | None:
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=GIT_TIMEOUT_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        log.debug("git cannot be asked: %s", error)
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _source_folder() -> Path:
    file = getattr(sys.modules.get("__main__"), "__file__", None)
    return Path(file).resolve().parent if file else Path.cwd()


def _in_notebook() -> bool:
    return "ipykernel" in sys.modules
