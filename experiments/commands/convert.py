"""`traceward convert MODEL OUT`: a model of any layout as a Hugging Face folder, a language model as a policy, or the
adapters of a policy as a PEFT folder.

What a run saves has two parts that a Hugging Face folder has no place for. Its tokenizer leaves the begin token to the
encoder: the written tokenizer adds it by itself. What a reward model is shown of a trace (`windows` of the manifest)
stays with the caller, and the command says so.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from tokenizers import Tokenizer, processors

from experiments.commands.candidate_files import say
from experiments.commands.options import ConvertOptions
from experiments.core.outputs import check_output
from irl.rewards.opening import language_model_texts
from irl.text.encode import Encoder
from irl.text.hugging_face import read_tokenizer, tokenizer_of
from irl.text.tokenize import BEGIN, SPECIAL
from irl.types import InputError
from reward_models.folders.hugging_face import save_hugging_face
from reward_models.folders.manifest import TokenRules
from reward_models.folders.native import TOKENIZER, save_folder
from reward_models.folders.opening import Model, folders_of, layout_of, open_model
from reward_models.folders.peft import save_peft
from reward_models.folders.tokenizer_files import TOKENIZER_CONFIG
from reward_models.networks.base import NetworkConfig
from reward_models.networks.decoder import DecoderConfig
from reward_models.networks.soft_advantage import SoftAdvantageConfig


class Texts(NamedTuple):
    """The texts of a Hugging Face folder, and the ids in its config.json."""

    files: Mapping[str, str]
    pad: int
    end: int
    begin: int | None


def main(options: ConvertOptions) -> int:
    output = check_output(options.output, models=folders_of(options.model, options.base))
    if output.exists():
        raise InputError(f"{options.output}: exists; name a new folder")
    model = open_model(options.model, base=options.base, dtype=options.dtype)
    match options.to:
        case "native":
            _save_native(model, options)
        case "peft":
            _save_adapters(model, options)
        case "hugging_face":
            _save_hugging_face(model, options)
    say(f"{options.output}: saved in {options.dtype}")
    return 0


def _save_hugging_face(model: Model, options: ConvertOptions) -> None:
    texts = _texts(model)
    save_hugging_face(
        options.output,
        network=model.network,
        params=model.params,
        pad_token=texts.pad,
        eos_token=texts.end,
        bos_token=texts.begin,
        dtype=options.dtype,
        files=texts.files,
    )
    if model.manifest is not None and model.manifest.windows != "whole trace":
        windows = f"the model judges {model.manifest.windows!r}, not whole traces"
        say(f"{options.output}: {windows}: give it the texts that `traceward score` shows it")


def _save_native(model: Model, options: ConvertOptions) -> None:
    """A policy as a run saves it. Steps are lines, and answers are marked, as by default for traces from files."""
    if model.manifest is not None:
        raise InputError(f"{options.model}: is in the layout of a run already; copy it")
    if not isinstance(model.network, DecoderConfig):
        got = f"got {type(model.network).__name__}; convert it to hugging_face"
        raise InputError(f"{options.model}: --to native: expected a language model without a head or adapters, {got}")
    save_folder(
        options.output,
        params=model.params,
        network=model.network,
        spec=model.spec,
        tokenizer_json=model.files.texts[TOKENIZER],
        manifest=replace(language_model_texts(model), trained_on=f"converted from {options.model.name}"),
    )


def _save_adapters(model: Model, options: ConvertOptions) -> None:
    """The adapters of a policy, for PEFT on the Hugging Face folder of their base."""
    network, manifest = model.network, model.manifest
    if not isinstance(network, DecoderConfig) or network.adapters is None or manifest is None:
        expected = "expected a policy with low-rank adapters, as a run saves it"
        raise InputError(f"{options.model}: --to peft: {expected}; convert it to hugging_face")
    base = str(options.base or manifest.base)
    save_peft(
        options.output,
        network=SoftAdvantageConfig(decoder=network),
        params=model.params,
        base_model=str(Path(base).resolve()),
        files=_texts(model).files,
    )
    if layout_of(Path(base)) != "hugging_face":
        advice = "convert it and give the folder to PEFT"
        say(f"{options.output}: PEFT loads adapters on a Hugging Face folder, and their base is {base}: {advice}")


def _texts(model: Model) -> Texts:
    if model.manifest is None:
        tokenizer, rules = read_tokenizer(model.files, None)
        pad = model.config.get("pad_token_id")
        begin = tokenizer.token_to_id(rules.special_tokens.get("bos_token", ""))
        return Texts(model.files.texts, rules.pad if pad is None else pad, rules.end, begin)
    vocabulary = model.network.vocabulary if isinstance(model.network, NetworkConfig) else None
    tokenizer = tokenizer_of(model.files, vocabulary)
    return _own(tokenizer) if model.manifest.tokens is None else _with_rules(tokenizer, model.manifest.tokens)


def _own(tokenizer: Tokenizer) -> Texts:
    """Of our own tokenizers, whose texts begin with <bos>."""
    encoder = Encoder(tokenizer, max_length=1, max_steps=1)
    begin = encoder.special(BEGIN)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN} $A", pair=f"{BEGIN} $A {BEGIN} $B", special_tokens=[(BEGIN, begin)]
    )
    named = zip(("pad_token", "bos_token", "eos_token", "unk_token"), SPECIAL, strict=True)
    special = {name: token for name, token in named if tokenizer.token_to_id(token) is not None}
    return Texts(_files(tokenizer, special), encoder.pad, encoder.end, begin)


def _with_rules(tokenizer: Tokenizer, rules: TokenRules) -> Texts:
    """Of the tokenizer of a language model that a run started from."""
    special = {"pad_token": str(tokenizer.id_to_token(rules.pad)), **rules.special_tokens}
    begin = tokenizer.token_to_id(special.get("bos_token", ""))
    return Texts(_files(tokenizer, special, rules.chat_template), rules.pad, rules.end, begin)


def _files(tokenizer: Tokenizer, special: Mapping[str, str], template: str | None = None) -> dict[str, str]:
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False, **special}
    if template is not None:
        config["chat_template"] = template
    return {TOKENIZER: tokenizer.to_str(), TOKENIZER_CONFIG: json.dumps(config, indent=2) + "\n"}
