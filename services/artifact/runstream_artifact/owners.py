"""Who may own files: the forms of ids, and whether an owner takes new ones."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from runstream_common.errors import InvalidArgument

from runstream_artifact.entities import Owner, OwnerKind

if TYPE_CHECKING:
    from runstream_artifact.run_states import RunStates

_ID_FORMS = {
    OwnerKind.RUN: (re.compile(r"[0-9a-f]{32}"), "32 lowercase hexadecimal characters"),
    OwnerKind.LOGGED_MODEL: (re.compile(r"m-[0-9a-f]{32}"), "'m-' and 32 lowercase hexadecimal characters"),
    OwnerKind.MODEL_VERSION: (re.compile(r"[0-9a-f]{32}"), "32 lowercase hexadecimal characters"),
    OwnerKind.TRACE: (re.compile(r"tr-[0-9a-f]{32}"), "'tr-' and 32 lowercase hexadecimal characters"),
    OwnerKind.PROXY: (re.compile(r"rest"), "'rest'"),
}


def checked_owner(kind: int, owner_id: str, field: str = "owner") -> Owner:
    """The owner, if it has the form of one.

    Raises:
        InvalidArgument: kind or id are missing or have another form.
    """
    if kind not in _ID_FORMS:
        raise InvalidArgument.of(
            f"{field}.kind", "must be a run, logged model, model version, trace or the proxy's rest"
        )
    form, description = _ID_FORMS[OwnerKind(kind)]
    if form.fullmatch(owner_id) is None:
        raise InvalidArgument.of(f"{field}.id", f"must be {description}")
    return Owner(OwnerKind(kind), owner_id)


class Owners:
    """Tells whether owners take new files.

    Runs are checked. Logged models, model versions and traces belong to services that write on their own behalf, the rest of
    the proxy's tree to nobody.
    """

    def __init__(self, runs: RunStates) -> None:
        self._runs = runs

    async def require_writable(self, owner: Owner) -> None:
        """Return when the owner takes files, as far as its own service goes.

        Raises:
            RunNotFound, RunDeleted: it needs an active run.
            Unavailable: that cannot be asked.
        """
        if owner.kind is OwnerKind.RUN:
            await self._runs.require_active(owner.id)
