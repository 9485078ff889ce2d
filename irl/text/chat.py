"""Chat templates: the messages of a conversation as the text that a model was trained to read.

A template is a program of somebody else's, in Jinja. It runs in Jinja's immutable sandbox, in a process with limits on
memory, processor time and length of text (irl/limits.py), and reaches no attribute of Python's machinery. Whatever it
does, rendering ends with a text or with an `InputError`; the same messages always give the same text. The conventions
are those of transformers (blocks trimmed, `raise_exception`, `strftime_now`, `{% generation %}`, loop controls, JSON
without HTML escapes) with these differences:

1. The date is an argument, not the current date: a score that depends on the day cannot be repeated.
2. Multiplication of texts and lists, powers, `random` and `lipsum` are refused.
3. Messages and variables are JSON values.

The text contains its special tokens: tokenise it without adding them again.
"""

import datetime
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from irl.limits import limit
from irl.text.chat_process import renderer
from irl.types import InputError
from reward_models.folders.tokenizer_files import CHAT_TEMPLATE, TOKENIZER_CONFIG, TokenizerFiles
from reward_models.records import as_part, parse_json, record

SPECIAL_TOKENS = ("bos_token", "eos_token", "pad_token", "unk_token", "sep_token", "cls_token", "mask_token")
PREPARED = 100_000
"""Characters of the longest conversation that `prepared` renders."""
_TRUSTED = "use the template of a model you trust"


Key = tuple[tuple[str, str], ...]
"""A conversation of texts: role and content of every message."""


class TemplateError(InputError):
    """A template that is unsafe, malformed or exceeds a limit: no messages are at fault."""


@dataclass(frozen=True, kw_only=True)
class ChatTemplate:
    """A template with its special tokens and the date that `strftime_now` gives."""

    source: str
    special_tokens: Mapping[str, str] = field(default_factory=dict)
    date: datetime.date | None = None
    name: str = "chat template"
    """The name in error messages, such as the file of the template."""
    texts: Mapping[Key, str] = field(default_factory=dict, compare=False, repr=False)
    """Conversations that are rendered already."""

    def render(
        self,
        messages: Sequence[Any],
        *,
        add_generation_prompt: bool = False,
        variables: Mapping[str, Any] | None = None,
    ) -> str:
        """The text of messages (objects with `role` and `content`).

        Args:
            messages: JSON objects.
            add_generation_prompt: End the text where the next message of the assistant starts.
            variables: Further names of the template, such as tools.

        Raises:
            TemplateError: The template is unsafe, malformed or exceeds a limit.
            InputError: The template refuses these messages.
        """
        if self.texts and not add_generation_prompt and variables is None:
            known = self.texts.get(tuple((each["role"], each.get("content")) for each in messages))
            if known is not None:
                return known
        options = {"add_generation_prompt": add_generation_prompt}
        (text,) = self.render_all([messages], variables=dict(variables or {}) | options)
        if isinstance(text, InputError):
            raise text
        return text

    def render_all(
        self, conversations: Sequence[Sequence[Any]], *, variables: Mapping[str, Any] | None = None
    ) -> list[str | InputError]:
        """The texts of many conversations, each as `render` gives it or the error that it would raise.

        Raises:
            TemplateError: As `render` does, for any of the conversations.
        """
        for messages in conversations:
            _check_messages(messages)
        names = {"tools": None, "documents": None, "add_generation_prompt": False, **self.special_tokens}
        names |= variables or {}
        date = None if self.date is None else self.date.isoformat()
        texts: list[str | InputError] = []
        try:
            for reply in renderer.render(self.source, date, ({**names, "messages": each} for each in conversations)):
                texts.append(reply.text if reply.status == "text" else _error(self.name, *reply))
        except (TypeError, ValueError, RecursionError) as error:
            raise InputError(f"{self.name}: messages and variables must be JSON values ({error})") from None
        if texts and isinstance(texts[-1], TemplateError):
            raise texts[-1]
        return texts

    def prepared(self, conversations: Iterable[Key]) -> "ChatTemplate":
        """This template with the texts of these conversations, which are rendered together to save time.

        Long conversations are left to `render`, and so are those that the template refuses.

        Raises:
            TemplateError: As `render` does.
        """
        short = [each for each in conversations if sum(len(content) for _, content in each) <= PREPARED]
        texts = self.render_all([[{"role": role, "content": content} for role, content in each] for each in short])
        return replace(self, texts={key: text for key, text in zip(short, texts, strict=True) if isinstance(text, str)})


@record
class NamedTemplate:
    """One of several chat templates of a model."""

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


def special_tokens(files: TokenizerFiles) -> dict[str, str]:
    """The special tokens that tokenizer_config.json names. Raises InputError."""
    config = _tokenizer_config(files)
    given = {name: getattr(config, name) for name in SPECIAL_TOKENS}
    where = files.where(TOKENIZER_CONFIG)
    return {name: _token_text(value, f"{where}: {name}") for name, value in given.items() if value is not None}


def chat_template_of(files: TokenizerFiles, date: datetime.date | None = None) -> ChatTemplate | None:
    """The chat template of a model: chat_template.jinja, or `chat_template` of tokenizer_config.json. None without one.

    `date` is what `strftime_now` gives. Raises InputError.
    """
    config, tokens = _tokenizer_config(files), special_tokens(files)
    where = files.where(CHAT_TEMPLATE)
    source = files.texts.get(CHAT_TEMPLATE)
    if source is None:
        where = f"{files.where(TOKENIZER_CONFIG)}: chat_template"
        source = _default(config.chat_template, where)
    return None if source is None else ChatTemplate(source=source, special_tokens=tokens, date=date, name=where)


def _tokenizer_config(files: TokenizerFiles) -> TokenizerConfig:
    """The record of tokenizer_config.json, which may be missing."""
    text, where = files.texts.get(TOKENIZER_CONFIG), files.where(TOKENIZER_CONFIG)
    return TokenizerConfig() if text is None else as_part(TokenizerConfig, parse_json(text, where), where)


def _check_messages(messages: Sequence[Any]) -> None:
    if not isinstance(messages, Sequence) or isinstance(messages, str):
        raise InputError(f"messages: expected a list of objects with role and content, got {reprlib.repr(messages)}")
    if not messages:
        raise InputError("messages: expected at least one, got none")
    for i, message in enumerate(messages):
        if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
            raise InputError(f"messages[{i}]: expected an object with role and content, got {reprlib.repr(message)}")
        if "content" not in message and "tool_calls" not in message:
            raise InputError(f"messages[{i}].content: missing in the message of {reprlib.repr(message['role'])}")


def _error(name: str, status: str, reason: str) -> InputError:
    match status:
        case "refused":
            return InputError(f"{name}: {reason}")
        case "failed":
            return InputError(f"{name}: cannot render these messages ({reason})")
        case "syntax":
            return TemplateError(f"{name}, {reason}; correct the template")
        case "unsafe":
            return TemplateError(f"{name}: does what no template may ({reason}); {_TRUSTED}")
        case "ended":
            return TemplateError(f"{name}: ended the process that renders it ({reason}); {_TRUSTED}")
    variable, unit = {
        "long": ("TRACEWARD_TEMPLATE_CHARACTERS", "characters of text"),
        "memory": ("TRACEWARD_TEMPLATE_MEGABYTES", "megabytes of memory"),
        "seconds": ("TRACEWARD_TEMPLATE_SECONDS", "seconds of processor time"),
    }[status]
    needs = f"one conversation takes more than {limit(variable)} {unit}"
    return TemplateError(f"{name}: {needs}; {_TRUSTED}, or raise the limit {variable}")


def _default(template: str | list[NamedTemplate] | dict[str, str] | None, where: str) -> str | None:
    """The template, or the one called `default` of several."""
    if template is None or isinstance(template, str):
        return template
    named = {entry.name: entry.template for entry in template} if isinstance(template, list) else template
    if "default" not in named:
        raise InputError(f"{where}: none is called 'default': it has {', '.join(named)}; pass a ChatTemplate")
    return named["default"]


def _token_text(value: Any, where: str) -> str:
    """A special token, plain or as the object that carries its tokenizer flags."""
    content = value.get("content") if isinstance(value, dict) else value
    if not isinstance(content, str):
        raise InputError(f"{where}: expected a token, got {reprlib.repr(value)}")
    return content
