"""What our own API offers, made from its OpenAPI document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request
    from starlette.responses import Response

    from runstream_gateway.console.pages import Pages

DOCUMENT: Final = "/api/runstream/v1/openapi.json"


class ApiPage:
    """The document as a page.

    Args:
        pages: renders.
        document: OpenAPI 3.1.
    """

    def __init__(self, pages: Pages, document: Mapping[str, Any]) -> None:
        self._pages = pages
        self._document = document
        self._tags = {
            tag["name"]: [
                {
                    "method": method.upper(),
                    "path": path,
                    **operation,
                    "body": _body(operation),
                    "answer": _answer(operation),
                }
                for path, operations in document["paths"].items()
                for method, operation in operations.items()
                if operation["tags"] == [tag["name"]]
            ]
            for tag in document["tags"]
        }

    async def show(self, request: Request) -> Response:
        """The page."""
        return self._pages.show(
            request,
            "api.html",
            info=self._document["info"],
            tags=self._tags,
            schemas=self._document["components"]["schemas"],
            document=self._pages.site(DOCUMENT),
            kind_of=kind_of,
        )


def kind_of(schema: Mapping[str, Any]) -> str:
    """A JSON schema in a few words, such as "list of Rule"."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " or ".join(kind_of(item) for item in schema["anyOf"])
    if "enum" in schema:
        return " | ".join(str(item) for item in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {kind_of(schema.get('items', {}))}"
    if schema.get("type") == "object" and "additionalProperties" in schema:
        return f"map to {kind_of(schema['additionalProperties'])}"
    return str(schema.get("type", "any"))


def _body(operation: Mapping[str, Any]) -> str:
    content = operation.get("requestBody", {}).get("content", {})
    return next((kind_of(item["schema"]) for item in content.values()), "")


def _answer(operation: Mapping[str, Any]) -> str:
    success = next(value for status, value in operation["responses"].items() if status.startswith("2"))
    return (
        next(
            ("server-sent events" if kind == "text/event-stream" else kind_of(item["schema"]))
            for kind, item in success.get("content", {}).items()
        )
        if success.get("content")
        else "nothing"
    )
