"""Cuts a filter or an order_by item into tokens."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from runstream_common.search.problems import InvalidFilter, InvalidOrderBy, shown

MAX_TEXT_LENGTH = 100_000
"""Characters of one filter: room for IN with a thousand run ids."""


class TokenKind(Enum):
    """Kinds of tokens; the value is how a message calls them."""

    NAME = "a field"
    WORD = "a word"
    DOUBLE_QUOTED = "a double-quoted text"
    SINGLE_QUOTED = "a single-quoted text"
    NUMBER = "a number"
    OPERATOR = "an operator"
    OPEN = "'('"
    CLOSE = "')'"
    COMMA = "','"
    END = "the end"


@dataclass(frozen=True, slots=True)
class Token:
    """One token.

    Args:
        text: as written; for quoted texts what is between the quotes.
        entity: of a NAME, the word before the first dot; empty for a back-ticked name without one.
    """

    kind: TokenKind
    text: str
    position: int
    entity: str = ""

    def is_word(self, word: str) -> bool:
        """Whether this is the keyword, in any case."""
        return self.kind is TokenKind.WORD and self.text.upper() == word

    def __str__(self) -> str:
        return TokenKind.END.value if self.kind is TokenKind.END else shown(self.text)


# A doubled quote stands for one. MLflow reads a quote after a backslash as part of the text and keeps both signs.
_OWN_QUOTED = r"'(?:''|[^'])*'", r'"(?:""|[^"])*"'
_MLFLOW_QUOTED = r"'(?:''|\\'|[^'])*'", r'"(?:""|\\"|[^"])*"'

_TEMPLATE = r"""
    (?P<space>\s+)
  | (?P<dotted>(?:(?P<entity>[^\W\d]\w*)|`(?P<ticked_entity>[^`]*)`)
               \.(?:`(?P<ticked_key>[^`]*)`|"(?P<quoted_key>[^"]*)"{more_keys}|(?P<key>{key})))
  | `(?P<ticked>[^`]*)`
  | (?P<word>[^\W\d]\w*)
  | (?P<number>-?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?(?![\w.]))
  | (?P<single>{single})
  | (?P<double>{double})
  | (?P<operator><=|>=|!=|=|<|>)
  | (?P<open>\()
  | (?P<close>\))
  | (?P<comma>,)
"""


# MLflow also reads keys in single quotes, and keys that begin with a dot.
_OWN_KEY, _MLFLOW_KEY = r"\w[\w.]*", r"[\w.]+"
_MLFLOW_MORE_KEYS = r"|'(?P<single_key>[^']*)'"


def _pattern(quoted: tuple[str, str], key: str, more_keys: str) -> re.Pattern[str]:
    pattern = _TEMPLATE.format(single=quoted[0], double=quoted[1], key=key, more_keys=more_keys)
    return re.compile(pattern, re.VERBOSE)


_OWN = _pattern(_OWN_QUOTED, _OWN_KEY, "")
_MLFLOW = _pattern(_MLFLOW_QUOTED, _MLFLOW_KEY, _MLFLOW_MORE_KEYS)
_KEY_GROUPS = frozenset({"ticked_key", "quoted_key", "single_key", "key"})

_SIMPLE = {
    "word": TokenKind.WORD,
    "number": TokenKind.NUMBER,
    "operator": TokenKind.OPERATOR,
    "open": TokenKind.OPEN,
    "close": TokenKind.CLOSE,
    "comma": TokenKind.COMMA,
}


def tokens(text: str, field: str, *, mlflow_strict: bool = False) -> list[Token]:
    """The tokens of a text, with END as the last.

    Args:
        text: at most MAX_TEXT_LENGTH characters.
        field: where the text came from, for messages.
        mlflow_strict: keep doubled quotes and quotes after a backslash as they are, and take the keys that MLflow takes.

    Raises:
        InvalidFilter: something is no token, or the text is too long.
    """
    _check_characters(text, field)
    pattern = _MLFLOW if mlflow_strict else _OWN
    found: list[Token] = []
    position = 0
    while position < len(text):
        match = pattern.match(text, position)
        if match is None:
            raise problem(field, position, _unexpected(text, position, found))
        if match.lastgroup != "space":
            found.append(_token(match, unescape=not mlflow_strict))
        position = match.end()
    found.append(Token(TokenKind.END, "", len(text)))
    return found


def problem(field: str, position: int, description: str) -> InvalidFilter:
    """The refusal of a text that came in the field."""
    return (InvalidFilter if field == "filter" else InvalidOrderBy)(field, position, description)


def _check_characters(text: str, field: str) -> None:
    if len(text) > MAX_TEXT_LENGTH:
        raise problem(
            field, MAX_TEXT_LENGTH, f"has {len(text)} characters, at most {MAX_TEXT_LENGTH} are allowed"
        )
    # PostgreSQL's text can hold neither.
    for position, character in enumerate(text):
        if character == "\0" or "\ud800" <= character <= "\udfff":
            raise problem(field, position, f"the character U+{ord(character):04X} is not allowed")


def _token(match: re.Match[str], *, unescape: bool) -> Token:
    group = match.lastgroup or ""
    position = match.start()
    if group == "dotted":
        entity = match["entity"] if match["entity"] is not None else match["ticked_entity"]
        parts = match.groupdict()
        key = next(parts[name] for name in _KEY_GROUPS & parts.keys() if parts[name] is not None)
        return Token(TokenKind.NAME, key, position, entity)
    if group == "ticked":
        return Token(TokenKind.NAME, match["ticked"], position)
    if group in {"single", "double"}:
        quote = match[0][0]
        content = match[0][1:-1]
        kind = TokenKind.SINGLE_QUOTED if group == "single" else TokenKind.DOUBLE_QUOTED
        return Token(kind, content.replace(quote * 2, quote) if unescape else content, position)
    return Token(_SIMPLE[group], match[0], position)


def _unexpected(text: str, position: int, before: list[Token]) -> str:
    character = text[position]
    if character in {"'", '"', "`"}:
        return f"the text that begins with {character} does not end"
    if character in "-/:." and before and before[-1].kind in {TokenKind.NAME, TokenKind.WORD}:
        return f"unexpected {character!r}; put keys with such characters in back-ticks, e.g. metrics.`a{character}b`"
    if character.isdigit() or character in "-.":
        return "not a number that is understood, e.g. 1, -0.5 or 1e-3"
    return f"unexpected {character!r}"
