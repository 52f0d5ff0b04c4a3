"""What the flows over the registry share: its calls, and how a user names a version."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runstream_common.errors import InvalidArgument
from runstream_proto.registry.v1 import model_service_pb2 as model_pb
from runstream_proto.registry.v1 import promotion_service_pb2 as promotion_pb
from runstream_proto.registry.v1 import prompt_service_pb2 as prompt_pb
from runstream_proto.registry.v1 import webhook_service_pb2 as webhook_pb

from runstream.query.client_calls import Call, Flow, asked, method_path
from runstream.registry.translation import STAGE_NUMBERS

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from google.protobuf.message import Message

REGISTRY = "registry"
LATEST = "latest"

MODELS = (model_pb, "ModelService")
PROMOTIONS = (promotion_pb, "PromotionService")
PROMPTS = (prompt_pb, "PromptService")
WEBHOOKS = (webhook_pb, "WebhookService")


def call(
    service: tuple[Any, str], method: str, request: Message, translate: Callable[[Any], Any]
) -> Call[Any]:
    """A call of a registry service; the answer's type follows from the method's name."""
    module, name = service
    answer = getattr(module, f"{method}Response")
    full_name = module.DESCRIPTOR.services_by_name[name].full_name
    return Call(method_path(full_name, method), request, answer.FromString, translate, service=REGISTRY)


def ask(
    service: tuple[ModuleType, str], method: str, request: Message, translate: Callable[[Any], Any]
) -> Flow[Any]:
    """A flow of one call."""
    return asked(call(service, method, request, translate))


def nothing(_answer: object) -> None:
    """Translate an empty answer."""


def stage_number(stage: str) -> Any:
    """The number of a stage in any case.

    Raises:
        InvalidArgument: there is no such stage; the text lists them.
    """
    for name, number in STAGE_NUMBERS.items():
        if name.lower() == stage.lower():
            return number
    raise InvalidArgument.of("stage", f"{stage!r} is not one of {', '.join(STAGE_NUMBERS)}")


def selector_of(version: int | str | None, alias: str = "", stage: str = "") -> model_pb.VersionSelector:
    """Which version is meant.

    Args:
        version: a number, "3", "latest", or "@alias".
        alias: alias instead.
        stage: stage instead, for its highest version.

    Raises:
        InvalidArgument: not exactly one was given, or the version is neither a number nor "@alias".
    """
    if (version is not None) + bool(alias) + bool(stage) != 1:
        raise InvalidArgument.of("version", "give exactly one of version, alias and stage")
    if alias:
        return model_pb.VersionSelector(alias=alias.removeprefix("@"))
    if stage:
        return model_pb.VersionSelector(stage=stage_number(stage))
    if isinstance(version, str):
        return _selector_of_text(version)
    return model_pb.VersionSelector(version=number_of_version(version or 0))


def _selector_of_text(text: str) -> model_pb.VersionSelector:
    if text.isdecimal() and text.isascii():
        return model_pb.VersionSelector(version=number_of_version(int(text)))
    if text == LATEST:
        return model_pb.VersionSelector(alias=LATEST)
    if text.startswith("@") and len(text) > 1:
        return model_pb.VersionSelector(alias=text[1:])
    raise InvalidArgument.of("version", f'{text!r} is neither a number nor "@alias" nor "latest"')


def number_of_version(number: int) -> int:
    """The number, if it fits into a request.

    Raises:
        InvalidArgument: it is below 1 or beyond 2,147,483,647.
    """
    if not 1 <= number < 2**31:
        raise InvalidArgument.of("version", f"{number} is no version; they are 1, 2, 3…")
    return number


def version_number(name: str, version: int | str) -> Flow[int]:
    """The number of a version; an alias is looked up."""
    selector = selector_of(version)
    if selector.WhichOneof("selector") == "version":
        return number_of_version(selector.version)
    request = model_pb.ResolveVersionRequest(name=name, selector=selector)
    found: int = yield call(MODELS, "ResolveVersion", request, lambda answer: answer.version)
    return found
