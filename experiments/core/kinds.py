"""The kinds of run, and the packages whose classes a config can be built of."""

from abc import ABC, abstractmethod
from functools import cache
from pathlib import Path

from reward_models.registry import classes, import_all

OFFERED = (
    "reward_models.networks",
    "irl.algorithms",
    "irl.control",
    "irl.domains",
    "irl.guidance",
    "experiments.traces",
    "experiments.text_rewards",
    "experiments.control",
)
"""Every record in a module of these packages is known by its name on the command line and in config.json."""


class Run(ABC):
    """The config class of a kind of run; `traceward run` takes any."""

    @abstractmethod
    def run(self, folder: Path, command: str) -> Path:
        """Run in a folder, or resume the run there; returns the report. `command` is what the user typed."""


@cache
def import_offered() -> None:
    """Import all that is offered (.3 s beside what a run imports anyway)."""
    for package in OFFERED:
        import_all(package)


def is_offered(kind: type) -> bool:
    """Whether a class is one of Traceward's own."""
    return kind.__module__.partition(".")[0] in {package.partition(".")[0] for package in OFFERED}


def kinds_of_run() -> list[type]:
    """The kinds of run that are known."""
    import_offered()
    return [kind for kind in classes() if issubclass(kind, Run)]
