"""Low-rank adapters on a downloaded language model: what a run trains of it, and a PEFT folder as a reward model.

A folder of adapters holds them, the head and the tokenizer, in the layout of PEFT; the base stays in its own folder,
which adapter_config.json names. Scores come from base and adapters apart, in a run as in `traceward score`: no sum of
both is ever rounded.
"""

import datetime
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import jax
from annotated_types import MinLen

from irl.algorithms.base import Algorithm
from irl.algorithms.frozen_base import FrozenBaseState, with_frozen_base
from irl.rewards.conversations import ConversationEncoder, ConversationScorer, has_chat_template, read_tokenizer
from irl.text.chat import load_chat_template
from irl.types import InputError
from reward_models.folders.hugging_face import load_hugging_face
from reward_models.folders.hugging_face_tensors import json_object
from reward_models.folders.peft import CONFIG, load_peft
from reward_models.networks.base import Network, Params
from reward_models.networks.heads import HeadedDecoderConfig, MLPHead, StepEnds
from reward_models.networks.low_rank import TARGETS, LowRankConfig, Target
from reward_models.ranges import Distinct, Positive, Size
from reward_models.records import record


@record
class Adapters:
    """Adapters on the `targets` of every layer, and a head that is trained whole (networks/low_rank.py)."""

    rank: Size = 8
    alpha: Positive = 16.0
    targets: Annotated[tuple[Target, ...], MinLen(1), Distinct] = TARGETS
    rank_stabilised: bool = False

    def on(self, network: HeadedDecoderConfig) -> LowRankConfig:
        """The network of base, adapters and head."""
        return LowRankConfig(
            network=network,
            rank=self.rank,
            alpha=self.alpha,
            targets=self.targets,
            rank_stabilised=self.rank_stabilised,
        )


def begin_adapters(
    make: Callable[[Network], Algorithm], network: LowRankConfig, trunk: Params, key: jax.Array
) -> tuple[Algorithm, FrozenBaseState]:
    """The algorithm of `make` on adapters and a fresh head over a frozen trunk, and the state it starts in."""
    base_key, own_key = jax.random.split(key)
    head = jax.jit(lambda key: network.network.make().init(key)["head"])(base_key)  # the trunk is never drawn
    algorithm = with_frozen_base(make, network.on, {"trunk": trunk, "head": head})
    return algorithm, algorithm.init(own_key)


def holds_adapters(folder: Path) -> bool:
    """Whether a folder is one of adapters, as PEFT writes them."""
    return os.path.isfile(folder / CONFIG)


def load_adapters(
    folder: Path,
    *,
    base: Path | None = None,
    dtype: str = "float32",
    label: int | None = None,
    date: datetime.date | None = None,
    max_tokens: int | None = None,
) -> ConversationScorer:
    """The reward model of a folder of adapters on its base; a tokenizer that lies with the adapters comes first."""
    base = base_of(folder, base)
    model = load_hugging_face(base, dtype=dtype, label=label)
    pad = model.config.get("pad_token_id")
    adapted = load_peft(folder, network=model.network, params=model.params, pad_token=pad)
    network = adapted.network.network
    if not isinstance(network, HeadedDecoderConfig):
        raise InputError(f"{folder}/{CONFIG}: task_type: adapters of a language model give no score; take SEQ_CLS's")
    if isinstance(network.read, StepEnds) and isinstance(network.head, MLPHead):
        raise InputError(f"{folder}: its base marks steps with a token of its own; merge the adapters into it first")
    texts = folder if (folder / "tokenizer.json").is_file() else base
    encoder = ConversationEncoder(
        tokenizer=read_tokenizer(texts / "tokenizer.json", network.decoder.vocab_size),
        template=load_chat_template(texts, date=date) if has_chat_template(texts) else None,
        by_step=isinstance(network.read, StepEnds),
        context=network.decoder.context_length,
        max_tokens=max_tokens,
    )
    return ConversationScorer(adapted.network.make(), adapted.params, encoder)


def base_of(folder: Path, given: Path | None) -> Path:
    """The folder of the base: the one given, or the one that adapter_config.json names."""
    named = json_object(folder / CONFIG).get("base_model_name_or_path")
    base = given or Path(str(named))
    if not (base / "config.json").is_file():
        where = "--base" if given else f"{folder}/{CONFIG}: base_model_name_or_path"
        raise InputError(f"{where}: {str(base)!r} is no model folder here; say where the base is by --base FOLDER")
    return base
