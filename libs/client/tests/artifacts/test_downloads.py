"""Downloads from a store that fails in every way that a network knows."""

from __future__ import annotations

import pytest
from runstream.artifacts import downloading, partial_file
from runstream.artifacts.errors import ContentCorrupt, ObjectStoreAway
from runstream_common.errors import FailedPrecondition, InvalidArgument, NotFound

from libs.client.tests.artifacts.conftest import RUN, content_of

CONTENTS = {
    "empty": b"",
    "a.txt": b"hello",
    "sub/large": content_of(10_500, 1),
    "sub/deep/exactly": content_of(1024, 2),
    "ünïcode ✓%.txt": b"names",
}


@pytest.fixture(autouse=True)
def small_ranges(monkeypatch):
    """Ranges of 1 KiB, so that small files are large ones."""
    monkeypatch.setattr(partial_file, "RANGE_BYTES", 1024)
    monkeypatch.setattr(downloading, "RANGE_BYTES", 1024)


@pytest.fixture(autouse=True)
def stored(artifacts):
    """The run has CONTENTS."""
    for path, content in CONTENTS.items():
        artifacts.upload_bytes(content, RUN, path)


def files_of(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_tree_comes_whole_and_what_is_there_is_not_fetched_again(artifacts, store, tmp_path):
    done = artifacts.download(RUN, to=tmp_path / "out", progress=False)
    assert files_of(tmp_path / "out") == CONTENTS
    assert (done.file_count, done.fetched_count) == (5, 5)
    (tmp_path / "out" / "a.txt").write_bytes(b"HELLO")
    before = store.requests["GET"]
    done = artifacts.download(RUN, to=tmp_path / "out", progress=False)
    assert files_of(tmp_path / "out") == CONTENTS
    assert (done.fetched_count, done.fetched_bytes, store.requests["GET"] - before) == (1, 5, 1)


def test_a_directory_and_a_file_go_where_they_are_told(artifacts, tmp_path):
    artifacts.download(RUN, "sub", to=tmp_path / "sub", progress=False)
    assert files_of(tmp_path / "sub") == {"large": CONTENTS["sub/large"], "deep/exactly": content_of(1024, 2)}
    artifacts.download(f"runs:/{RUN}/sub/large", to=tmp_path / "x" / "y.bin", progress=False)
    assert (tmp_path / "x" / "y.bin").read_bytes() == CONTENTS["sub/large"]


def test_many_files_come_in_pages(artifacts, store, tmp_path):
    with store.lock:
        digest = store.trees[RUN]["a.txt"]
        store.trees["cd" * 16] = {f"{number:05}": digest for number in range(2_100)}
    done = artifacts.download("cd" * 16, to=tmp_path, progress=False)
    assert done.file_count == len(list(tmp_path.iterdir())) == 2_100
    assert store.requests["CreateDownloads"] == 3


@pytest.mark.parametrize("status", [500, 503, 429, -1])
def test_passing_errors_of_the_store_are_repeated(artifacts, store, tmp_path, status):
    failures = iter([status] * 3)
    store.http_fault = lambda method, path: next(failures, 0)
    artifacts.download(RUN, to=tmp_path, progress=False)
    assert files_of(tmp_path) == CONTENTS
    assert next(failures, None) is None


def test_an_answer_that_is_cut_short_is_asked_for_again(artifacts, store, tmp_path):
    cuts = iter([True] * 2)
    store.corrupt = lambda content: content[:-1] if next(cuts, False) else content
    artifacts.download(RUN, "sub/deep/exactly", to=tmp_path / "a", progress=False)
    assert (tmp_path / "a").read_bytes() == content_of(1024, 2)


def test_an_expired_request_is_signed_again(artifacts, store, tmp_path):
    asked: list[str] = []

    def expire(method: str, path: str) -> None:
        asked.append(path)
        if len(asked) == 4:
            store.signature = "2"

    store.on_request = expire
    artifacts.download(RUN, "sub/large", to=tmp_path / "large", progress=False)
    assert (tmp_path / "large").read_bytes() == CONTENTS["sub/large"]
    assert store.requests["CreateDownloads"] == 2


@pytest.mark.parametrize("path", ["a.txt", "sub/large"])
def test_corrupt_content_never_takes_its_place(artifacts, store, tmp_path, path):
    target = tmp_path / "target"
    target.write_bytes(b"what was there")
    store.corrupt = lambda content: content[:-1] + bytes([content[-1] ^ 1])
    with pytest.raises(ContentCorrupt, match=path):
        artifacts.download(RUN, path, to=target, progress=False)
    assert files_of(tmp_path) == {"target": b"what was there"}


def break_off(artifacts, store, target):
    """Download all but the fifth range of the large file."""
    failing = iter([503] * 100)
    seen: list[str] = []

    def fault(method: str, path: str) -> int:
        seen.append(path)
        return next(failing) if len(seen) > 5 else 0

    store.http_fault = fault
    with pytest.raises(ObjectStoreAway):
        artifacts.download(RUN, "sub/large", to=target, progress=False)
    store.http_fault = lambda method, path: 0


def test_a_download_that_broke_off_is_resumed(artifacts, store, tmp_path):
    break_off(artifacts, store, tmp_path / "large")
    assert not (tmp_path / "large").exists()
    before = store.requests["GET"]
    artifacts.download(RUN, "sub/large", to=tmp_path / "large", progress=False)
    assert files_of(tmp_path) == {"large": CONTENTS["sub/large"]}
    assert store.requests["GET"] - before == 11 - 5


def test_a_part_that_was_spoiled_meanwhile_is_fetched_anew(artifacts, store, tmp_path):
    break_off(artifacts, store, tmp_path / "large")
    (part,) = tmp_path.glob("*.part")
    part.write_bytes(bytes(len(CONTENTS["sub/large"])))
    artifacts.download(RUN, "sub/large", to=tmp_path / "large", progress=False)
    assert files_of(tmp_path) == {"large": CONTENTS["sub/large"]}


def test_an_interrupt_leaves_nothing_behind(artifacts, tmp_path):
    def interrupt(state) -> None:
        if state.done_bytes > 5_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        artifacts.download(RUN, to=tmp_path, progress=interrupt)
    assert not [path for path in tmp_path.rglob("*.*") if path.suffix in {".part", ".ranges"}]
    assert not (tmp_path / "sub" / "large").exists()


def test_two_downloads_to_the_same_place_do_not_meet(artifacts, store, tmp_path):
    inner: list[int] = []

    def download_too(method: str, path: str) -> None:
        if not inner:
            inner.append(1)
            artifacts.download(RUN, "sub/large", to=tmp_path / "large", progress=False)

    store.on_request = download_too
    artifacts.download(RUN, "sub/large", to=tmp_path / "large", progress=False)
    assert files_of(tmp_path) == {"large": CONTENTS["sub/large"]}


def test_names_that_lead_elsewhere_are_refused(artifacts, store, tmp_path):
    """Whatever a service says, nothing is written outside of the folder."""
    for name in ("../evil", "/etc/evil", "a/../../evil", "a//b", "a\\b"):
        store.trees["cd" * 16] = {name: store.trees[RUN]["a.txt"]}
        with pytest.raises(InvalidArgument, match="local file"):
            artifacts.download("cd" * 16, to=tmp_path / "in", progress=False)
    assert files_of(tmp_path) == {}


def test_what_is_not_there_is_not_found(artifacts, tmp_path):
    with pytest.raises(NotFound, match="nowhere"):
        artifacts.download(RUN, "nowhere", to=tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_a_file_that_is_replaced_meanwhile_is_told(artifacts, store, tmp_path):
    def replace(method: str, path: str) -> None:
        store.trees[RUN]["sub/large"] = store.trees[RUN]["a.txt"]
        store.signature = "2"

    store.on_request = replace
    with pytest.raises(FailedPrecondition, match="was replaced") as refused:
        artifacts.download(RUN, "sub/large", to=tmp_path / "x", progress=False)
    assert refused.value.reason == "ARTIFACT_REPLACED"
    assert files_of(tmp_path) == {}


def test_ranges_are_read(artifacts, store):
    content = CONTENTS["sub/large"]
    assert artifacts.read_bytes(RUN, "sub/large", offset=100, length=50) == content[100:150]
    assert artifacts.read_bytes(RUN, "sub/large", offset=10_000) == content[10_000:]
    assert artifacts.read_bytes(RUN, "sub/large", offset=10_499, length=99) == content[-1:]
    assert artifacts.read_bytes(RUN, "sub/large", offset=10_500) == b""
    assert artifacts.read_bytes(RUN, "empty") == b""
    with pytest.raises(InvalidArgument, match="offset"):
        artifacts.read_bytes(RUN, "a.txt", offset=-1)


def test_an_open_file_reads_and_seeks(artifacts, store):
    content = CONTENTS["sub/large"]
    with artifacts.open(RUN, "sub/large", buffer_bytes=512) as file:
        assert file.read(10) == content[:10]
        file.seek(-5, 2)
        assert file.read() == content[-5:]
        file.seek(5_000)
        store.signature = "2"
        assert file.read(2_000) == content[5_000:7_000]
        assert file.tell() == 7_000


def test_progress_counts_every_byte_once(artifacts, store, tmp_path):
    failures = iter([503] * 3)
    store.http_fault = lambda method, path: next(failures, 0)
    states = []
    artifacts.download(RUN, to=tmp_path, progress=states.append)
    total = sum(map(len, CONTENTS.values()))
    last = states[-1]
    assert (last.done_bytes, last.total_bytes, last.done_files, last.total_files) == (total, total, 5, 5)
