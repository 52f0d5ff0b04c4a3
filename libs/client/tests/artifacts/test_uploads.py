"""Uploads against a store that fails in every way that a network knows."""

from __future__ import annotations

import os
import socket
import unicodedata

import pytest
from runstream.artifacts.errors import (
    LocalFileChanged,
    LocalPathRefused,
    ObjectStoreAway,
    ObjectStoreRefused,
    UploadRefused,
)
from runstream_common.errors import InvalidArgument, NotFound, Unavailable

from libs.client.tests.artifacts.conftest import RUN, content_of


def test_a_folder_is_stored_with_every_kind_of_file(artifacts, store, tmp_path):
    contents = {
        "empty.bin": b"",
        "small.txt": b"hello",
        "exactly.bin": content_of(4096),
        "large.bin": content_of(10_000),
        "sub/dir/deep.bin": content_of(4097, 1),
        "ünïcode ✓ 100%+#?.txt": b"names",
    }
    for path, content in contents.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(content)
    (tmp_path / "no files").mkdir()
    done = artifacts.upload(tmp_path, RUN, "data", progress=False)
    stored = {path: store.content(RUN, path) for path in store.trees[RUN]}
    assert stored == {f"data/{unicodedata.normalize('NFC', path)}": c for path, c in contents.items()}
    assert done.sent_count == len(contents)
    assert done.sent_bytes == done.size_bytes == sum(map(len, contents.values()))
    assert [a.path for a in done.artifacts] == sorted(stored, key=str.encode)
    assert store.requests["PUT part"] == 10 + 5
    assert store.requests["CreateUploads"] == store.requests["CompleteUploads"] == 1


def test_what_is_stored_is_not_sent_again(artifacts, store, tmp_path):
    (tmp_path / "a").write_bytes(content_of(9000))
    artifacts.upload(tmp_path, RUN, progress=False)
    (tmp_path / "copy").write_bytes(content_of(9000))
    before = store.requests["PUT part"]
    done = artifacts.upload(tmp_path, "cd" * 16, progress=False)
    assert store.requests["PUT part"] == before
    assert (done.sent_count, done.sent_bytes, len(done.artifacts)) == (0, 0, 2)


def test_many_files_go_in_batches(artifacts, store, tmp_path):
    for number in range(2_100):
        (tmp_path / f"{number:05}").write_text(str(number))
    done = artifacts.upload(tmp_path, RUN, progress=False)
    assert len(done.artifacts) == len(store.trees[RUN]) == 2_100
    assert store.requests["CreateUploads"] == 3


@pytest.mark.parametrize("status", [500, 503, 429, -1])
def test_passing_errors_of_the_store_are_repeated(artifacts, store, tmp_path, status):
    """D1: an upload does not end because of one lost request."""
    failed: set[str] = set()

    def fault(method: str, path: str) -> int:
        if path in failed:
            return 0
        failed.add(path)
        return status

    store.http_fault = fault
    (tmp_path / "large").write_bytes(content_of(9000))
    (tmp_path / "small").write_bytes(b"small")
    artifacts.upload(tmp_path, RUN, progress=False)
    assert store.content(RUN, "large") == content_of(9000)
    assert len(failed) == 10


def test_a_store_that_stays_away_is_an_error_and_the_next_call_resumes(artifacts, store, tmp_path):
    store.http_fault = lambda method, path: 503 if path.endswith("/7") else 0
    (tmp_path / "large").write_bytes(content_of(9000))
    with pytest.raises(ObjectStoreAway, match=r"large.*503"):
        artifacts.upload(tmp_path / "large", RUN, progress=False)
    assert RUN not in store.trees
    (upload,) = store.uploads.values()
    arrived = set(upload.parts)
    assert arrived
    assert 7 not in arrived
    store.http_fault = lambda method, path: 0
    before = store.requests["PUT part"]
    artifacts.upload(tmp_path / "large", RUN, progress=False)
    assert store.content(RUN, "large") == content_of(9000)
    assert store.requests["PUT part"] - before == 9 - len(arrived)


def test_a_service_that_is_away_is_waited_for_and_then_an_error(artifacts, store, tmp_path):
    (tmp_path / "a").write_bytes(b"a")
    answers = iter([Unavailable("restarting"), Unavailable("restarting"), None, None, None, None])
    store.rpc_fault = lambda method: next(answers)
    artifacts.upload(tmp_path, RUN, progress=False)
    assert store.content(RUN, "a") == b"a"
    store.rpc_fault = lambda method: Unavailable("away for good")
    (tmp_path / "a").write_bytes(b"b")
    with pytest.raises(Unavailable, match="away for good"):
        artifacts.upload(tmp_path, RUN, progress=False)


def test_an_expired_request_is_signed_again(artifacts, store, tmp_path):
    (tmp_path / "small").write_bytes(b"small")
    (tmp_path / "large").write_bytes(content_of(9000))
    expired: list[str] = []

    def expire(method: str, path: str) -> None:
        if not expired:
            expired.append(path)
            store.signature = "2"

    store.on_request = expire
    artifacts.upload(tmp_path / "small", RUN, progress=False)
    expired.clear()
    artifacts.upload(tmp_path / "large", RUN, progress=False)
    assert set(store.trees[RUN]) == {"small", "large"}


def test_a_refused_request_is_told_with_the_store_s_words(artifacts, store, tmp_path):
    (tmp_path / "small").write_bytes(b"small")
    store.http_fault = lambda method, path: 409
    with pytest.raises(ObjectStoreRefused, match=r"small.*HTTP 409 Fault: as told"):
        artifacts.upload(tmp_path, RUN, progress=False)


def test_a_lost_part_is_sent_again_at_completion(artifacts, store, tmp_path):
    (tmp_path / "large").write_bytes(content_of(9000))

    def lose(method: str) -> None:
        if method == "CompleteUploads" and store.requests[method] == 1:
            for upload in store.uploads.values():
                upload.parts.pop(3, None)

    store.rpc_fault = lose
    artifacts.upload(tmp_path, RUN, progress=False)
    assert store.content(RUN, "large") == content_of(9000)
    assert store.requests["PUT part"] == 9 + 1


def test_a_lost_answer_of_the_completion_changes_nothing(artifacts, store, tmp_path):
    (tmp_path / "large").write_bytes(content_of(9000))

    def forget(method: str) -> None:
        # As after a completion whose answer did not arrive.
        if method == "CompleteUploads" and store.requests[method] == 1:
            store.blobs[next(iter(store.uploads.values())).file.digest] = content_of(9000)
            store.uploads.clear()

    store.rpc_fault = forget
    done = artifacts.upload(tmp_path, RUN, progress=False)
    assert store.content(RUN, "large") == content_of(9000)
    assert [artifact.path for artifact in done.artifacts] == ["large"]
    assert store.requests["PUT part"] == 9


def test_a_file_that_changes_meanwhile_never_becomes_visible(artifacts, store, tmp_path):
    path = tmp_path / "growing"
    path.write_bytes(content_of(9000))

    def grow(method: str, _url_path: str) -> None:
        path.write_bytes(content_of(9001, seed=2))

    store.on_request = grow
    with pytest.raises(LocalFileChanged, match="growing changed while"):
        artifacts.upload(path, RUN, progress=False)
    assert RUN not in store.trees
    assert not store.uploads


def test_a_file_that_shrinks_meanwhile_never_becomes_visible(artifacts, store, tmp_path):
    path = tmp_path / "shrinking"
    path.write_bytes(content_of(9000))
    store.on_request = lambda method, url_path: path.write_bytes(b"")
    with pytest.raises(LocalFileChanged, match="shrinking changed while"):
        artifacts.upload(path, RUN, progress=False)
    assert RUN not in store.trees


def test_wrong_parts_of_an_earlier_attempt_are_sent_anew(artifacts, store, tmp_path):
    path = tmp_path / "large"
    path.write_bytes(content_of(9000))
    store.http_fault = lambda method, url_path: 503 if url_path.endswith("/9") else 0
    with pytest.raises(ObjectStoreAway):
        artifacts.upload(path, RUN, progress=False)
    store.http_fault = lambda method, url_path: 0
    (upload,) = store.uploads.values()
    upload.parts[min(upload.parts)] = content_of(1024, seed=9)
    artifacts.upload(path, RUN, progress=False)
    assert store.content(RUN, "large") == content_of(9000)


def test_content_that_arrives_wrong_is_refused(artifacts, store, tmp_path):
    path = tmp_path / "large"
    path.write_bytes(content_of(9000))

    def spoil(method: str) -> None:
        if method == "CompleteUploads":
            for upload in store.uploads.values():
                upload.parts[1] = content_of(1024, seed=9)

    store.rpc_fault = spoil
    with pytest.raises(UploadRefused) as refused:
        artifacts.upload(path, RUN, progress=False)
    assert refused.value.reason == "CHECKSUM_MISMATCH"
    assert RUN not in store.trees


def test_symlinks_and_special_files_are_refused_by_name(artifacts, store, tmp_path):
    (tmp_path / "real").write_bytes(b"real")
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "folder").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.open(tmp_path, os.O_RDONLY)
        try:
            listener.bind(f"/proc/self/fd/{here}/socket")
        finally:
            os.close(here)
    with pytest.raises(LocalPathRefused) as refused:
        artifacts.upload(tmp_path, RUN, progress=False)
    for words in (
        "link: a symbolic link",
        "folder: a symbolic link",
        "pipe: a named pipe",
        "socket: a socket",
    ):
        assert words in str(refused.value)
    assert not store.requests["CreateUploads"]
    artifacts.upload(tmp_path, RUN, skip_special=True, progress=False)
    assert list(store.trees[RUN]) == ["real"]


def test_a_link_that_is_named_itself_is_refused(artifacts, tmp_path):
    (tmp_path / "real").write_bytes(b"real")
    (tmp_path / "link").symlink_to("real")
    with pytest.raises(LocalPathRefused, match="symbolic link"):
        artifacts.upload(tmp_path / "link", RUN)


def test_names_that_are_no_text_and_names_that_meet_are_refused(artifacts, tmp_path):
    (tmp_path / "caf\u00e9").write_bytes(b"1")
    (tmp_path / "cafe\u0301").write_bytes(b"2")
    os.close(os.open(os.fsencode(tmp_path) + b"/\xff", os.O_CREAT))
    with pytest.raises(LocalPathRefused) as refused:
        artifacts.upload(tmp_path, RUN)
    assert "not valid UTF-8" in str(refused.value)
    assert "same name" in str(refused.value)


def test_what_is_not_there_is_a_file_error(artifacts, tmp_path):
    with pytest.raises(FileNotFoundError, match="missing"):
        artifacts.upload(tmp_path / "missing", RUN)


def test_refusals_of_the_service_name_the_local_file(artifacts, store, tmp_path):
    (tmp_path / "good").write_bytes(b"1")
    (tmp_path / "worse").write_bytes(b"2")
    store.rpc_fault = lambda method: InvalidArgument.of("files[1].path", "is a reserved name")
    with pytest.raises(InvalidArgument, match=r"worse: is a reserved name"):
        artifacts.upload(tmp_path, RUN, progress=False)


def test_an_unknown_owner_is_told_at_once(artifacts, store, tmp_path):
    (tmp_path / "a").write_bytes(b"1")
    store.rpc_fault = lambda method: NotFound("no run", reason="RUN_NOT_FOUND")
    with pytest.raises(NotFound, match="no run"):
        artifacts.upload(tmp_path, RUN, progress=False)
    assert store.requests["CreateUploads"] == 1


def test_progress_counts_every_byte_once(artifacts, store, tmp_path):
    failed: set[str] = set()
    store.http_fault = lambda method, path: 503 if path not in failed and not failed.add(path) else 0
    (tmp_path / "large").write_bytes(content_of(9000))
    (tmp_path / "small").write_bytes(b"small")
    states = []
    artifacts.upload(tmp_path, RUN, progress=states.append)
    last = states[-1]
    assert (last.done_bytes, last.total_bytes, last.done_files, last.total_files) == (9005, 9005, 2, 2)


def test_an_interrupt_ends_everything_and_leaves_a_resumable_upload(artifacts, store, tmp_path):
    (tmp_path / "large").write_bytes(content_of(100_000))

    def interrupt(state) -> None:
        if state.done_bytes > 30_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        artifacts.upload(tmp_path, RUN, progress=interrupt)
    assert RUN not in store.trees
    (upload,) = store.uploads.values()
    assert 0 < len(upload.parts) < 98
    artifacts.upload(tmp_path, RUN, progress=False)
    assert store.content(RUN, "large") == content_of(100_000)
