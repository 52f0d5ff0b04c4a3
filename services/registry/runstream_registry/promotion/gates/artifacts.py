"""Files that the version must have, compared with what the object store holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runstream_registry.promotion.gates.case import Case, Verdict

if TYPE_CHECKING:
    from runstream_registry.policy.entities import ArtifactRule
    from runstream_registry.promotion_entities import VersionFacts

OWN_URI_PREFIX = "runstream://model-versions/"

SHOWN_PROBLEMS = 3


def words(rule: ArtifactRule) -> str:
    """The rule in words."""
    files = ", ".join(rule.paths) if rule.paths else "at least one file"
    return f"artifacts: {files}{', checksums verified' if rule.verify_checksums else ''}"


def kept_by_us(version: VersionFacts) -> bool:
    """Whether the version's files are in the platform's object store, so that they can be checked."""
    return version.artifact_uri.startswith(OWN_URI_PREFIX)


def judge(rule: ArtifactRule, case: Case) -> Verdict:
    """Say what the artifact service found."""
    version = case.version
    if not kept_by_us(version):
        return Verdict(
            passed=False, detail=f"the files are kept at {version.artifact_uri}, where they cannot be checked"
        )
    found = case.evidence.files.get((version.version_id, rule))
    if found is None:
        return Verdict(passed=False, detail="the files were not checked")
    if found.problems:
        more = len(found.problems) - SHOWN_PROBLEMS
        shown = "; ".join(found.problems[:SHOWN_PROBLEMS])
        return Verdict(passed=False, detail=f"{shown}; and {more} more" if more > 0 else shown)
    if found.file_count == 0:
        return Verdict(passed=False, detail=f"version {version.version} has no files")
    done = "read and compared with their checksums" if rule.verify_checksums else "there with the right size"
    return Verdict(passed=True, detail=f"{found.file_count} files of {found.size_bytes} bytes are {done}")
