"""The kinds of run there are, and the classes that a config.json may name: all that a config is built of."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from experiments.beam_search import BeamSearch
from experiments.demonstrations import Demonstrations
from experiments.fit_calculations import FitCalculations
from experiments.fit_outcome_model import FitOutcomeModel
from experiments.fit_policy import FitPolicy
from experiments.fit_reward import FitReward
from experiments.fit_trunk import FitTrunk
from experiments.improve_policy import ImprovePolicy
from experiments.mistake_data import MistakeTraces
from experiments.negatives import Negatives
from experiments.pair_data import PairFiles
from experiments.preference_model import PreferenceModel, run_preference_model
from experiments.process_model import ProcessModel, run_process_model
from experiments.rerank_pool import RerankPool
from experiments.run import Encoding, Experiment, run_experiment
from experiments.step_candidates import SolutionCandidates
from experiments.step_data import PlantedErrors, StepFiles
from experiments.text_model import TextModel
from irl.algorithms.airl import Airl
from irl.algorithms.bradley_terry import BradleyTerry
from irl.algorithms.grpo import Grpo
from irl.algorithms.optimiser import AdamW, Muon
from irl.algorithms.pairwise_critic import PairwiseCritic
from irl.algorithms.process import Process
from irl.algorithms.sft import Sft
from irl.environments.countdown import Countdown
from irl.environments.modchain import ModChain
from irl.guidance.beam import BeamSettings
from irl.train import Schedule
from reward_models.networks.critic import CriticConfig
from reward_models.networks.decoder import DecoderConfig, RopeScaling
from reward_models.networks.soft_advantage import SoftAdvantageConfig

Run = Experiment | PreferenceModel | ProcessModel
RUNS: dict[type, Callable[[Any, Path, str], Path]] = {
    Experiment: run_experiment,
    PreferenceModel: run_preference_model,
    ProcessModel: run_process_model,
}
"""Kind of config: what runs it, given the folder and the command that was typed."""

_CLASSES: tuple[type, ...] = (
    AdamW,
    Airl,
    BeamSearch,
    BeamSettings,
    BradleyTerry,
    Countdown,
    CriticConfig,
    DecoderConfig,
    Demonstrations,
    Encoding,
    Experiment,
    FitCalculations,
    FitOutcomeModel,
    FitPolicy,
    FitReward,
    FitTrunk,
    Grpo,
    ImprovePolicy,
    MistakeTraces,
    ModChain,
    Muon,
    Negatives,
    PairFiles,
    PairwiseCritic,
    PlantedErrors,
    PreferenceModel,
    Process,
    ProcessModel,
    RerankPool,
    RopeScaling,
    Schedule,
    Sft,
    SoftAdvantageConfig,
    SolutionCandidates,
    StepFiles,
    TextModel,
)
CONFIG_CLASSES = {c.__name__: c for c in _CLASSES}
