"""own_traces with an outcome model that learns from the labels of the file, beside the reward from demonstrations.

    traceward run own_traces_labelled --domain.train FILE

FILE has labels: {"prompt", "completion", "label"}, {"prompt", "candidates": [{"text", "correct"}]}, {"prompt",
"chosen", "rejected"}, {"prompt", "completions", "labels"} (steps), ranks and others. Only right or preferred traces are
demonstrations. The report says how often each scorer ranks the better trace of a test pair first; the model of the
labels is the folder outcome-model.
Expect: LOG.md. Cost: about 10 minutes; --minutes 30 trains longer.
Obvious variations: those of own_traces; --sizes.label-steps 400.
"""

from experiments.traces.own_traces import OwnTraces
from irl.domains.files import TraceFiles

config = OwnTraces(
    title="Rewards from your own traces and from their labels", domain=TraceFiles(train="traces.jsonl"), labels=True
)
