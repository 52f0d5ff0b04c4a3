"""Models of other deployments keep the numbers of their versions and their times."""

from __future__ import annotations

import pytest
from runstream_registry.entities import ByNumber
from runstream_registry.errors import ModelNotFound, VersionNotFound
from runstream_registry.models.imports import ForeignFacts, Imports

from services.registry.tests.models.support import Registry


@pytest.fixture
def imports(registry: Registry) -> Imports:
    return Imports(registry.database, registry.clock, lambda: registry.wakes.append(None))


async def test_reserved_numbers_are_skipped(registry: Registry, imports: Imports) -> None:
    await registry.model()

    assert await imports.reserve_versions("iris", 6) == 6
    assert (await registry.version()).version == 7
    assert await imports.reserve_versions("iris", 3) == 7
    assert (await registry.version()).version == 8


async def test_times_and_user_are_amended_and_audited(registry: Registry, imports: Imports) -> None:
    await registry.model()
    before = await registry.version()
    model_before = await registry.use.models.get("iris")

    await imports.amend("iris", 1, ForeignFacts(1_500, 1_600, "grace"), actor="importer")
    await imports.amend("iris", 0, ForeignFacts(creation_time_ms=1_400), actor="importer")

    version, model = (
        await registry.use.versions.get("iris", ByNumber(1)),
        await registry.use.models.get("iris"),
    )
    assert (version.creation_time_ms, version.last_updated_time_ms, version.user_id) == (
        1_500,
        1_600,
        "grace",
    )
    assert version.version_id == before.version_id
    assert (model.creation_time_ms, model.last_updated_time_ms) == (1_400, model_before.last_updated_time_ms)
    assert (await registry.actions())[-2:] == [("facts.imported", "iris", 1), ("facts.imported", "iris", 0)]


async def test_unknown_model_and_version_are_refused(registry: Registry, imports: Imports) -> None:
    with pytest.raises(ModelNotFound):
        await imports.reserve_versions("iris", 1)
    await registry.model()
    with pytest.raises(VersionNotFound):
        await imports.amend("iris", 1, ForeignFacts(1), actor="importer")
