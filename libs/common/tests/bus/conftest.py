"""The same bus over each transport."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.bus import Buses

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture(params=["postgres", pytest.param("kafka", marks=pytest.mark.kafka)])
def bus_url(request: pytest.FixtureRequest) -> str:
    if request.param == "kafka":
        return f"kafka://{request.getfixturevalue('kafka_bootstrap')}"
    return str(request.getfixturevalue("database_url"))


@pytest.fixture
async def buses(bus_url: str, topic_prefix: str) -> AsyncIterator[Buses]:
    made = Buses(bus_url, topic_prefix)
    yield made
    await made.stop()
