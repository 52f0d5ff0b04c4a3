"""What of the transfers can be set, each by an environment variable RUNSTREAM_<NAME>."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, fields
from typing import Self

from runstream_common.errors import InvalidArgument


def default_threads() -> int:
    """Enough to hide the way to the store, and few enough not to fight over the CPU that hashes and copies."""
    return min(16, max(4, 2 * (os.cpu_count() or 1)))


@dataclass(frozen=True, slots=True)
class TransferSettings:
    """Settings of uploads and downloads."""

    transfer_threads: int = field(default_factory=default_threads)
    """Requests to the object store under way at once; 1 to 256. Two a CPU, at least 4 and at most 16, unless it is set."""
    transfer_retry_seconds: float = 30.0
    """How long a service or store that is away is tried again; 0 means once."""

    def __post_init__(self) -> None:
        if not 1 <= self.transfer_threads <= 256:
            raise InvalidArgument.of("transfer_threads", f"is {self.transfer_threads}, must be 1 to 256")
        if not 0 <= self.transfer_retry_seconds <= 86_400:
            raise InvalidArgument.of(
                "transfer_retry_seconds", f"is {self.transfer_retry_seconds:g}, must be 0 to 86,400"
            )

    @classmethod
    def load(cls) -> Self:
        """Settings from the environment.

        Raises:
            InvalidArgument: a value cannot be read or is out of its bounds; names it.
        """
        given: dict[str, float] = {}
        for item in fields(cls):
            variable = f"RUNSTREAM_{item.name.upper()}"
            text = os.environ.get(variable, "")
            if text:
                try:
                    given[item.name] = int(text) if str(item.type) == "int" else float(text)
                except ValueError as error:
                    raise InvalidArgument.of(variable, f"{text!r} is no {item.type}") from error
        return cls(**given)  # type: ignore[arg-type]  # the fields' types were followed above
