"""Places as users write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from runstream.artifacts.locations import (
    Location,
    ModelReference,
    is_place,
    joined,
    parse_location,
    parse_place,
)
from runstream_common.errors import InvalidArgument
from runstream_proto.artifact.v1 import types_pb2 as types_pb

RUN = "0a" * 16
IN_RUN = types_pb.OWNER_KIND_RUN
MODEL = f"m-{RUN}"


@pytest.mark.parametrize(
    ("text", "path", "place"),
    [
        (RUN, "", Location(IN_RUN, RUN)),
        (RUN, "a/b", Location(IN_RUN, RUN, "a/b")),
        (f"runs:/{RUN}", "", Location(IN_RUN, RUN)),
        (f"runs:/{RUN}/a/b/", "c", Location(IN_RUN, RUN, "a/b/c")),
        (f"runstream://runs/{RUN}/a", "", Location(IN_RUN, RUN, "a")),
        (f"runstream://model-versions/{RUN}", "x", Location(types_pb.OWNER_KIND_MODEL_VERSION, RUN, "x")),
        (f"runstream://traces/tr-{RUN}", "", Location(types_pb.OWNER_KIND_TRACE, f"tr-{RUN}")),
        (f"models:/{MODEL}/sub/f", "", Location(types_pb.OWNER_KIND_LOGGED_MODEL, MODEL, "sub/f")),
        ("models:/digits/7", "", ModelReference("digits", version=7)),
        ("models:/digits/7/MLmodel", "", ModelReference("digits", version=7, path="MLmodel")),
        ("models:/digits/latest", "", ModelReference("digits", alias="latest")),
        ("models:/digits/Production/a", "b", ModelReference("digits", stage="Production", path="a/b")),
        ("models:/digits@champion", "", ModelReference("digits", alias="champion")),
        ("models:/my digits@champion/a/b", "", ModelReference("my digits", alias="champion", path="a/b")),
    ],
)
def test_every_form_is_understood(text, path, place):
    assert parse_place(text, path) == place
    assert is_place(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "model.pt",
        "/tmp/x",
        RUN[:-1],
        RUN.upper(),
        "runs:/",
        f"runs:/{RUN}x/a",
        "models:/",
        "models:/name",
        "models:/@alias",
        "models:/name@",
        "models://name/1",
        f"runstream://runs/{RUN[1:]}",
        f"runstream://users/{RUN}",
        "s3://bucket/key",
    ],
)
def test_anything_else_is_refused(text):
    with pytest.raises(InvalidArgument, match="is not a run id"):
        parse_place(text)


@given(
    st.sampled_from(
        [
            (types_pb.OWNER_KIND_RUN, RUN),
            (types_pb.OWNER_KIND_LOGGED_MODEL, MODEL),
            (types_pb.OWNER_KIND_MODEL_VERSION, RUN),
            (types_pb.OWNER_KIND_TRACE, f"tr-{RUN}"),
        ]
    ),
    st.lists(
        st.text(st.characters(exclude_characters="/", exclude_categories=["Cs"]), min_size=1), max_size=4
    ),
)
def test_a_uri_leads_back(owner, names):
    location = Location(*owner, path=joined(*names))
    assert parse_location(location.uri) == location
