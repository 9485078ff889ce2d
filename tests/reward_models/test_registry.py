"""Records by name: what is registered, what a name of two classes is answered with, what is never imported."""

import sys

import numpy as np
import pytest

from reward_models.config_json import LISTED, UnknownClass, decode, encode
from reward_models.folders.manifest import Provenance
from reward_models.folders.native import load_folder, save_folder
from reward_models.records import RECORDS, InputError, record
from reward_models.registry import REGISTERED, check_registered, defined_in, forget, import_all
from reward_models.types import ScoreSpec

import_all("reward_models.networks")


@pytest.fixture(autouse=True)
def own_registry():
    """Classes of a test are forgotten after it."""
    before = {name: dict(kinds) for name, kinds in RECORDS.items()}
    yield
    RECORDS.clear()
    RECORDS.update(before)


def named(name, module=__name__):
    """A new record of this name, as if `module` defined it."""
    return record(type(name, (), {"__annotations__": {"size": int}, "size": 1, "__module__": module}))


def test_a_record_is_registered_where_it_is_defined():
    kind = named("Mine")
    assert REGISTERED["Mine"] is kind and "Mine" in REGISTERED
    check_registered(kind)
    assert decode(encode(kind(size=3), "config"), REGISTERED, "config") == kind(size=3)
    assert defined_in(kind) == __file__


def test_two_classes_of_one_name_are_refused_where_the_name_is_used():
    mine = named("CriticConfig")
    message = r"two classes have the name CriticConfig, in \S*critic\.py and in \S*test_registry\.py; rename one"
    with pytest.raises(InputError, match=message):
        check_registered(mine)
    with pytest.raises(InputError, match=rf"^config\[0\]: {message}"):
        decode([{"class": "CriticConfig"}], REGISTERED, "config")


def test_a_class_that_is_defined_again_replaces_itself():
    first, second = named("Mine"), named("Mine")
    assert REGISTERED["Mine"] is second
    with pytest.raises(InputError, match=r"Mine in .*: not a registered class; decorate the class with"):
        check_registered(first)


def test_classes_of_a_module_are_forgotten():
    named("Mine", "config file /a/mine.py")
    ours = named("Other")
    forget(lambda module: module.startswith("config file "))
    assert "Mine" not in REGISTERED and REGISTERED["Other"] is ours and "CriticConfig" in REGISTERED


@pytest.mark.parametrize("name", ["os.system", "antigravity.Mine", "Evil", "", None, 3, ["CriticConfig"], {}])
def test_json_imports_and_builds_nothing_that_is_not_registered(name):
    before = set(sys.modules)
    with pytest.raises(UnknownClass, match=r"^config: unknown class ") as error:
        decode({"class": name, "size": 1}, REGISTERED, "config")
    assert set(sys.modules) == before and error.value.name == name


def test_an_unknown_class_is_answered_with_the_names_that_resemble_it():
    import_all("reward_models")
    assert len(REGISTERED) > LISTED
    with pytest.raises(UnknownClass, match="unknown class 'CriticConfg'; known: CriticConfig"):
        decode({"class": "CriticConfg"}, REGISTERED, "config")


def test_a_model_folder_of_a_network_that_is_not_known(tmp_path):
    network = named("MyNetwork")()
    save_folder(
        tmp_path / "model",
        params={"weight": np.ones(2, np.float32)},
        network=network,
        spec=ScoreSpec("reward", "sum", "demonstrations"),
        tokenizer_json="{}",
        manifest=Provenance(seed=0),
    )
    assert load_folder(tmp_path / "model").network == network
    del RECORDS["MyNetwork"]
    advice = "import the module that defines MyNetwork, then read the folder with load_folder"
    with pytest.raises(InputError, match=f"unknown class 'MyNetwork'.*; {advice}"):
        load_folder(tmp_path / "model")
