"""An artifact service and its object store in this process that can be made to fail: what tests of transfers need.

It keeps trees and content in plain dictionaries and knows the few rules that the SDK relies on.
"""

# ruff: noqa: N802 - gRPC and http.server name their methods so

from __future__ import annotations

import base64
import hashlib
import sys
import threading
import uuid
import zlib
from collections import Counter
from concurrent import futures
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import grpc
from runstream_common.errors import FailedPrecondition, NotFound, PlatformError
from runstream_common.rpc.status import to_status
from runstream_proto.artifact.v1 import artifact_service_pb2 as service_pb
from runstream_proto.artifact.v1 import artifact_service_pb2_grpc as service_grpc
from runstream_proto.artifact.v1 import types_pb2 as types_pb
from runstream_proto.common.v1 import discovery_service_pb2 as discovery_pb
from runstream_proto.common.v1 import discovery_service_pb2_grpc as discovery_grpc

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass
class OpenUpload:
    """An upload and what has arrived of it."""

    owner: str
    file: service_pb.NewFile
    parts: dict[int, bytes] = field(default_factory=dict)


class FakeArtifacts:
    """The service and its store. Knobs may be turned at any time."""

    def __init__(self, part_size_bytes: int = 1024, multipart_threshold_bytes: int = 4096) -> None:
        self.part_size_bytes = part_size_bytes
        self.multipart_threshold_bytes = multipart_threshold_bytes
        self.lock = threading.RLock()
        self.blobs: dict[str, bytes] = {}
        self.trees: dict[str, dict[str, str]] = {}
        self.uploads: dict[str, OpenUpload] = {}
        self.signature = "1"
        """What URLs must carry; another one makes those that were given out expire."""
        self.requests: Counter[str] = Counter()
        """Requests by kind: "PUT", "PUT part", "GET", and the gRPC methods."""
        self.http_fault: Callable[[str, str], int] = lambda method, path: 0
        """Status to answer a request with instead; 0 means none, -1 breaks the connection off."""
        self.rpc_fault: Callable[[str], PlatformError | None] = lambda method: None
        """Error to answer a call with instead."""
        self.on_request: Callable[[str, str], None] = lambda method, path: None
        self.corrupt: Callable[[bytes], bytes] = lambda content: content
        """Changes what is served."""
        self._http = _HttpServer(self)
        threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()
        self._grpc = grpc.server(futures.ThreadPoolExecutor(16))
        service_grpc.add_ArtifactServiceServicer_to_server(_Service(self), self._grpc)
        discovery_grpc.add_DiscoveryServiceServicer_to_server(_Discovery(self), self._grpc)
        self.port = self._grpc.add_insecure_port("127.0.0.1:0")
        self._grpc.start()

    @property
    def url(self) -> str:
        """Address of the deployment."""
        return f"127.0.0.1:{self.port}"

    def stop(self) -> None:
        """Listen no more."""
        self._grpc.stop(grace=None).wait()
        self._http.shutdown()
        self._http.server_close()

    def content(self, owner_id: str, path: str) -> bytes:
        """A stored file."""
        return self.blobs[self.trees[owner_id][path]]

    def sign(self, method: str, path: str) -> types_pb.SignedRequest:
        """A request that works until `signature` changes; the URL has no host."""
        url = f"http://:{self._http.server_address[1]}{path}?signature={self.signature}"
        return types_pb.SignedRequest(method=method, url=url)

    def artifact(self, path: str, digest: str) -> types_pb.Artifact:
        """The entry of a file."""
        size = len(self.blobs[digest])
        return types_pb.Artifact(path=path, size_bytes=size, digest=digest, stored_time_ms=1)

    def below(self, owner_id: str, path: str) -> dict[str, str]:
        """Digests of a file, or of what is below a directory, by path; raises NotFound when there is nothing."""
        tree = self.trees.get(owner_id, {})
        found = {p: d for p, d in tree.items() if not path or p == path or p.startswith(f"{path}/")}
        if not found:
            raise NotFound(f"there is no {path!r}", reason="ARTIFACT_NOT_FOUND")
        return found

    def upload_message(self, upload_id: str) -> types_pb.Upload:
        """An open upload as the service tells it."""
        upload = self.uploads[upload_id]
        size = upload.file.size_bytes
        message = types_pb.Upload(
            upload_id=upload_id, path=upload.file.path, size_bytes=size, digest=upload.file.digest
        )
        if size <= self.multipart_threshold_bytes:
            message.request.CopyFrom(self.sign("PUT", f"/whole/{upload_id}"))
        else:
            message.part_size_bytes = self.part_size_bytes
            message.part_count = -(-size // self.part_size_bytes)
            message.part_checksum = "CRC32"
            for number, part in sorted(upload.parts.items()):
                message.uploaded_parts.add(part_number=number, size_bytes=len(part))
        return message


class _HttpServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, fake: FakeArtifacts) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.fake = fake

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], OSError):  # clients may leave, and tests break connections
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: _HttpServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_args: Any) -> None:
        """Silent."""

    def do_PUT(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        if self._refused():
            return
        _, kind, upload_id, *rest = self._path.split("/")
        number = int(rest[0]) if rest else 1
        with self.server.fake.lock:
            self.server.fake.requests["PUT part" if kind == "part" else "PUT"] += 1
            upload = self.server.fake.uploads.get(upload_id)
            wanted = self.headers.get("x-crc32")
            if upload is None:
                self._answer(404, b"<Error><Code>NoSuchUpload</Code><Message>gone</Message></Error>")
            elif wanted is not None and wanted != _crc32(content):
                self._answer(400, b"<Error><Code>BadDigest</Code><Message>wrong</Message></Error>")
            else:
                upload.parts[number] = content
                self._answer(200, b"")

    def do_GET(self) -> None:
        if self._refused():
            return
        content = self.server.fake.corrupt(self.server.fake.blobs[self._path.rpartition("/")[2]])
        self.server.fake.requests["GET"] += 1
        given = self.headers.get("Range")
        if given is None:
            self._answer(200, content)
            return
        start, end = (int(text) for text in given.removeprefix("bytes=").split("-"))
        self._answer(206, content[start : end + 1])

    @property
    def _path(self) -> str:
        return self.path.partition("?")[0]

    def _refused(self) -> bool:
        self.server.fake.on_request(self.command, self._path)
        status = self.server.fake.http_fault(self.command, self._path)
        if status == -1:
            self.close_connection = True
            self.connection.close()
        elif status:
            self._answer(status, b"<Error><Code>Fault</Code><Message>as told</Message></Error>")
        elif self.path.partition("signature=")[2] != self.server.fake.signature:
            self._answer(
                403, b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>"
            )
        else:
            return False
        return True

    def _answer(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def _crc32(content: bytes) -> str:
    return base64.b64encode(zlib.crc32(content).to_bytes(4, "big")).decode()


class _Service(service_grpc.ArtifactServiceServicer):
    def __init__(self, fake: FakeArtifacts) -> None:
        self._fake = fake

    def CreateUploads(self, request: Any, context: Any) -> Any:
        def work() -> service_pb.CreateUploadsResponse:
            outcomes = [self._announce(request.owner.id, file) for file in request.files]
            return service_pb.CreateUploadsResponse(outcomes=outcomes)

        return self._guarded("CreateUploads", context, work)

    def _announce(self, owner: str, file: service_pb.NewFile) -> service_pb.UploadOutcome:
        fake = self._fake
        if file.digest in fake.blobs:
            fake.trees.setdefault(owner, {})[file.path] = file.digest
            return service_pb.UploadOutcome(stored=fake.artifact(file.path, file.digest))
        for upload_id, upload in fake.uploads.items():
            if (upload.owner, upload.file) == (owner, file):
                return service_pb.UploadOutcome(upload=fake.upload_message(upload_id))
        upload_id = str(uuid.uuid4())
        fake.uploads[upload_id] = OpenUpload(owner, file)
        return service_pb.UploadOutcome(upload=fake.upload_message(upload_id))

    def SignParts(self, request: Any, context: Any) -> Any:
        def work() -> service_pb.SignPartsResponse:
            if request.upload_id not in self._fake.uploads:
                raise NotFound("no such upload", reason="UPLOAD_NOT_FOUND")
            signed = []
            for part in request.parts:
                one = self._fake.sign("PUT", f"/part/{request.upload_id}/{part.part_number}")
                one.headers["x-crc32"] = part.checksum
                signed.append(one)
            return service_pb.SignPartsResponse(requests=signed)

        return self._guarded("SignParts", context, work)

    def GetUpload(self, request: Any, context: Any) -> Any:
        def work() -> service_pb.GetUploadResponse:
            return service_pb.GetUploadResponse(upload=self._fake.upload_message(request.upload_id))

        return self._guarded("GetUpload", context, work)

    def CompleteUploads(self, request: Any, context: Any) -> Any:
        def work() -> service_pb.CompleteUploadsResponse:
            results = [self._complete(upload_id) for upload_id in request.upload_ids]
            return service_pb.CompleteUploadsResponse(results=results)

        return self._guarded("CompleteUploads", context, work)

    def _complete(self, upload_id: str) -> service_pb.CompletedUpload:
        fake = self._fake
        upload = fake.uploads.get(upload_id)
        if upload is None:
            return _failed("UPLOAD_NOT_FOUND")
        content = b"".join(upload.parts[number] for number in sorted(upload.parts))
        if len(content) != upload.file.size_bytes or (not upload.parts):
            return _failed("UPLOAD_INCOMPLETE")
        if hashlib.sha256(content).hexdigest() != upload.file.digest:
            del fake.uploads[upload_id]
            return _failed("CHECKSUM_MISMATCH")
        del fake.uploads[upload_id]
        fake.blobs[upload.file.digest] = content
        fake.trees.setdefault(upload.owner, {})[upload.file.path] = upload.file.digest
        return service_pb.CompletedUpload(artifact=fake.artifact(upload.file.path, upload.file.digest))

    def AbortUpload(self, request: Any, context: Any) -> Any:
        def work() -> service_pb.AbortUploadResponse:
            self._fake.uploads.pop(request.upload_id, None)
            return service_pb.AbortUploadResponse()

        return self._guarded("AbortUpload", context, work)

    def ListArtifacts(self, request: Any, context: Any) -> Any:
        def work() -> service_pb.ListArtifactsResponse:
            tree = self._fake.trees.get(request.owner.id, {})
            prefix = f"{request.path}/" if request.path else ""
            found = {path for path in tree if path.startswith(prefix)}
            if not request.recursive:
                found = {prefix + path.removeprefix(prefix).partition("/")[0] for path in found}
            ordered = sorted(found)
            start = int(request.page_token or 0)
            end = start + request.page_size
            return service_pb.ListArtifactsResponse(
                artifacts=[
                    self._fake.artifact(path, tree[path])
                    if path in tree
                    else types_pb.Artifact(path=path, is_directory=True)
                    for path in ordered[start:end]
                ],
                next_page_token=str(end) if end < len(ordered) else "",
            )

        return self._guarded("ListArtifacts", context, work)

    def GetArtifact(self, request: Any, context: Any) -> Any:
        def work() -> service_pb.GetArtifactResponse:
            tree = self._fake.trees.get(request.owner.id, {})
            if request.path in tree:
                found = self._fake.artifact(request.path, tree[request.path])
            elif any(path.startswith(f"{request.path}/") for path in tree):
                found = types_pb.Artifact(path=request.path, is_directory=True)
            else:
                raise NotFound(f"there is no {request.path}", reason="ARTIFACT_NOT_FOUND")
            return service_pb.GetArtifactResponse(artifact=found)

        return self._guarded("GetArtifact", context, work)

    def CreateDownloads(self, request: Any, context: Any) -> Any:
        def work() -> service_pb.CreateDownloadsResponse:
            tree = self._fake.trees.get(request.owner.id, {})
            downloads = []
            for path in request.paths:
                if path not in tree:
                    raise NotFound(f"there is no file {path}", reason="ARTIFACT_NOT_FOUND")
                signed = self._fake.sign("GET", f"/blob/{tree[path]}")
                downloads.append(
                    types_pb.Download(artifact=self._fake.artifact(path, tree[path]), request=signed)
                )
            return service_pb.CreateDownloadsResponse(downloads=downloads)

        return self._guarded("CreateDownloads", context, work)

    def GetTree(self, request: Any, context: Any) -> Any:
        def work() -> service_pb.GetTreeResponse:
            return service_pb.GetTreeResponse(tree=self._tree(request.owner.id, request.path))

        return self._guarded("GetTree", context, work)

    def DeleteArtifacts(self, request: Any, context: Any) -> Any:
        def work() -> service_pb.DeleteArtifactsResponse:
            found = self._fake.below(request.owner.id, request.path)
            for path in found:
                del self._fake.trees[request.owner.id][path]
            return service_pb.DeleteArtifactsResponse(deleted_count=len(found))

        return self._guarded("DeleteArtifacts", context, work)

    def CopyArtifacts(self, request: Any, context: Any) -> Any:
        def work() -> service_pb.CopyArtifactsResponse:
            source = self._fake.below(request.source_owner.id, request.source_path)
            target = self._fake.trees.setdefault(request.target_owner.id, {})
            target.update(_renamed(source, request.source_path, request.target_path))
            return service_pb.CopyArtifactsResponse(tree=self._tree(request.target_owner.id, ""))

        return self._guarded("CopyArtifacts", context, work)

    def MoveArtifacts(self, request: Any, context: Any) -> Any:
        def work() -> service_pb.MoveArtifactsResponse:
            found = self._fake.below(request.owner.id, request.source_path)
            tree = self._fake.trees[request.owner.id]
            for path in found:
                del tree[path]
            tree.update(_renamed(found, request.source_path, request.target_path))
            return service_pb.MoveArtifactsResponse(moved_count=len(found))

        return self._guarded("MoveArtifacts", context, work)

    def VerifyArtifacts(self, request: Any, context: Any) -> Any:
        def work() -> service_pb.VerifyArtifactsResponse:
            answer = service_pb.VerifyArtifactsResponse()
            for top in request.paths or [""]:
                for path, digest in self._fake.below(request.owner.id, top).items():
                    content = self._fake.blobs[digest]
                    answer.verified_count += 1
                    answer.verified_bytes += len(content)
                    if hashlib.sha256(content).hexdigest() != digest:
                        answer.problems.add(path=path, reason="CHECKSUM_MISMATCH", message="not as recorded")
            return answer

        return self._guarded("VerifyArtifacts", context, work)

    def _tree(self, owner: str, path: str) -> types_pb.Tree:
        try:
            found = self._fake.below(owner, path)
        except NotFound:
            found = {}
        sizes = [len(self._fake.blobs[digest]) for digest in found.values()]
        return types_pb.Tree(digest="d" * 64, file_count=len(found), size_bytes=sum(sizes))

    def _guarded(self, method: str, context: Any, work: Callable[[], Any]) -> Any:
        try:
            with self._fake.lock:
                self._fake.requests[method] += 1
                fault = self._fake.rpc_fault(method)
                if fault is not None:
                    raise fault
                return work()
        except PlatformError as error:
            context.abort_with_status(to_status(error))
        except KeyError as error:
            context.abort_with_status(to_status(FailedPrecondition(f"no {error}")))


def _renamed(files: dict[str, str], source: str, target: str) -> dict[str, str]:
    if source in files:
        return {target or source.rpartition("/")[2]: files[source]}
    return {f"{target}/{path.removeprefix(source).strip('/')}".strip("/"): d for path, d in files.items()}


class _Discovery(discovery_grpc.DiscoveryServiceServicer):
    def __init__(self, fake: FakeArtifacts) -> None:
        self._fake = fake

    def ListServices(self, request: Any, context: Any) -> discovery_pb.ListServicesResponse:
        services = [discovery_pb.ServiceAddress(name="artifact", target=f":{self._fake.port}")]
        return discovery_pb.ListServicesResponse(services=services, version="0", topology="fake")


def _failed(reason: str) -> service_pb.CompletedUpload:
    return service_pb.CompletedUpload(failure=service_pb.UploadFailure(reason=reason, message=reason))
