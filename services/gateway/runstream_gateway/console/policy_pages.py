"""Promotion policies as YAML: viewed, compared with earlier revisions, edited."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any, Final

import msgspec
import yaml
from runstream_common.errors import InvalidArgument, PlatformError

from runstream_gateway.console.forms import acting, read_form
from runstream_gateway.console.visitors import visitor_of
from runstream_gateway.control.policies import Policies, PolicyDocument

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from runstream_gateway.backends import Backends
    from runstream_gateway.console.pages import Pages

EXAMPLE: Final = """\
models: "fraud-*"
targets: "alias/champion"
rules:
  - metric:
      condition: "accuracy >= 0.9"
  - approvals:
      count: 1
      roles: [lead]
roles:
  - name: lead
    members: [ada, bob]
"""


class PolicyPages:
    """Pages about policies."""

    def __init__(self, pages: Pages, backends: Backends) -> None:
        self._pages = pages
        self._policies = Policies(backends)

    async def index(self, request: Request) -> Response:
        """Policies in force."""
        found = await self._policies.list()
        return self._pages.show(request, "policies.html", policies=found.policies)

    async def one(self, request: Request) -> Response:
        """A revision, the newest if none is asked for, and what it changed."""
        name, asked = request.path_params["policy"], request.query_params.get("revision", "0")
        if not asked.isdecimal() or len(asked) > 9:
            raise InvalidArgument.of("revision", "must be a number")
        history = await self._policies.history(name, page_token=request.query_params.get("page_token", ""))
        policy = await self._policies.get(name, int(asked))
        before = await self._policies.get(name, policy.revision - 1) if policy.revision > 1 else None
        changes = [] if before is None else _diff(_text(before.document), _text(policy.document))
        return self._pages.show(
            request,
            "policy.html",
            policy=policy,
            text=_text(policy.document),
            changes=changes,
            history=history,
            newest=history.revisions[0].revision,
        )

    async def new(self, request: Request) -> Response:
        """An empty form."""
        return self._form(request, name="", text=EXAMPLE, revision=0)

    async def edit(self, request: Request) -> Response:
        """A form with the newest revision."""
        policy = await self._policies.get(request.path_params["policy"])
        revision = 0 if policy.deleted else policy.revision
        return self._form(request, name=policy.name, text=_text(policy.document), revision=revision)

    async def store(self, request: Request) -> Response:
        """Show what would change, or store it."""
        form = await read_form(request)
        name, text, revision = form.one("name"), form.one("document"), form.one("revision")
        values: dict[str, Any] = {"name": name, "text": text, "reason": form.one("reason")}
        values["revision"] = int(revision) if revision.isdecimal() and len(revision) <= 9 else 0
        try:
            document = read_document(text)
            if form.one("action") == "compare":
                return self._form(
                    request, **values, changes=await self._changes(name, document, values["revision"])
                )
            stored = await self._policies.put(
                name,
                document,
                expected_revision=values["revision"],
                reason=values["reason"],
                actor=acting(visitor_of(request)),
            )
        except PlatformError as error:
            return self._form(request, **values, problem=error)
        return self._pages.onwards(self._pages.at("policies", stored.name, done="stored"))

    async def delete(self, request: Request) -> Response:
        """Take a policy out of force."""
        form, name = await read_form(request), request.path_params["policy"]
        await self._policies.delete(name, reason=form.one("reason"), actor=acting(visitor_of(request)))
        return self._pages.onwards(self._pages.at("policies", name, done="deleted"))

    async def _changes(self, name: str, document: PolicyDocument, revision: int) -> list[str]:
        current = "" if revision == 0 else _text((await self._policies.get(name, revision)).document)
        return _diff(current, _text(document)) or ["  nothing changes"]

    def _form(
        self,
        request: Request,
        *,
        problem: PlatformError | None = None,
        changes: list[str] | None = None,
        reason: str = "",
        **values: Any,
    ) -> Response:
        shown = {"changes": changes or [], "reason": reason, **values}
        if problem is not None:
            return self._pages.refused(request, problem, "policy_form.html", **shown)
        return self._pages.show(request, "policy_form.html", **shown)


def read_document(text: str) -> PolicyDocument:
    """A policy from YAML or JSON.

    Raises:
        InvalidArgument: it is neither, or no policy.
    """
    try:
        # A subclass of the safe loader.
        return msgspec.convert(yaml.load(text, Loader=_PlainLoader), PolicyDocument)  # noqa: S506
    except yaml.YAMLError as error:
        raise InvalidArgument.of("document", f"is not YAML: {error}") from error
    except msgspec.ValidationError as error:
        raise InvalidArgument.of("document", str(error)) from error
    except RecursionError as error:
        raise InvalidArgument.of("document", "is nested too deeply") from error


class _PlainLoader(yaml.SafeLoader):
    """Takes no aliases: a few lines of them make a document of a billion values."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """See yaml.composer."""
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not taken")
        return super().compose_node(parent, index)


def _text(document: PolicyDocument) -> str:
    """A policy as YAML, in the order of its fields."""
    fields = msgspec.to_builtins(document)
    text: str = yaml.safe_dump(fields, sort_keys=False, allow_unicode=True, width=100)
    return text


def _diff(before: str, after: str) -> list[str]:
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=3)
    return list(lines)[2:]
