"""The decoder under a reward model of text: where it comes from, how it reads, how it is saved.

It starts from a Hugging Face folder or a GGUF file (tokenizer, chat template and weights), or fresh with a byte-level
BPE tokenizer learned from the training texts and a chat template of its own. What is saved is a Hugging Face folder in
either case: `traceward score` reads it, and so does transformers. Adapters are saved as a folder of PEFT's.
"""

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple

from irl.rewards.conversations import ConversationEncoder
from irl.rewards.questions import Question, answer_names
from irl.text.chat import ChatTemplate, chat_template_of
from irl.text.hugging_face import tokenizer_of
from irl.text.packing import EncodedTrace
from irl.text.tokenize import END, PAD, prose_tokenizer
from irl.types import InputError
from reward_models.folders.hugging_face import save_hugging_face
from reward_models.folders.hugging_face_config import write_config
from reward_models.folders.opening import layout_of, open_model
from reward_models.folders.peft import save_peft
from reward_models.networks.base import Params
from reward_models.networks.decoder import DecoderConfig
from reward_models.networks.heads import HeadedDecoderConfig
from reward_models.ranges import Name, Tokens
from reward_models.records import record

ROLES = ("system", "user", "assistant")
_MARKS = tuple(f"<|{role}|>" for role in ROLES)
CHAT_TEMPLATE = "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}" + END + "{% endfor %}"


Row = EncodedTrace | str
"""A text as a model reads it, or a message that says why the model cannot."""


class Base(NamedTuple):
    """A decoder to put a head on, and the way it reads text."""

    encoder: ConversationEncoder
    decoder: DecoderConfig
    trunk: Params | None
    """Weights to start from, where there are any."""
    pad: int
    eos: int
    files: Mapping[str, str]
    """Texts that belong to the folder of a model: the tokenizer's."""
    folder: Path | None = None
    """Where the weights of a language model come from: what adapters can be trained on."""

    def save(self, folder: Path, network: HeadedDecoderConfig, params: Params) -> None:
        """Write a Hugging Face folder, or one of adapters. ModelFolderError where it exists or cannot be written."""
        if network.decoder.adapters is not None:
            self._save_adapters(folder, network, params)
        else:
            save_hugging_face(
                folder, network=network, params=params, pad_token=self.pad, eos_token=self.eos, files=self.files
            )

    def _save_adapters(self, folder: Path, network: HeadedDecoderConfig, params: Params) -> None:
        """With the config.json of the classifier that base and adapters are together."""
        assert self.folder is not None
        tokens = {"pad_token": self.pad, "eos_token": self.eos}
        config = write_config(network.adapted(None), **tokens, bos_token=None, dtype=network.decoder.dtype)
        files = {**self.files, "config.json": json.dumps(config, indent=2) + "\n"}
        save_peft(folder, network=network, params=params, base_model=str(self.folder.resolve()), files=files)


@record
class TextModel:
    """The decoder of a reward model of text."""

    base: Name | None = None
    """A Hugging Face folder or a GGUF file to start from; None: a fresh decoder and tokenizer."""
    decoder: DecoderConfig = DecoderConfig(
        vocab_size=2048, num_layers=4, dim=128, num_heads=4, num_kv_heads=2, head_dim=32, hidden_dim=352
    )
    """Shape of a fresh decoder; its vocabulary is learned from the training texts."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """What a decoder from a folder or file computes in."""
    context: Tokens = 512
    """Tokens of the longest text; longer ones are left out, and counted."""

    def start(self, texts: Iterable[str], *, by_step: bool) -> Base:
        """`texts` are what a tokenizer is learned from; `by_step` when steps are scored one by one."""
        if self.base is not None:
            return self._from_folder(Path(self.base), by_step)
        tokenizer = prose_tokenizer(texts, self.decoder.vocab_size, more=_MARKS)
        encoder = ConversationEncoder(
            tokenizer=tokenizer, template=ChatTemplate(source=CHAT_TEMPLATE), by_step=by_step, context=self.context
        )
        told = {
            "chat_template": CHAT_TEMPLATE,
            "pad_token": PAD,
            "eos_token": END,
            "tokenizer_class": "PreTrainedTokenizerFast",
        }
        files = {"tokenizer.json": tokenizer.to_str(), "tokenizer_config.json": json.dumps(told, indent=1)}
        pad, eos = (tokenizer.get_vocab()[token] for token in (PAD, END))
        return Base(encoder, replace(self.decoder, context_length=self.context), None, pad, eos, files)

    def _from_folder(self, folder: Path, by_step: bool) -> Base:
        if layout_of(folder) not in ("hugging_face", "gguf"):
            expected = "a folder with a config.json of transformers, or a GGUF file"
            raise InputError(f"base: {folder} is no Hugging Face folder; expected {expected}")
        model = open_model(folder, dtype=self.dtype)
        causal = isinstance(model.network, DecoderConfig)
        decoder = model.network if causal else model.network.decoder
        encoder = ConversationEncoder(
            tokenizer=tokenizer_of(model.files, decoder.vocab_size),
            template=chat_template_of(model.files),
            by_step=by_step,
            context=min(self.context, decoder.context_length or self.context),
        )
        pad, eos = (_token(model.config, name, folder) for name in ("pad_token_id", "eos_token_id"))
        trunk = model.params if causal else model.params["trunk"]
        return Base(encoder, decoder, trunk, pad, eos, model.files.texts, folder if causal else None)


def _token(config: Mapping, name: str, folder: Path) -> int:
    value = config.get(name)
    value = value[0] if isinstance(value, list) and value else value
    if not isinstance(value, int):
        where = f"{folder}/config.json" if folder.is_dir() else f"{folder}: metadata"
        advice = (
            "a reward model needs it; write the id into config.json, which `traceward convert` makes of a GGUF file"
        )
        raise InputError(f"{where}: {name}: expected a token id, got {value!r}: {advice}")
    return value


def encode_each(encoder: ConversationEncoder, questions: Sequence[Question], at_once: int = 256) -> list[Row]:
    """The rows of questions with one answer each; a message for those that are empty, too long or not readable."""
    blocks = (encoder.each(questions[start : start + at_once]) for start in range(0, len(questions), at_once))
    named = zip(answer_names(questions), itertools.chain.from_iterable(blocks), strict=True)
    return [f"{name}: {entry}" if isinstance(entry, str) else entry.row for name, entry in named]


def fitting(rows: Iterable[Row]) -> list[EncodedTrace]:
    """The rows without the messages."""
    return [row for row in rows if not isinstance(row, str)]
