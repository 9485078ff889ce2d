"""Records by their names, as config.json has them. Only a class that is registered is built; no module is imported.

`record` registers a class where the class is defined. Two classes may share a name as long as nobody looks it up:
records of file formats do. A name that is looked up must belong to one class.
"""

import importlib
import pkgutil
import sys
from collections.abc import Callable, Iterator, Mapping

from reward_models.records import RECORDS, InputError


class Registered(Mapping[str, type]):
    """Name: class, for every record of the modules that are imported so far; a name of two classes is not listed."""

    def __getitem__(self, name: str) -> type:
        """The class. KeyError for an unknown name, InputError for a name of two classes."""
        first, *others = RECORDS[name].values()
        if others:
            raise InputError(f"two classes have the name {name}, {_places(first, *others)}; rename one of them")
        return first

    def __contains__(self, name: object) -> bool:
        return name in RECORDS

    def __iter__(self) -> Iterator[str]:
        return (name for name, kinds in RECORDS.items() if len(kinds) == 1)

    def __len__(self) -> int:
        return sum(1 for _ in self)


REGISTERED = Registered()


def classes() -> list[type]:
    """Every registered class, in the order of registration."""
    return [kind for kinds in RECORDS.values() for kind in kinds.values()]


def check_registered(kind: type) -> None:
    """InputError for a class that its name does not lead back to."""
    if REGISTERED.get(kind.__name__) is not kind:
        advice = "decorate the class with reward_models.records.record"
        raise InputError(f"{kind.__name__} in {defined_in(kind)}: not a registered class; {advice}")


def defined_in(kind: type) -> str:
    """The file of a class, or its module where there is no file."""
    return getattr(sys.modules.get(kind.__module__), "__file__", None) or kind.__module__


def forget(belongs: Callable[[str], bool]) -> None:
    """Remove the classes of the modules whose names satisfy `belongs`, before these are executed again."""
    for name, kinds in list(RECORDS.items()):
        kept = {place: kind for place, kind in kinds.items() if not belongs(place[0])}
        if kept:
            RECORDS[name] = kept
        else:
            del RECORDS[name]


def import_all(package: str) -> None:
    """Import every module of a package, so that its classes are registered."""
    for module in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
        importlib.import_module(module.name)


def _places(*kinds: type) -> str:
    return " and ".join(f"in {defined_in(kind)}" for kind in kinds)
