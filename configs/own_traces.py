"""A reward and a policy from a file of traces of any domain, from scratch, on two CPU cores.

    traceward run own_traces --domain.train FILE

FILE has any format of `irl/data`: {"prompt", "steps"}, {"prompt", "completion"}, {"question", "answer": "...####..."},
messages and others. A tenth of the prompts is held out. Lengths, vocabulary, decoder and training are scaled to the
traces and to the time. The reward judges whole traces and learns from every step in three contexts: nothing, the
previous step, everything before it.
Expect: LOG.md. Cost: about 10 minutes; --minutes 30 trains longer.
Obvious variations: --domain.validation FILE; --domain.test FILE; --domain.steps paragraphs; --domain.answer boxed;
--members 2; --sizes.max-length 512.
"""

from experiments.traces.own_traces import OwnTraces
from irl.domains.files import TraceFiles

config = OwnTraces(domain=TraceFiles(train="traces.jsonl"))
