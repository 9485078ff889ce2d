"""The tokenizers that a config can name, each with the encoder that it makes."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Le
from tokenizers import Tokenizer

from irl.text.encode import Encoder
from irl.text.encoder import TextEncoder
from irl.text.hugging_face import HuggingFaceEncoder, read_tokenizer, tokenizer_of
from irl.text.steps import SplitSteps
from irl.text.tokenize import character_tokenizer, number_tokenizer, prose_tokenizer
from reward_models.folders.opening import tokenizer_files
from reward_models.ranges import Name
from reward_models.records import record

LEAST_PAIRS = 300
"""The least vocabulary of byte pairs: all bytes, and some pairs."""


@dataclass(frozen=True, kw_only=True)
class TokenizerConfig(ABC):
    """The config class of a tokenizer."""

    fixed = False
    """Whether networks take the size of their vocabulary from the tokenizer."""

    @property
    @abstractmethod
    def most(self) -> int:
        """The largest vocabulary that the encoder has."""

    @abstractmethod
    def encoder(self, texts: Iterable[str], max_length: int, max_steps: int, split: SplitSteps) -> TextEncoder:
        """The encoder; a tokenizer that is learned is learned from `texts`. `split` cuts a text into steps."""


class _Own(TokenizerConfig):
    """A tokenizer with special tokens of our own."""

    def encoder(self, texts: Iterable[str], max_length: int, max_steps: int, split: SplitSteps) -> TextEncoder:
        return Encoder(self.make(texts), max_length, max_steps, split)

    @abstractmethod
    def make(self, texts: Iterable[str]) -> Tokenizer:
        """The tokenizer."""


@record
class NumberTokens(_Own):
    """The word-level tokenizer of the number games."""

    @property
    def most(self) -> int:
        return number_tokenizer().get_vocab_size()

    def make(self, texts: Iterable[str]) -> Tokenizer:
        """The tokenizer; `texts` are not read."""
        return number_tokenizer()


@record
class Characters(_Own):
    """A token for each printable character of ASCII."""

    @property
    def most(self) -> int:
        return character_tokenizer().get_vocab_size()

    def make(self, texts: Iterable[str]) -> Tokenizer:
        """The tokenizer; `texts` are not read."""
        return character_tokenizer()


@record
class BytePairs(_Own):
    """Byte-level byte-pair encoding, learned from the training texts."""

    vocabulary: Annotated[int, Ge(LEAST_PAIRS), Le(2**17)] = 2048
    """Most tokens."""

    @property
    def most(self) -> int:
        return self.vocabulary

    def make(self, texts: Iterable[str]) -> Tokenizer:
        """The tokenizer learned from `texts`."""
        return prose_tokenizer(texts, self.vocabulary)


@record
class HuggingFaceTokenizer(TokenizerConfig):
    """The tokenizer and the chat template of a Hugging Face folder or a GGUF file."""

    folder: Name = "tokenizer"
    """A folder with tokenizer.json and tokenizer_config.json, or a GGUF file."""
    fixed = True

    @property
    def most(self) -> int:
        return 1 + max(tokenizer_of(tokenizer_files(self.folder), None).get_vocab().values())

    def encoder(self, texts: Iterable[str], max_length: int, max_steps: int, split: SplitSteps) -> TextEncoder:
        """The encoder; `texts` are not read."""
        tokenizer, rules = read_tokenizer(tokenizer_files(self.folder))
        return HuggingFaceEncoder(tokenizer, max_length, max_steps, split, rules=rules)
