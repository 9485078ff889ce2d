"""Scorers: prompts and answers to scores, for every kind of model folder."""

from irl.rewards.opening import open_scorer as open_scorer
from irl.rewards.questions import AnswerScorer as AnswerScorer
from irl.rewards.questions import Question as Question
from irl.rewards.questions import ask as ask
