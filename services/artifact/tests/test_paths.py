"""Which paths files may have."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from runstream_artifact.paths import (
    BEHIND_EVERY_PATH,
    MAX_NAME_BYTES,
    MAX_PATH_BYTES,
    below,
    conflict_within,
    directory_path,
    file_path,
    parents,
)
from runstream_common.errors import InvalidArgument


@pytest.mark.parametrize(
    "path",
    [
        "a",
        "a/b.txt",
        "model/MLmodel",
        ".hidden",
        "...a",
        "a b/c",
        "ümläut/日本語",
        "con-fig",
        "CONSOLE",
        "a" * 255,
        "😀",
    ],
)
def test_ordinary_paths_are_taken_as_they_are(path: str) -> None:
    assert file_path(path) == path


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("", "required"),
        ("/etc/passwd", "relative"),
        ("..", r"'\.\.'"),
        ("a/../b", r"'\.\.'"),
        ("a/./b", r"'\.'"),
        ("a//b", "empty names"),
        ("a/", "empty names"),
        ("a\\b", "backslash"),
        ("C:\\x", "backslash"),
        ("a\0b", "control"),
        ("a\nb", "control"),
        ("a\x7f", "control"),
        ("a\x85b", "control"),
        ("\ud800", "surrogates"),
        ("a\uffff", "noncharacters"),
        (BEHIND_EVERY_PATH, "noncharacters"),
        ("a" * 256, "255"),
        ("é" * 128, "255"),
        ("a/" * 512 + "b", "1024"),
        ("NUL", "device"),
        ("a/con.txt/b", "device"),
        ("COM1", "device"),
        ("lpt9.log", "device"),
        ("COM¹", "device"),
        ("a.", "dot or space"),
        ("a /b", "dot or space"),
    ],
)
def test_what_could_lead_astray_is_refused_with_the_field(path: str, problem: str) -> None:
    with pytest.raises(InvalidArgument, match=problem) as refusal:
        file_path(path, "files[3].path")
    assert refusal.value.violations[0].field == "files[3].path"
    assert refusal.value.reason == "INVALID_PATH"


def test_two_spellings_of_a_name_are_one_path() -> None:
    assert file_path("u\u0308") == file_path("ü")


def test_a_directory_may_be_the_root_or_end_with_a_slash() -> None:
    assert directory_path("") == ""
    assert directory_path("a/b/") == "a/b"
    with pytest.raises(InvalidArgument):
        directory_path("/")


@given(st.text(max_size=300))
def test_every_path_that_is_taken_is_safe_and_stays_as_it_is(text: str) -> None:
    try:
        path = file_path(text)
    except InvalidArgument:
        return
    assert path == unicodedata.normalize("NFC", path)
    assert file_path(path) == path
    assert len(path.encode()) <= MAX_PATH_BYTES
    for name in path.split("/"):
        assert name not in {"", ".", ".."}
        assert len(name.encode()) <= MAX_NAME_BYTES
    assert not any(unicodedata.category(character) == "Cc" or character == "\\" for character in path)


names = st.text("ab-./0é!", min_size=1, max_size=3).filter(
    lambda name: "/" not in name and not name.endswith(".")
)
paths = st.lists(names, min_size=1, max_size=4).map("/".join)


@given(paths, paths)
def test_what_lies_below_a_directory_is_one_range_of_bytes(directory: str, path: str) -> None:
    first, end = (bound.encode() for bound in below(directory))
    assert (first <= path.encode() < end) == path.startswith(f"{directory}/")
    assert below("")[0].encode() <= path.encode() < below("")[1].encode()


@given(st.lists(paths, max_size=8))
def test_conflicts_are_files_that_would_be_directories(new: list[str]) -> None:
    found = conflict_within(new)
    really = {(a, b) for a in new for b in new if b.startswith(f"{a}/")}
    assert (found is None) == (not really)
    assert found is None or found in really


def test_parents_are_the_directories_a_path_lies_in() -> None:
    assert parents("a/b/c") == ["a", "a/b"]
    assert parents("a") == []
