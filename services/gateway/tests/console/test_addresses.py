"""Addresses of pages, also below a prefix."""

from __future__ import annotations

import pytest
from runstream_common.errors import InvalidArgument
from runstream_gateway.console.forms import whole_number
from runstream_gateway.console.pages import Pages
from runstream_gateway.console.targets import read_target
from runstream_gateway.control.values import Target


def test_parts_are_encoded_and_empty_parameters_left_out() -> None:
    assert Pages("").at() == "/console"
    assert Pages("/mlflow").at("models", "a/b c", q="", page=2) == "/mlflow/console/models/a%2Fb%20c?page=2"
    assert Pages("/mlflow").site("/") == "/mlflow/"
    assert Pages("/mlflow").cookie_path == "/mlflow/console"


def test_targets_are_read_as_policies_name_them() -> None:
    assert read_target(" alias/champion ") == Target(alias="champion")
    assert read_target("stage/Production").path == "stage/Production"


@pytest.mark.parametrize("text", ["", "champion", "alias/", "stage/production", "model/x", "alias"])
def test_what_is_no_target_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        read_target(text)


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5", "two", "2147483648", "9" * 5000, "\u0661"])
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        whole_number(text, "version")
