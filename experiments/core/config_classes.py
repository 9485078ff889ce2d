"""The kinds of run there are, and the classes that a config.json may name: all that a config is built of."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from experiments.control.arenas import OfGymnasium, PureJax
from experiments.control.expert import DemonstrationFile, PushingExpert, TrainedExpert
from experiments.control.imitate import Imitate, run_imitate
from experiments.control.learn_from_comparisons import (
    AnswerFiles,
    AnswersAtPrompt,
    LearnFromComparisons,
    run_learn_from_comparisons,
)
from experiments.control.tabular_imitation import TabularImitation, run_tabular_imitation
from experiments.text_rewards.adapters import Adapters
from experiments.text_rewards.claim_model import ClaimModel, run_claim_model
from experiments.text_rewards.fit_calculations import FitCalculations
from experiments.text_rewards.fit_claims import FitClaims
from experiments.text_rewards.fit_trunk import FitTrunk
from experiments.text_rewards.mistake_data import MistakeTraces
from experiments.text_rewards.pair_data import PairFiles
from experiments.text_rewards.preference_model import PreferenceModel, run_preference_model
from experiments.text_rewards.process_model import ProcessModel, run_process_model
from experiments.text_rewards.step_candidates import SolutionCandidates
from experiments.text_rewards.step_data import PlantedErrors, StepFiles
from experiments.text_rewards.text_model import TextModel
from experiments.traces.beam_search import BeamSearch
from experiments.traces.demonstrations import Demonstrations
from experiments.traces.experiment import Encoding, Experiment, run_experiment
from experiments.traces.fit_outcome_model import FitOutcomeModel
from experiments.traces.fit_policy import FitPolicy
from experiments.traces.fit_reward import FitReward
from experiments.traces.improve_policy import ImprovePolicy
from experiments.traces.negatives import Negatives
from experiments.traces.rerank_pool import RerankPool
from irl.algorithms.airl import Airl
from irl.algorithms.bradley_terry import BradleyTerry
from irl.algorithms.grpo import Grpo
from irl.algorithms.optimiser import AdamW, Muon
from irl.algorithms.pairwise_critic import PairwiseCritic
from irl.algorithms.process import Process
from irl.algorithms.sft import Sft
from irl.control.adversarial import Discriminator
from irl.control.airl import TransitionAirl
from irl.control.behavioural_cloning import BehaviouralCloning
from irl.control.dagger import Dagger, ExponentialBeta, LinearBeta
from irl.control.density import Density
from irl.control.dqn import Dqn
from irl.control.environments.cliff_world import CliffWorld
from irl.control.environments.random_mdp import RandomMdp
from irl.control.full_batch import Adam, Lbfgs
from irl.control.gail import Gail
from irl.control.gatherers import Synthetic
from irl.control.iq_learn import IqLearn
from irl.control.maxent_irl import MaxEntIrl
from irl.control.mce_irl import MceIrl
from irl.control.off_policy import OffPolicy
from irl.control.ppo import Ppo
from irl.control.preference_comparisons import (
    BradleyTerryAnswers,
    DavidsonAnswers,
    PlackettLuceAnswers,
    PreferenceComparisons,
)
from irl.control.rewards import RewardMlp, ShapedReward
from irl.control.sac import Sac
from irl.control.soft_q import SoftQ
from irl.control.sqil import Sqil
from irl.control.tabular_rewards import LinearReward, MlpReward
from irl.domains.countdown.countdown import Countdown
from irl.domains.modchain import ModChain
from irl.guidance.beam import BeamSettings
from irl.train import Schedule
from reward_models.networks.critic import CriticConfig
from reward_models.networks.decoder import DecoderConfig, RopeScaling
from reward_models.networks.soft_advantage import SoftAdvantageConfig

Run = ClaimModel | Experiment | Imitate | LearnFromComparisons | PreferenceModel | ProcessModel | TabularImitation
RUNS: dict[type, Callable[[Any, Path, str], Path]] = {
    ClaimModel: run_claim_model,
    Experiment: run_experiment,
    Imitate: run_imitate,
    LearnFromComparisons: run_learn_from_comparisons,
    PreferenceModel: run_preference_model,
    ProcessModel: run_process_model,
    TabularImitation: run_tabular_imitation,
}
"""Kind of config: what runs it, given the folder and the command that was typed."""

_CLASSES: tuple[type, ...] = (
    Adam,
    AdamW,
    Adapters,
    Airl,
    AnswerFiles,
    AnswersAtPrompt,
    BeamSearch,
    BeamSettings,
    BehaviouralCloning,
    BradleyTerry,
    BradleyTerryAnswers,
    ClaimModel,
    CliffWorld,
    Countdown,
    CriticConfig,
    Dagger,
    DavidsonAnswers,
    DecoderConfig,
    DemonstrationFile,
    Demonstrations,
    Density,
    Discriminator,
    Dqn,
    Encoding,
    Experiment,
    ExponentialBeta,
    FitCalculations,
    FitClaims,
    FitOutcomeModel,
    FitPolicy,
    FitReward,
    FitTrunk,
    Gail,
    Grpo,
    Imitate,
    ImprovePolicy,
    IqLearn,
    Lbfgs,
    LearnFromComparisons,
    LinearBeta,
    LinearReward,
    MaxEntIrl,
    MceIrl,
    MistakeTraces,
    MlpReward,
    ModChain,
    Muon,
    Negatives,
    OfGymnasium,
    OffPolicy,
    PairFiles,
    PairwiseCritic,
    PlackettLuceAnswers,
    PlantedErrors,
    Ppo,
    PreferenceComparisons,
    PreferenceModel,
    Process,
    ProcessModel,
    PureJax,
    PushingExpert,
    RandomMdp,
    RerankPool,
    RewardMlp,
    RopeScaling,
    Sac,
    Schedule,
    Sft,
    ShapedReward,
    SoftAdvantageConfig,
    SoftQ,
    SolutionCandidates,
    Sqil,
    StepFiles,
    Synthetic,
    TabularImitation,
    TextModel,
    TrainedExpert,
    TransitionAirl,
)
CONFIG_CLASSES = {c.__name__: c for c in _CLASSES}
