"""Step beam search: a learned reward chooses, after every step, which partial traces go on.

At each depth every beam of a problem is continued by `expansions` samples of one more step, equal
continuations are merged, and the `width` best by score stay (Yao et al. 2023, arXiv 2305.10601, with a learned
reward in place of a prompted value). All beams of all problems are sampled and scored in one batch per depth.
Differences from the paper: (1) continuations are sampled from the policy, not listed by a prompt; (2) finished
traces keep their place in the beam and compete with unfinished ones by the same aggregate of step scores.
"""

import jax
import numpy as np

from irl.guidance.base import Candidate, Cost, Guide, Pool, ScoreRows, Task
from irl.policies.base import FittedPolicy
from irl.policies.rollouts import sample_steps
from irl.policies.truncation import ALL_TOKENS, Truncation
from irl.text.encoder import TextEncoder
from irl.text.packing import EncodedTrace
from reward_models.ranges import Few, Size, Temperature
from reward_models.records import record


@record
class StepBeamSearch(Guide):
    """Keeps the best `width` partial traces of each problem after every step."""

    width: Size = 5
    expansions: Size = 24
    max_steps: Few = 6
    max_step_tokens: Size = 40
    temperature: Temperature = 1.0
    truncation: Truncation = ALL_TOKENS

    @property
    def name(self) -> str:
        return f"step beam search, width {self.width}"

    def __call__(self, policy: FittedPolicy, score: ScoreRows, task: Task, key: jax.Array) -> Pool:
        prompts = [problem.prompt for problem in task.problems]
        beams = [[_opening(task.encoder, prompt)] for prompt in prompts]
        tokens = scored = 0
        for depth in range(self.max_steps):
            open_beams = [(p, beam) for p, group in enumerate(beams) for beam in group if not beam.finished]
            if not open_beams:
                break
            grown, used = self._expand(policy, task, open_beams, jax.random.fold_in(key, depth))
            asked = [prompts[p] for p, _, _ in grown]
            scores = score(asked, [row for _, row, _ in grown]) if grown else np.zeros(0)
            tokens, scored = tokens + used, scored + len(grown)
            pool: list[list[Candidate]] = [[beam for beam in group if beam.finished] for group in beams]
            for (p, row, finished), value in zip(grown, scores.tolist(), strict=True):
                pool[p].append(Candidate(row, value, finished, value))
            beams = [sorted(group, key=lambda b: -b.score)[: self.width] for group in pool]
        return Pool(beams, Cost(tokens, scored))

    def _expand(self, policy: FittedPolicy, task: Task, beams, key: jax.Array):
        """Distinct one-step continuations (problem, row, finished) of open beams, and the tokens they took."""
        encoder = task.encoder
        drawn = sample_steps(
            policy,
            encoder,
            [beam.row.tokens for _, beam in beams],
            self.expansions,
            key,
            rows=len(task.problems) * self.width,
            max_new=self.max_step_tokens,
            temperature=self.temperature,
            truncation=self.truncation,
        )
        seen: set[tuple[int, tuple[int, ...]]] = set()
        grown = []
        for i, (problem, beam) in enumerate(beams):
            for j in range(self.expansions):
                new = drawn.tokens[i, j, : drawn.length[i, j]].tolist()
                row = _append(beam.row, new)
                identity = (problem, tuple(row.tokens))
                if drawn.ended[i, j] and identity not in seen and len(row.tokens) <= encoder.max_length:
                    seen.add(identity)
                    grown.append((problem, row, new[-1] == encoder.end))
        return grown, int(drawn.length.sum())


def _opening(encoder: TextEncoder, prompt: str) -> Candidate:
    ids = encoder.prompt(prompt)
    return Candidate(EncodedTrace(ids, [-1] * len(ids)), 0.0, False, 0.0)


def _append(row: EncodedTrace, new: list[int]) -> EncodedTrace:
    return EncodedTrace(row.tokens + new, row.step_id + [max(row.step_id) + 1] * len(new))
