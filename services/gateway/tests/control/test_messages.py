"""Messages of the services as values of our API, and back."""

from __future__ import annotations

import math

import pytest
from runstream_common.errors import InvalidArgument
from runstream_gateway.control.messages import message_of, target_message
from runstream_gateway.control.policies import ApprovalRule, PolicyDocument, Rule
from runstream_gateway.control.promotions import promotion_of
from runstream_gateway.control.values import Target
from runstream_proto.registry.v1 import promotion_service_pb2 as pb

CHAMPION = pb.Target(alias="champion")
NUMBERS = {"nan": math.nan, "up": math.inf, "down": -math.inf, "some": 0.1}


def test_numbers_that_are_not_finite_are_told_as_text() -> None:
    told = promotion_of(
        pb.Promotion(sequence=1, version=2, target=pb.Target(stage="Staging"), metrics=NUMBERS)
    )
    assert told.metrics == {"nan": "NaN", "up": "Infinity", "down": "-Infinity", "some": 0.1}
    assert told.target == Target(stage="Staging")


def test_large_numbers_are_numbers() -> None:
    assert (
        promotion_of(pb.Promotion(sequence=1, version=1, target=CHAMPION, time_ms=2**53 - 1)).time_ms
        == 2**53 - 1
    )


def test_fields_at_their_default_are_told() -> None:
    told = promotion_of(pb.Promotion(sequence=1, version=1, target=CHAMPION))
    assert (told.reason, told.rollback, told.rules, told.previous_version) == ("", False, [], 0)


def test_a_document_survives_the_way_there() -> None:
    document = PolicyDocument(models="*", targets="*", rules=[Rule(approvals=ApprovalRule(count=2))])
    message = message_of(document, pb.PolicyDocument(), "document")
    assert message == pb.PolicyDocument(
        models="*", targets="*", rules=[pb.Rule(approvals=pb.ApprovalRule(count=2))]
    )


@pytest.mark.parametrize("target", [Target(), Target(alias="a", stage="Staging")])
def test_a_target_is_exactly_one(target: Target) -> None:
    with pytest.raises(InvalidArgument, match="exactly one"):
        target_message(target)
