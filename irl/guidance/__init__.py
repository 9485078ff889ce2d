"""Guides: candidates for each problem from a policy and a score.

A score is any function of prompts and encoded traces; here it prefers short traces.

    >>> import jax
    >>> import numpy as np
    >>> from irl.domains.countdown.countdown import Countdown, problem_of
    >>> from irl.guidance import BestOfN, MajorityVote, StepBeamSearch, Task, WeightedVote
    >>> from irl.policies.base import FittedPolicy
    >>> from irl.policies.language_model import LanguageModel
    >>> from irl.text.encode import Encoder
    >>> from irl.text.tokenize import number_tokenizer
    >>> from reward_models.networks.decoder import DecoderConfig
    >>> def shortness(prompts, rows):
    ...     return -np.array([len(row.response) for row in rows])
    >>> encoder = Encoder(number_tokenizer(), max_length=24, max_steps=4)
    >>> network = DecoderConfig(vocab_size=encoder.vocab_size, num_layers=1, dim=8, num_heads=1, num_kv_heads=1)
    >>> policy = FittedPolicy(LanguageModel(network=network), network.make().init(jax.random.key(0)))
    >>> task = Task([problem_of((3, 8)), problem_of((4, 6))], encoder, Countdown())
    >>> pool = BestOfN(samples=4)(policy, shortness, task, jax.random.key(1))
    >>> [len(candidates) for candidates in pool.candidates], pool.cost.scored_traces
    ([4, 4], 8)
    >>> best, *others = pool.candidates[0]
    >>> all(best.weight >= other.weight for other in others)
    True
    >>> text = encoder.decode(best.row.response)

Votes count the answers that the domain of the task reads; a beam search keeps partial traces after every step.

    >>> guides = MajorityVote(samples=4), WeightedVote(samples=4), StepBeamSearch(width=2, expansions=4)
    >>> [guide.name for guide in guides]
    ['majority of 4', 'reward-weighted majority of 4', 'step beam search, width 2']
"""

from irl.guidance.base import Candidate as Candidate
from irl.guidance.base import Cost as Cost
from irl.guidance.base import Guide as Guide
from irl.guidance.base import Pool as Pool
from irl.guidance.base import ScoreRows as ScoreRows
from irl.guidance.base import Task as Task
from irl.guidance.beam import StepBeamSearch as StepBeamSearch
from irl.guidance.best_of_n import BestOfN as BestOfN
from irl.guidance.voting import MajorityVote as MajorityVote
from irl.guidance.voting import WeightedVote as WeightedVote
