"""gRPC handlers of ArtifactService: translate, call, translate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runstream_common.errors import InvalidArgument
from runstream_common.object_store.api import MAX_EXPIRES_SECONDS
from runstream_common.rpc.server import Registration
from runstream_proto.artifact.v1 import artifact_service_pb2 as pb
from runstream_proto.artifact.v1 import artifact_service_pb2_grpc as pb_grpc
from runstream_proto.artifact.v1 import types_pb2 as types

from runstream_artifact.api import mapping
from runstream_artifact.api import open_uploads as opening
from runstream_artifact.file_rules import new_file
from runstream_artifact.files import Files, Listing
from runstream_artifact.paths import directory_path, file_path
from runstream_artifact.signing import PartToSign
from runstream_artifact.transfers import Place

if TYPE_CHECKING:
    import grpc

    from runstream_artifact.completion import Completion
    from runstream_artifact.integrity import Integrity
    from runstream_artifact.open_completion import OpenCompletion
    from runstream_artifact.open_uploads import OpenUploads
    from runstream_artifact.small_writes import SmallWrites
    from runstream_artifact.transfers import Transfers
    from runstream_artifact.uploads import Uploads

    Context = grpc.aio.ServicerContext[Any, Any]

# ruff: noqa: N802, ARG002 - names and signatures are gRPC's

MAX_FILES = 1_000
"""Files, uploads, parts or paths in one call."""
DEFAULT_PAGE_SIZE = 1_000
MAX_PAGE_SIZE = 10_000
MAX_READ_BYTES = 1_048_576
"""Largest file that is read through this service."""


@dataclass(frozen=True, slots=True)
class ArtifactUseCases:
    """What the handlers call."""

    uploads: Uploads
    completion: Completion
    files: Files
    transfers: Transfers
    integrity: Integrity
    open_uploads: OpenUploads
    open_completion: OpenCompletion
    small_writes: SmallWrites


class ArtifactService(pb_grpc.ArtifactServiceServicer):
    """File trees over gRPC."""

    def __init__(self, use_cases: ArtifactUseCases) -> None:
        self._use = use_cases

    def registration(self) -> Registration:
        """What the server registers."""
        return Registration(
            pb.DESCRIPTOR.services_by_name["ArtifactService"].full_name,
            pb_grpc.add_ArtifactServiceServicer_to_server,
            self,
        )

    async def CreateUploads(
        self, request: pb.CreateUploadsRequest, context: Context
    ) -> pb.CreateUploadsResponse:
        """Announce files."""
        owner = mapping.owner(request.owner)
        mapping.count(request.files, "files", MAX_FILES)
        files = [
            new_file(file.path, file.size_bytes, file.digest, file.content_type, f"files[{index}]")
            for index, file in enumerate(request.files)
        ]
        outcomes = await self._use.uploads.create(owner, files)
        return pb.CreateUploadsResponse(outcomes=[mapping.outcome_message(item) for item in outcomes])

    async def SignParts(self, request: pb.SignPartsRequest, context: Context) -> pb.SignPartsResponse:
        """Sign requests for parts."""
        upload_id = mapping.upload_id(request.upload_id)
        mapping.count(request.parts, "parts", MAX_FILES)
        parts = [PartToSign(part.part_number, part.checksum) for part in request.parts]
        signed = await self._use.uploads.sign_parts(upload_id, parts)
        return pb.SignPartsResponse(requests=[mapping.request_message(item) for item in signed])

    async def GetUpload(self, request: pb.GetUploadRequest, context: Context) -> pb.GetUploadResponse:
        """Read an upload."""
        ticket = await self._use.uploads.get(mapping.upload_id(request.upload_id))
        return pb.GetUploadResponse(upload=mapping.upload_message(ticket))

    async def CompleteUploads(
        self, request: pb.CompleteUploadsRequest, context: Context
    ) -> pb.CompleteUploadsResponse:
        """Check what was sent and make it visible."""
        mapping.count(request.upload_ids, "upload_ids", MAX_FILES)
        upload_ids = [
            mapping.upload_id(text, f"upload_ids[{index}]") for index, text in enumerate(request.upload_ids)
        ]
        results = await self._use.completion.complete(upload_ids)
        return pb.CompleteUploadsResponse(results=[mapping.completed_message(item) for item in results])

    async def AbortUpload(self, request: pb.AbortUploadRequest, context: Context) -> pb.AbortUploadResponse:
        """Give an upload up."""
        await self._use.uploads.abort(mapping.upload_id(request.upload_id))
        return pb.AbortUploadResponse()

    async def WriteArtifact(
        self, request: pb.WriteArtifactRequest, context: Context
    ) -> pb.WriteArtifactResponse:
        """Store a small file."""
        file, content = opening.open_file(request), opening.small_content(request.content)
        stored = await self._use.small_writes.write(file, content)
        return pb.WriteArtifactResponse(artifact=mapping.artifact_message(stored))

    async def CreateOpenUpload(
        self, request: pb.CreateOpenUploadRequest, context: Context
    ) -> pb.CreateOpenUploadResponse:
        """Open an upload of content that nobody knows yet."""
        use = self._use.open_uploads
        upload, signed = await use.create(
            opening.open_file(request), request.part_count, for_service=request.for_service
        )
        return pb.CreateOpenUploadResponse(
            upload=opening.upload_message(upload, needs_length=use.needs_length),
            requests=[mapping.request_message(item) for item in signed],
        )

    async def SignOpenParts(
        self, request: pb.SignOpenPartsRequest, context: Context
    ) -> pb.SignOpenPartsResponse:
        """Sign requests for parts of an open upload."""
        upload_id = mapping.upload_id(request.upload_id)
        mapping.count(request.part_numbers, "part_numbers", MAX_FILES)
        signed = await self._use.open_uploads.sign_parts(
            upload_id, request.part_numbers, for_service=request.for_service
        )
        return pb.SignOpenPartsResponse(requests=[mapping.request_message(item) for item in signed])

    async def CompleteOpenUpload(
        self, request: pb.CompleteOpenUploadRequest, context: Context
    ) -> pb.CompleteOpenUploadResponse:
        """Put the parts together and make the file visible."""
        result = await self._use.open_completion.complete(
            mapping.upload_id(request.upload_id), opening.sent_parts(request), opening.expected_file(request)
        )
        return pb.CompleteOpenUploadResponse(result=mapping.completed_message(result))

    async def AbortOpenUpload(
        self, request: pb.AbortOpenUploadRequest, context: Context
    ) -> pb.AbortOpenUploadResponse:
        """Give an open upload up."""
        await self._use.open_uploads.abort(mapping.upload_id(request.upload_id))
        return pb.AbortOpenUploadResponse()

    async def GetOpenUpload(
        self, request: pb.GetOpenUploadRequest, context: Context
    ) -> pb.GetOpenUploadResponse:
        """Read an open upload."""
        use = self._use.open_uploads
        upload = await use.get(mapping.upload_id(request.upload_id))
        return pb.GetOpenUploadResponse(upload=opening.upload_message(upload, needs_length=use.needs_length))

    async def FetchArtifact(
        self, request: pb.FetchArtifactRequest, context: Context
    ) -> pb.FetchArtifactResponse:
        """Find a file for a service that hands it on."""
        file, source = await self._use.files.fetch(opening.wanted(request))
        artifact = mapping.artifact_message(file)
        if isinstance(source, bytes):
            return pb.FetchArtifactResponse(artifact=artifact, content=source)
        return pb.FetchArtifactResponse(artifact=artifact, request=mapping.request_message(source))

    async def DescribeStore(
        self, request: pb.DescribeStoreRequest, context: Context
    ) -> pb.DescribeStoreResponse:
        """Tell how the object store is reached."""
        address = self._use.files.store_address
        return pb.DescribeStoreResponse(
            service_url=address.service_url, clients_reach_it=address.clients_reach_it
        )

    async def ListArtifacts(
        self, request: pb.ListArtifactsRequest, context: Context
    ) -> pb.ListArtifactsResponse:
        """One page of a directory."""
        if not 0 <= request.page_size <= MAX_PAGE_SIZE:
            raise InvalidArgument.of("page_size", f"must be 0 to {MAX_PAGE_SIZE}")
        listing = Listing(
            owner=mapping.owner(request.owner),
            directory=directory_path(request.path, portable=False),
            recursive=request.recursive,
            page_size=request.page_size or DEFAULT_PAGE_SIZE,
            page_token=request.page_token,
        )
        entries, next_page_token = await self._use.files.list(listing)
        return pb.ListArtifactsResponse(
            artifacts=[mapping.artifact_message(entry) for entry in entries], next_page_token=next_page_token
        )

    async def GetArtifact(self, request: pb.GetArtifactRequest, context: Context) -> pb.GetArtifactResponse:
        """Read one entry."""
        path = directory_path(request.path, portable=False)
        if not path:
            raise InvalidArgument.of("path", "is required")
        entry = await self._use.files.get(mapping.owner(request.owner), path)
        return pb.GetArtifactResponse(artifact=mapping.artifact_message(entry))

    async def CreateDownloads(
        self, request: pb.CreateDownloadsRequest, context: Context
    ) -> pb.CreateDownloadsResponse:
        """Sign requests to fetch files."""
        owner = mapping.owner(request.owner)
        mapping.count(request.paths, "paths", MAX_FILES)
        if not 0 <= request.expires_seconds <= MAX_EXPIRES_SECONDS:
            raise InvalidArgument.of("expires_seconds", f"must be 0 to {MAX_EXPIRES_SECONDS}")
        paths = [
            file_path(path, f"paths[{index}]", portable=False) for index, path in enumerate(request.paths)
        ]
        downloads = await self._use.files.downloads(owner, paths, request.expires_seconds or None)
        return pb.CreateDownloadsResponse(
            downloads=[
                types.Download(
                    artifact=mapping.artifact_message(file), request=mapping.request_message(signed)
                )
                for file, signed in downloads
            ]
        )

    async def ReadArtifact(
        self, request: pb.ReadArtifactRequest, context: Context
    ) -> pb.ReadArtifactResponse:
        """Read a small file."""
        if not 0 <= request.max_bytes <= MAX_READ_BYTES:
            raise InvalidArgument.of("max_bytes", f"must be 0 to {MAX_READ_BYTES}")
        owner, path = mapping.owner(request.owner), file_path(request.path, "path", portable=False)
        file, content = await self._use.files.read(owner, path, request.max_bytes or MAX_READ_BYTES)
        return pb.ReadArtifactResponse(artifact=mapping.artifact_message(file), content=content)

    async def DeleteArtifacts(
        self, request: pb.DeleteArtifactsRequest, context: Context
    ) -> pb.DeleteArtifactsResponse:
        """Delete a file or directory."""
        owner, path = mapping.owner(request.owner), directory_path(request.path, portable=False)
        return pb.DeleteArtifactsResponse(deleted_count=await self._use.files.delete(owner, path))

    async def CopyArtifacts(
        self, request: pb.CopyArtifactsRequest, context: Context
    ) -> pb.CopyArtifactsResponse:
        """Copy a file or directory."""
        source = Place(
            mapping.owner(request.source_owner, "source_owner"),
            directory_path(request.source_path, "source_path", portable=False),
        )
        target = Place(
            mapping.owner(request.target_owner, "target_owner"),
            directory_path(request.target_path, "target_path"),
        )
        tree = await self._use.transfers.copy(source, target, seal=request.seal_target)
        return pb.CopyArtifactsResponse(tree=mapping.tree_message(tree))

    async def MoveArtifacts(
        self, request: pb.MoveArtifactsRequest, context: Context
    ) -> pb.MoveArtifactsResponse:
        """Rename a file or directory."""
        owner = mapping.owner(request.owner)
        source = file_path(request.source_path.removesuffix("/"), "source_path", portable=False)
        target = file_path(request.target_path.removesuffix("/"), "target_path")
        return pb.MoveArtifactsResponse(moved_count=await self._use.transfers.move(owner, source, target))

    async def GetTree(self, request: pb.GetTreeRequest, context: Context) -> pb.GetTreeResponse:
        """Measure a tree."""
        path = directory_path(request.path, portable=False)
        tree = await self._use.files.tree(mapping.owner(request.owner), path)
        return pb.GetTreeResponse(tree=mapping.tree_message(tree))

    async def VerifyArtifacts(
        self, request: pb.VerifyArtifactsRequest, context: Context
    ) -> pb.VerifyArtifactsResponse:
        """Compare with the object store."""
        if len(request.paths) > MAX_FILES:
            raise InvalidArgument.of("paths", f"has {len(request.paths)} entries, at most {MAX_FILES}")
        paths = [
            file_path(path.removesuffix("/"), f"paths[{index}]", portable=False)
            for index, path in enumerate(request.paths)
        ]
        report = await self._use.integrity.verify(
            mapping.owner(request.owner), paths, read_content=request.read_content
        )
        return pb.VerifyArtifactsResponse(
            verified_count=report.verified_count,
            verified_bytes=report.verified_bytes,
            problems=[
                pb.ArtifactProblem(path=item.path, reason=item.reason, message=item.message)
                for item in report.problems
            ],
        )
