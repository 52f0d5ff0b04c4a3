"""The ``minio`` client with what it keeps to itself: multipart uploads step by step, with checksums."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import certifi
import urllib3
from minio import Minio
from minio.error import S3Error
from minio.xml import findall, findtext

from runstream_common.object_store.api import StoredPart

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from urllib3 import BaseHTTPResponse

    from runstream_common.object_store.location import S3Location

CONNECT_TIMEOUT_SECONDS = 5.0
RETRIES = 2
"""Attempts after the first; whoever calls us tries again later too."""
_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"


class S3Client(Minio):
    """Blocking calls to one bucket.

    Args:
        location: of the bucket.
        connections: kept open at most.
        timeout_seconds: longest silence within an answer.
        ca_file: CA certificates for TLS; empty is certifi's.
    """

    def __init__(
        self, location: S3Location, *, connections: int, timeout_seconds: float, ca_file: str = ""
    ) -> None:
        pool = urllib3.PoolManager(
            maxsize=connections,
            block=True,
            timeout=urllib3.Timeout(connect=CONNECT_TIMEOUT_SECONDS, read=timeout_seconds),
            cert_reqs="CERT_REQUIRED",
            ca_certs=ca_file or certifi.where(),
            retries=urllib3.Retry(total=RETRIES, backoff_factor=0.2, status_forcelist=[500, 502, 503, 504]),
        )
        super().__init__(
            location.endpoint,
            access_key=location.access_key,
            secret_key=location.secret_key,
            secure=location.secure,
            region=location.region or None,
            http_client=pool,
        )
        if location.style is not None:
            self._base_url.virtual_style_flag = location.style == "virtual"
        self.pool = pool
        self._bucket = location.bucket
        self.given_region = location.region or None

    def region(self) -> str:
        """The bucket's region, asked of the server unless it was given."""
        return self._get_region(self._bucket)

    def put_small(self, key: str, content: bytes, headers: Mapping[str, str]) -> None:
        """PutObject of content in memory."""
        self._put_object(self._bucket, key, content, dict(headers))

    def create_upload(self, key: str, headers: Mapping[str, str]) -> str:
        """CreateMultipartUpload; returns the id."""
        return self._create_multipart_upload(self._bucket, key, dict(headers))

    def uploaded_parts(self, key: str, upload_id: str) -> Iterator[StoredPart]:
        """ListParts, page by page; the client's own drops the checksums."""
        marker = "0"
        while True:
            query = {"uploadId": upload_id, "max-parts": "1000", "part-number-marker": marker}
            response = self._execute("GET", self._bucket, key, query_params=dict(query))
            root = ET.fromstring(response.data)  # noqa: S314 - from the store that holds our data
            yield from (_stored_part(element) for element in findall(root, "Part"))
            if findtext(root, "IsTruncated") != "true":
                return
            marker = findtext(root, "NextPartNumberMarker", strict=True) or ""

    def complete_upload(self, key: str, upload_id: str, parts: Sequence[StoredPart]) -> None:
        """CompleteMultipartUpload, with the parts' checksums where they have some (AWS demands them)."""
        root = ET.Element("CompleteMultipartUpload", xmlns=_NAMESPACE)
        for part in parts:
            element = ET.SubElement(root, "Part")
            ET.SubElement(element, "PartNumber").text = str(part.number)
            ET.SubElement(element, "ETag").text = f'"{part.etag}"'
            if part.checksum:
                ET.SubElement(element, "ChecksumCRC32").text = part.checksum
        response = self._execute(
            "POST",
            self._bucket,
            key,
            body=ET.tostring(root),
            headers={"Content-Type": "application/xml"},
            query_params={"uploadId": upload_id},
        )
        _raise_late_error(response)

    def abort_upload(self, key: str, upload_id: str) -> None:
        """AbortMultipartUpload."""
        self._abort_multipart_upload(self._bucket, key, upload_id)


def _raise_late_error(response: BaseHTTPResponse) -> None:
    """S3 answers 200 before a long completion is done and may then send an error as the body."""
    root = ET.fromstring(response.data)  # noqa: S314 - from the store that holds our data
    if root.tag.rpartition("}")[2] == "Error":
        raise S3Error.fromxml(response)


def _stored_part(element: ET.Element) -> StoredPart:
    return StoredPart(
        number=int(findtext(element, "PartNumber", strict=True) or 0),
        size_bytes=int(findtext(element, "Size", strict=True) or 0),
        etag=(findtext(element, "ETag", strict=True) or "").strip('"'),
        checksum=findtext(element, "ChecksumCRC32") or "",
    )
