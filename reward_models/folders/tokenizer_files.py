"""The texts of a model that define how it reads and writes text, by their names in a Hugging Face folder.

Nothing here parses them. A format that stores them otherwise, such as GGUF, writes the same texts in memory.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from reward_models.folders.native import TOKENIZER, ModelFolderError

TOKENIZER_CONFIG, CHAT_TEMPLATE = "tokenizer_config.json", "chat_template.jinja"
NAMES = (TOKENIZER, TOKENIZER_CONFIG, CHAT_TEMPLATE, "special_tokens_map.json")


class TokenizerFiles(NamedTuple):
    """Texts by name; a text that the model does not have is absent."""

    source: Path
    """The folder or file that holds them."""
    texts: Mapping[str, str]

    def where(self, name: str) -> str:
        """The place of a text, for error messages."""
        return f"{self.source}: {name}" if self.source.is_file() else str(self.source / name)


def read_folder(folder: Path) -> TokenizerFiles:
    """The texts of a folder. Raises ModelFolderError for a file that cannot be read."""
    return TokenizerFiles(folder, {name: _text(folder / name) for name in NAMES if os.path.isfile(folder / name)})


def _text(file: Path) -> str:
    try:
        return file.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ModelFolderError(f"{file}: cannot be read ({error.strerror}); check its permissions") from None
    except UnicodeDecodeError as error:
        raise ModelFolderError(f"{file}, byte {error.start + 1}: not UTF-8 text; download it again") from None
