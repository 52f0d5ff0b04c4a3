"""The system user that PostgreSQL runs as, and what that user must be able to reach.

PostgreSQL refuses to run as root, which is the usual user in a container. Then a system user of its own is used
(`pgserver`, the name that the wheel uses too) and gets passage, not reading, through the folders above its files.
"""

from __future__ import annotations

import hashlib
import logging
import os
import pwd
import stat
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

_logger = logging.getLogger(__name__)
_USER_NAME = "pgserver"
# sockaddr_un holds 104 bytes on macOS and 108 on Linux, with the closing zero; the port has five digits at most.
_SOCKET_PATH_BYTES_MAX = 103
_SOCKET_FILE = ".s.PGSQL.65535"


class PopenOptions(TypedDict, total=False):
    """What `subprocess` needs to start a program as another user; empty for the same user."""

    user: int
    group: int
    extra_groups: list[int]


@dataclass(frozen=True)
class Account:
    """A system user. `switch`: whether it differs from the user we run as (then we are root)."""

    uid: int
    gid: int
    switch: bool

    def popen_options(self) -> PopenOptions:
        """Return the arguments that make `subprocess` run as this user, without root's groups."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []} if self.switch else {}

    def own(self, path: Path) -> None:
        """Give a file or folder to this user."""
        if self.switch:
            os.chown(path, self.uid, self.gid)

    def allow_access(self, *paths: Path) -> None:
        """Let this user pass through every folder above `paths`. Says so for each folder that it opens."""
        if not self.switch:
            return
        for folder in {parent for path in paths for parent in path.parents}:
            mode = folder.stat().st_mode
            if not mode & stat.S_IXOTH and folder.stat().st_uid != self.uid:
                _logger.warning("folder_opened_for_passage path=%s user=%s", folder, _USER_NAME)
                folder.chmod(stat.S_IMODE(mode) | stat.S_IXOTH)

    def socket_dir(self, data_dir: Path) -> Path:
        """Return a folder of this user alone that is short enough for a Unix socket.

        Raises PermissionError when somebody else made the short folder first.
        """
        if len(os.fsencode(data_dir / _SOCKET_FILE)) <= _SOCKET_PATH_BYTES_MAX:
            return data_dir
        digest = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:16]
        short = Path(tempfile.gettempdir()) / f"runstream-{digest}"
        if not short.exists():
            short.mkdir(mode=0o700)
            self.own(short)
        facts = short.lstat()
        if facts.st_uid != self.uid or not stat.S_ISDIR(facts.st_mode) or facts.st_mode & 0o077:
            raise PermissionError(f"{short} must be a folder of the database's user alone")
        return short


def server_account() -> Account:
    """Return the current user, or for root the user `pgserver`, which is created when it is missing.

    Raises FileNotFoundError without `useradd`, CalledProcessError when it fails.
    """
    if os.geteuid() != 0:
        return Account(uid=os.geteuid(), gid=os.getegid(), switch=False)
    try:
        entry = pwd.getpwnam(_USER_NAME)
    except KeyError:
        subprocess.run(["useradd", "--system", "--shell", "/bin/false", _USER_NAME], check=True)  # noqa: S607
        entry = pwd.getpwnam(_USER_NAME)
    return Account(uid=entry.pw_uid, gid=entry.pw_gid, switch=True)
