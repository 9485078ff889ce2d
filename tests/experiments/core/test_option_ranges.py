"""Every numeric field of every config class has a range, and values outside it are refused with the field's name."""

import importlib
import math
from dataclasses import fields, is_dataclass, replace
from inspect import isabstract
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, get_args, get_origin, get_type_hints

import pytest
from annotated_types import Ge, Gt, Le, Lt
from pydantic.dataclasses import is_pydantic_dataclass

import configs
from experiments.control.backends import OfGymnasium
from experiments.control.expert import DemonstrationFile
from experiments.core.exchange import candidates
from experiments.core.kinds import kinds_of_run
from experiments.text_rewards.fit_process import FitProcess
from experiments.text_rewards.mistake_data import MistakeTraces
from experiments.text_rewards.pair_data import PairFiles
from experiments.text_rewards.step_candidates import SolutionCandidates
from experiments.text_rewards.step_data import PlantedErrors, StepFiles
from irl.algorithms.airl import LEVELS, Airl
from irl.algorithms.maxent import MaxEnt
from irl.control.algorithms.fragments import ACQUISITIONS
from irl.control.algorithms.gail import Gail
from irl.control.algorithms.preference_comparisons import SCHEDULES, PreferenceComparisons
from irl.domains.countdown.countdown import Countdown
from irl.domains.files import TraceFiles
from irl.domains.gsm8k.calculations import KINDS, Kind
from irl.domains.tree import Tree
from irl.policies.language_model import LanguageModel
from irl.types import InputError
from reward_models.aggregation import AGGREGATES
from reward_models.networks.adapters import TARGETS, Target
from reward_models.networks.advantage import AdvantageConfig
from reward_models.networks.critic import CriticConfig
from reward_models.networks.decoder import DecoderConfig, RopeScaling
from reward_models.networks.heads import HeadedDecoderConfig, LastToken, VocabularyHead
from reward_models.networks.regret import RegretConfig
from reward_models.reward_maps import REWARD_MAPS


def _types(hint: Any) -> list[Any]:
    """A type, or those that it is composed of."""
    return [hint, *(part for each in get_args(hint) for part in _types(each))]


def _config_classes() -> list[type]:
    """Every class that a config can be built of: the kinds of run and all that their fields take."""
    found = dict.fromkeys(kinds_of_run())
    waiting = list(found)
    while waiting:
        hints = get_type_hints(waiting.pop(), include_extras=True).values()
        taken = [kind for hint in hints for each in _types(hint) for kind in candidates(each).values()]
        waiting += (new := [kind for kind in dict.fromkeys(taken) if kind not in found])
        found |= dict.fromkeys(new)
    return list(found)


RECORDS = sorted(
    (kind for kind in {*_config_classes(), MaxEnt, Tree} if not isabstract(kind)), key=lambda kind: kind.__name__
)
WITHOUT_RANGE: dict[str, str] = {}
"""Numeric fields that take any value, and why."""


def _parts(value: Any) -> list[Any]:
    """The dataclasses in a config."""
    if isinstance(value, tuple):
        return [part for item in value for part in _parts(item)]
    if not is_dataclass(value):
        return []
    return [value, *(part for item in fields(value) for part in _parts(getattr(value, item.name)))]


def _instances() -> dict[type, Any]:
    """A valid instance of every class: of the configs, or with required fields filled in."""
    names = sorted(path.stem for path in Path(configs.__path__[0]).glob("*.py") if path.stem != "__init__")
    found = {type(part): part for name in names for part in _parts(importlib.import_module(f"configs.{name}").config)}
    decoder, head = DecoderConfig(vocab_size=8), VocabularyHead(tokens=(1, 2))
    required = (
        HeadedDecoderConfig(decoder=decoder, head=head, read=LastToken()),
        RegretConfig(decoder=decoder, judged=(1,)),
        head,
        OfGymnasium(id="Hopper-v5"),
        DemonstrationFile(path="a"),
        MistakeTraces(files=("word_sorting.jsonl",)),
        TraceFiles(train="a"),
        PairFiles(train=("a",)),
        SolutionCandidates(file="a"),
        PlantedErrors(train="a", test="b"),
        StepFiles(files=("a",)),
        AdvantageConfig(decoder=decoder),
        CriticConfig(decoder=decoder),
        AdvantageConfig(decoder=decoder),
        LanguageModel(network=decoder),
        RopeScaling(factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_length=8192),
    )
    found |= {type(instance): instance for instance in required if type(instance) not in found}
    return {kind: found[kind] if kind in found else kind() for kind in RECORDS}


INSTANCES = _instances()


class Leaf(NamedTuple):
    """A number or text in the type of a field."""

    kind: type
    bounds: tuple[Any, ...]
    in_tuple: bool

    def given(self, value: Any) -> Any:
        return (value,) if self.in_tuple else value


def _leaves(hint: Any, bounds: tuple[Any, ...] = (), in_tuple: bool = False) -> list[Leaf]:
    if get_origin(hint) is Annotated:
        return _leaves(get_args(hint)[0], hint.__metadata__, in_tuple)
    if hint in (int, float):
        return [Leaf(hint, bounds, in_tuple)]
    if get_origin(hint) in (ClassVar, Literal) or hint in (bool, str, NoneType, Ellipsis):
        return []
    inside = get_origin(hint) is tuple
    return [leaf for part in get_args(hint) for leaf in _leaves(part, bounds=(), in_tuple=in_tuple or inside)]


NUMBERS = [
    pytest.param(kind, name, leaf, id=f"{kind.__name__}.{name}")
    for kind in RECORDS
    for name, hint in get_type_hints(kind, include_extras=True).items()
    for leaf in _leaves(hint)
]


def refused(kind: type, name: str, value: Any) -> str:
    with pytest.raises(InputError) as error:
        replace(INSTANCES[kind], **{name: value})
    assert str(error.value).startswith(f"{kind.__name__}.{name}"), error.value
    return str(error.value)


@pytest.mark.parametrize("kind", RECORDS, ids=lambda kind: kind.__name__)
def test_every_config_class_is_a_record_whose_defaults_are_in_range(kind):
    assert is_pydantic_dataclass(kind)
    instance = INSTANCES[kind]
    assert replace(instance) == instance and hash(replace(instance)) == hash(instance)


def test_every_number_is_found():
    assert len(NUMBERS) > 200
    annotated = [name for kind in RECORDS for name, hint in get_type_hints(kind).items() if hint in (int, float)]
    assert len(annotated) <= len(NUMBERS)


@pytest.mark.parametrize(("kind", "name", "leaf"), NUMBERS)
def test_every_number_has_a_range_with_two_ends(kind, name, leaf):
    if f"{kind.__name__}.{name}" in WITHOUT_RANGE:
        return
    assert any(isinstance(bound, Ge | Gt) for bound in leaf.bounds), "no lower end"
    assert any(isinstance(bound, Le | Lt) for bound in leaf.bounds), "no upper end"


@pytest.mark.parametrize(("kind", "name", "leaf"), NUMBERS)
def test_numbers_outside_their_range_are_refused(kind, name, leaf):
    for bound in leaf.bounds:
        match bound:
            case Ge(ge=end):
                bad = [end - 1]
            case Gt(gt=end):
                bad = [end, end - 1]
            case Le(le=end):
                bad = [end + 1]
            case Lt(lt=end):
                bad = [end, end + 1]
        for value in bad:
            expected = refused(kind, name, leaf.given(leaf.kind(value)))
            assert "expected at " in expected or "expected more " in expected or "expected less " in expected
    for value in (-(10**9), 10**30):
        refused(kind, name, leaf.given(leaf.kind(value)))


@pytest.mark.parametrize(("kind", "name", "leaf"), NUMBERS)
def test_values_of_another_type_are_refused(kind, name, leaf):
    bad = ["1", True, [1], {}] + ([1.0, 1.5] if leaf.kind is int else [math.nan, math.inf, -math.inf, float("1e400")])
    for value in bad:
        assert "expected " in refused(kind, name, leaf.given(value))
    refused(kind, name, [leaf.kind(1)])


TUPLES = [
    pytest.param(kind, name, id=f"{kind.__name__}.{name}")
    for kind in RECORDS
    for name in get_type_hints(kind)
    if name in ("seeds", "files", "train", "kinds", "targets", "temperatures", "sizes")
    and isinstance(getattr(INSTANCES[kind], name), tuple)
]


@pytest.mark.parametrize(("kind", "name"), TUPLES)
def test_empty_tuples_are_refused(kind, name):
    assert "expected at least 1 values, got ()" in refused(kind, name, ())


@pytest.mark.parametrize(("kind", "name"), [p for p in TUPLES if p.values[1] not in ("temperatures", "sizes")])
def test_repeated_values_are_refused(kind, name):
    first = getattr(INSTANCES[kind], name)[0]
    assert "expected distinct values" in refused(kind, name, (first, first))


@pytest.mark.parametrize(
    ("names", "table"),
    [
        (get_type_hints(Airl)["level"], LEVELS),
        (get_type_hints(Gail)["reward_map"], REWARD_MAPS),
        (get_type_hints(PreferenceComparisons)["schedule"], SCHEDULES),
        (get_type_hints(PreferenceComparisons)["acquisition"], ACQUISITIONS),
        (Kind, KINDS),
        (Target, TARGETS),
        (get_type_hints(FitProcess)["aggregate"], AGGREGATES),
    ],
)
def test_names_that_a_field_takes_are_those_of_its_table(names, table):
    assert set(get_args(names)) == set(table)


def test_hands_that_may_be_held_out_leave_one_to_train_on():
    assert len(Countdown(held_out=1261).problems("train")) == 1
