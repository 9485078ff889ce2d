"""The tokenizer of a GGUF file as the texts of a Hugging Face folder: tokenizer.json and tokenizer_config.json.

`tokenizer.ggml.model` names the kind: "gpt2" is byte-level BPE with the merges of the file, "llama" SentencePiece,
whose merges follow from the scores of its tokens. The file does not store the pattern that splits a text before BPE,
but its name (`tokenizer.ggml.pre`); an unknown name is refused, since another pattern silently gives other tokens. The
names of Qwen2 include the normal form (NFC) of its published tokenizer.
"""

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from reward_models.folders.gguf_file import GgufFile
from reward_models.folders.native import TOKENIZER, ModelFolderError
from reward_models.folders.tokenizer_files import TOKENIZER_CONFIG, TokenizerFiles

_NORMAL, _CONTROL, _USER = 1, 3, 4
"""Kinds of tokens (tokenizer.ggml.token_type) that differ here."""
_SPACE = "\u2581"
_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_LLAMA3 = rf"{_CONTRACTIONS}|{_WORDS}|\p{{N}}{{1,3}}|{_REST}"
_QWEN2 = rf"{_CONTRACTIONS}|{_WORDS}|\p{{N}}|{_REST}"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_TEKKEN = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def _byte_level(use_regex: bool) -> dict[str, Any]:
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": use_regex}


def _split(pattern: str) -> list[dict[str, Any]]:
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    return [split, _byte_level(False)]


_DIGITS = [{"type": "Digits", "individual_digits": True}, _byte_level(True)]
PRE_TOKENIZERS: dict[str, list[dict[str, Any]]] = {
    "gpt-2": [_byte_level(True)],
    "smollm": _DIGITS,
    "starcoder": _DIGITS,
    "llama-bpe": _split(_LLAMA3),
    "llama3": _split(_LLAMA3),
    "llama-v3": _split(_LLAMA3),
    "falcon3": _split(_LLAMA3),
    "qwen2": _split(_QWEN2),
    "deepseek-r1-qwen": _split(_QWEN2),
    "tekken": _split(_TEKKEN),
}
"""How texts are split before BPE, by the name in `tokenizer.ggml.pre`."""
_BEGINS = ("llama-bpe", "llama3", "llama-v3", "falcon3", "tekken")
"""Vocabularies that take whole words before they merge, and whose texts begin with a token, unless the file says no."""
_COMPOSED = ("qwen2", "deepseek-r1-qwen")


def tokenizer_texts(file: GgufFile) -> TokenizerFiles:
    """The texts of a Hugging Face folder for the tokenizer and the chat template of a file. Raises ModelFolderError."""
    kind = file.get("tokenizer.ggml.model", str)
    if kind not in ("gpt2", "llama"):
        known = "only gpt2 (byte-level BPE) and llama (SentencePiece)"
        raise ModelFolderError(f"{file.path}: tokenizer.ggml.model: {kind!r} is not supported, {known}")
    tokens = file.get("tokenizer.ggml.tokens", list)
    if len(set(tokens)) < len(tokens):
        twice = next(a for a, b in pairwise(sorted(tokens)) if a == b)
        raise ModelFolderError(f"{file.path}: tokenizer.ggml.tokens: {twice!r} occurs twice; convert the model again")
    types = file.get("tokenizer.ggml.token_type", list, [_NORMAL] * len(tokens))
    if len(types) != len(tokens):
        counts = f"{len(types)} types of {len(tokens)} tokens"
        raise ModelFolderError(f"{file.path}: tokenizer.ggml.token_type: {counts}; convert the model again")
    special = _special_tokens(file, tokens)
    parts = _byte_pairs(file, tokens) if kind == "gpt2" else _sentence_piece(file, tokens, types)
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            _added(number, token, types[number] == _CONTROL)
            for number, token in enumerate(tokens)
            if types[number] in (_CONTROL, _USER)
        ],
        **parts,
        "post_processor": _post_processor(file, special, tokens),
    }
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        **special,
        "chat_template": file.get("tokenizer.chat_template", str, "") or None,
    }
    texts = {TOKENIZER: json.dumps(tokenizer, ensure_ascii=False), TOKENIZER_CONFIG: json.dumps(config, indent=2)}
    return TokenizerFiles(file.path, texts)


def _special_tokens(file: GgufFile, tokens: Sequence[str]) -> dict[str, str]:
    """bos_token and the like. An end token is required."""
    file.get("tokenizer.ggml.eos_token_id", int)
    special = {}
    for name, key in (("bos", "bos"), ("eos", "eos"), ("pad", "padding"), ("unk", "unknown")):
        number = file.metadata.get(f"tokenizer.ggml.{key}_token_id")
        if number is None:
            continue
        if not isinstance(number, int) or not 0 <= number < len(tokens):
            expected = f"expected the id of one of {len(tokens)} tokens"
            raise ModelFolderError(f"{file.path}: tokenizer.ggml.{key}_token_id: {expected}, got {number!r}")
        special[f"{name}_token"] = tokens[number]
    return special


def _added(number: int, token: str, special: bool) -> dict[str, Any]:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": number, "content": token, **flags, "special": special}


def _post_processor(file: GgufFile, special: dict[str, str], tokens: Sequence[str]) -> dict[str, Any] | None:
    """What puts the beginning and the end of texts around them."""
    kind, pre = file.get("tokenizer.ggml.model", str), file.get("tokenizer.ggml.pre", str, "")
    begins = file.get("tokenizer.ggml.add_bos_token", bool, kind == "llama" or pre in _BEGINS)
    ends = file.get("tokenizer.ggml.add_eos_token", bool, False)
    before = [special["bos_token"]] if begins and "bos_token" in special else []
    after = [special["eos_token"]] if ends else []
    if not before and not after:
        return None

    def around(*sequences: str) -> list[dict[str, Any]]:
        pieces = []
        for number, name in enumerate(sequences):
            pieces += [{"SpecialToken": {"id": token, "type_id": number}} for token in before]
            pieces += [{"Sequence": {"id": name, "type_id": number}}]
            pieces += [{"SpecialToken": {"id": token, "type_id": number}} for token in after]
        return pieces

    named = {token: {"id": token, "ids": [tokens.index(token)], "tokens": [token]} for token in (*before, *after)}
    return {"type": "TemplateProcessing", "single": around("A"), "pair": around("A", "B"), "special_tokens": named}


def _model(tokens: Sequence[str], merges: Sequence[Sequence[str]], **options: Any) -> dict[str, Any]:
    plain = {"dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None}
    flags = {"fuse_unk": False, "byte_fallback": False, "ignore_merges": False}
    vocabulary = {token: number for number, token in enumerate(tokens)}
    return {"type": "BPE", **plain, **flags, **options, "vocab": vocabulary, "merges": merges}


def _byte_pairs(file: GgufFile, tokens: Sequence[str]) -> dict[str, Any]:
    """Byte-level BPE: normalizer, pre_tokenizer, model and decoder of a tokenizer.json."""
    pre = file.get("tokenizer.ggml.pre", str)
    if pre not in PRE_TOKENIZERS:
        known = f"known names: {', '.join(sorted(PRE_TOKENIZERS))}"
        raise ModelFolderError(f"{file.path}: tokenizer.ggml.pre: {pre!r} is not a known way to split texts; {known}")
    merges = [merge.split(" ") for merge in file.get("tokenizer.ggml.merges", list)]
    if any(len(pair) != 2 for pair in merges):
        raise ModelFolderError(f"{file.path}: tokenizer.ggml.merges: expected pairs of tokens; convert the model again")
    return {
        "normalizer": {"type": "NFC"} if pre in _COMPOSED else None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": PRE_TOKENIZERS[pre]},
        "decoder": _byte_level(True),
        "model": _model(tokens, merges, ignore_merges=pre in _BEGINS),
    }


def _sentence_piece(file: GgufFile, tokens: Sequence[str], types: Sequence[int]) -> dict[str, Any]:
    """SentencePiece BPE with byte fallback: the pair whose merged token has the highest score merges first."""
    scores = file.get("tokenizer.ggml.scores", list)
    if len(scores) != len(tokens):
        counts = f"{len(scores)} scores of {len(tokens)} tokens"
        raise ModelFolderError(f"{file.path}: tokenizer.ggml.scores: {counts}; convert the model again")
    pieces = {token for token, kind in zip(tokens, types, strict=True) if kind in (_NORMAL, _USER)}
    ranked = [
        (-score, cut, token[:cut], token[cut:])
        for token, score in zip(tokens, scores, strict=True)
        if token in pieces
        for cut in range(1, len(token))
        if token[:cut] in pieces and token[cut:] in pieces
    ]
    prefix = file.get("tokenizer.ggml.add_space_prefix", bool, True)
    spaces = {"type": "Replace", "pattern": {"String": " "}, "content": _SPACE}
    begins = [{"type": "Prepend", "prepend": _SPACE}] if prefix else []
    back = {"type": "Replace", "pattern": {"String": _SPACE}, "content": " "}
    strip = [{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if prefix else []
    unknown = file.get("tokenizer.ggml.unknown_token_id", int, 0)
    return {
        "normalizer": {"type": "Sequence", "normalizers": [*begins, spaces]},
        "pre_tokenizer": None,
        "decoder": {"type": "Sequence", "decoders": [back, {"type": "ByteFallback"}, {"type": "Fuse"}, *strip]},
        "model": _model(
            tokens,
            [[left, right] for _, _, left, right in sorted(ranked)],
            unk_token=tokens[unknown],
            fuse_unk=True,
            byte_fallback=True,
        ),
    }
