"""Chat templates: messages to the one text that a model was trained to read, as the folder of the model says.

A template is a program of somebody else's, in Jinja. It runs in Jinja's immutable sandbox: it reaches no attribute
of Python's machinery, changes nothing it is given, and here it can neither build long texts by multiplication nor
write more than `LONGEST` characters; a loop that writes nothing can still take its time. What it is refused is an
InputError. The conventions are those of transformers (blocks trimmed, `raise_exception`, `strftime_now`,
`{% generation %}`, loop controls, JSON without HTML escapes) except in two points:

1. The date is an argument, not today's: a score that depends on the day cannot be repeated.
2. Multiplication of texts and lists, and powers, are refused.

The text has its special tokens in it: tokenise it without adding them again.
"""

import datetime
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import jinja2
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment, SecurityError

from irl.types import InputError
from reward_models.records import as_part, read_json, record

LONGEST = 4_000_000
TOKENIZER_CONFIG = "tokenizer_config.json"
SPECIAL_TOKENS = ("bos_token", "eos_token", "pad_token", "unk_token", "sep_token", "cls_token", "mask_token")


@dataclass(frozen=True, kw_only=True)
class ChatTemplate:
    """A template with the special tokens it may name and the date it is told."""

    source: str
    special_tokens: Mapping[str, str] = field(default_factory=dict)
    date: datetime.date | None = None
    name: str = "chat template"
    """What errors call it: the file it came from."""

    def render(
        self,
        messages: Sequence[Any],
        *,
        add_generation_prompt: bool = False,
        variables: Mapping[str, Any] | None = None,
    ) -> str:
        """The text of messages (objects with `role` and `content`); `variables` are further names, such as tools.

        With `add_generation_prompt` it ends where the assistant's next message starts.
        """
        _check_messages(messages)
        names = {"tools": None, "documents": None, **self.special_tokens, **(variables or {})}
        names |= {"messages": messages, "add_generation_prompt": add_generation_prompt}
        parts, length = [], 0
        try:
            for part in _compiled(self.source, self.date).generate(names):
                parts.append(part)
                length += len(part)
                if length > LONGEST:
                    raise _Refused(f"writes more than {LONGEST} characters; take the template of a model you trust")
        except _Refused as error:
            raise InputError(f"{self.name}: {error}") from error
        except SecurityError as error:
            told = f"does what no template may ({error}); take the template of a model you trust"
            raise InputError(f"{self.name}: {told}") from error
        except jinja2.TemplateSyntaxError as error:
            raise InputError(f"{self.name}, line {error.lineno}: {error.message}; correct the template") from error
        except (jinja2.TemplateError, TypeError, ValueError, ArithmeticError, LookupError) as error:
            raise InputError(f"{self.name}: cannot write these messages: {error}") from error
        return "".join(parts)


@record
class NamedTemplate:
    """One of several chat templates of a folder."""

    name: str
    template: str


@record
class TokenizerConfig:
    """The keys of tokenizer_config.json that are read."""

    chat_template: str | list[NamedTemplate] | dict[str, str] | None = None
    bos_token: str | dict[str, Any] | None = None
    eos_token: str | dict[str, Any] | None = None
    pad_token: str | dict[str, Any] | None = None
    unk_token: str | dict[str, Any] | None = None
    sep_token: str | dict[str, Any] | None = None
    cls_token: str | dict[str, Any] | None = None
    mask_token: str | dict[str, Any] | None = None


def read_tokenizer_config(folder: Path) -> TokenizerConfig:
    """The record of a folder's tokenizer_config.json, which may be missing. Raises InputError."""
    file = folder / TOKENIZER_CONFIG
    return as_part(TokenizerConfig, read_json(file), str(file)) if file.is_file() else TokenizerConfig()


def load_chat_template(folder: Path, *, name: str = "default", date: datetime.date | None = None) -> ChatTemplate:
    """The chat template of a model folder: chat_template.jinja, or `chat_template` of tokenizer_config.json.

    `name` chooses where a folder has several. InputError when there is none.
    """
    file = folder / TOKENIZER_CONFIG
    config = read_tokenizer_config(folder)
    given = {key: getattr(config, key) for key in SPECIAL_TOKENS}
    tokens = {key: _token(value, f"{file}: {key}") for key, value in given.items() if value is not None}
    separate = (
        folder / "chat_template.jinja" if name == "default" else folder / f"additional_chat_templates/{name}.jinja"
    )
    if separate.is_file():
        source = separate.read_text(encoding="utf-8")
        return ChatTemplate(source=source, special_tokens=tokens, date=date, name=str(separate))
    source = _choose(config.chat_template, name, file)
    return ChatTemplate(source=source, special_tokens=tokens, date=date, name=f"{file}: chat_template")


class _Refused(Exception):
    """The template asks for something it does not get, or refuses the messages."""


class _Generation(jinja2.ext.Extension):
    """`{% generation %}` marks what the assistant wrote, for training; the text inside is written as it is."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.Scope(body, lineno=line)


class _Environment(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset(["*", "**"])

    def unsafe_undefined(self, obj, attribute):
        raise SecurityError(f"{type(obj).__name__}.{attribute}")

    def call_binop(self, context, operator, left, right):
        if operator == "**" or not all(isinstance(side, int | float) for side in (left, right)):
            raise SecurityError(f"{type(left).__name__} {operator} {type(right).__name__}")
        return left * right


@lru_cache(maxsize=32)
def _compiled(source: str, date: datetime.date | None) -> jinja2.Template:
    """The program of a template; a million rows read one."""
    return _environment(date).from_string(source)


def _environment(date: datetime.date | None) -> _Environment:
    extensions = [_Generation, jinja2.ext.loopcontrols]
    environment = _Environment(trim_blocks=True, lstrip_blocks=True, extensions=extensions)

    def strftime_now(form: str) -> str:
        if date is None:
            raise _Refused("asks for today's date, and scores would change with it; give a date")
        return date.strftime(form)

    def raise_exception(message: str) -> None:
        raise _Refused(f"refuses these messages: {message}")

    environment.globals |= {"strftime_now": strftime_now, "raise_exception": raise_exception}
    environment.filters["tojson"] = _to_json
    return environment


def _to_json(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _check_messages(messages: Sequence[Any]) -> None:
    if not messages:
        raise InputError("messages: expected at least one, got none")
    for i, message in enumerate(messages):
        if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
            raise InputError(f"messages[{i}]: expected an object with role and content, got {message!r}")
        if "content" not in message and "tool_calls" not in message:
            raise InputError(f"messages[{i}].content: missing in the message of {message['role']!r}")


def _choose(template: str | list[NamedTemplate] | dict[str, str] | None, name: str, file: Path) -> str:
    """One template, or the one called `name` of a list of named ones."""
    if isinstance(template, list):
        template = {entry.name: entry.template for entry in template}
    elif isinstance(template, str):
        template = {"default": template}
    if template is None or name not in template:
        known = "it has none" if template is None else f"it has {', '.join(template)}"
        advice = "a base model has none: give the prompt as text, or write a ChatTemplate"
        raise InputError(f"{file}: no chat template {name!r}: {known}; {advice}")
    return template[name]


def _token(value: Any, where: str) -> str:
    """A special token, plain or as the object that carries its tokenizer flags."""
    content = value.get("content") if isinstance(value, dict) else value
    if not isinstance(content, str):
        raise InputError(f"{where}: expected a token, got {value!r}")
    return content
