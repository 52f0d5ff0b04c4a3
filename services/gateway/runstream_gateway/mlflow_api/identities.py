"""Ids of runs and experiments as clients write them, in the form that services take."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlflow.exceptions import MlflowException
from mlflow.utils.validation import _parse_experiment_id
from runstream_contract.names import is_run_id

from runstream_gateway.mlflow_api.errors import experiment_missing, run_missing

if TYPE_CHECKING:
    from collections.abc import Iterable

_DEFAULT_EXPERIMENT = "0"
_MAX_EXPERIMENT_ID = 10**18 - 1


def experiment_id_text(text: str) -> str:
    """An experiment's id as the service writes it: MLflow takes whatever Python reads as an integer.

    Args:
        text: empty means the default experiment, as in MLflow.

    Raises:
        MlflowException: INVALID_PARAMETER_VALUE for what is no integer, 404 for one that no experiment can have.
    """
    if text.isascii() and text.isdigit() and len(text) == 1:
        return text
    number: int = _parse_experiment_id(text or _DEFAULT_EXPERIMENT)
    if not 0 <= number <= _MAX_EXPERIMENT_ID:
        raise experiment_missing(number)
    return str(number)


def known_experiment_ids(texts: Iterable[str]) -> list[str]:
    """Ids of experiments that may exist, each once, in the service's form: numbers out of range are nobody's.

    Raises:
        MlflowException: INVALID_PARAMETER_VALUE for a text that is no number.
    """
    known: dict[str, None] = {}
    for text in texts:
        if not text:
            # The default experiment only where one is asked for.
            _parse_experiment_id(text)
        try:
            known[experiment_id_text(text)] = None
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
    return list(known)


def existing_run_id(text: str) -> str:
    """A run's id, refused as unknown when no run can have it.

    Raises:
        MlflowException: 404.
    """
    if not is_run_id(text):
        raise run_missing(text)
    return text
