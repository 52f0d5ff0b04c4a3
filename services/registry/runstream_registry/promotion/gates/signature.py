"""The signature that the version must have."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runstream_registry.promotion.gates.case import Case, Verdict

if TYPE_CHECKING:
    from runstream_registry.policy.entities import SignatureRule


def words(_rule: SignatureRule) -> str:
    """The rule in words."""
    return "signature"


def judge(_rule: SignatureRule, case: Case) -> Verdict:
    """Look for the signature."""
    has = "has a" if case.version.signed else "has no"
    return Verdict(case.version.signed, f"version {case.version.version} {has} signature")
