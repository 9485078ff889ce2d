"""A network saved and loaded: the trained part of its parameters comes back, bit for bit."""

from pathlib import Path

import jax
import numpy as np

from reward_models.folders.manifest import Provenance
from reward_models.folders.native import load_folder, save_folder
from reward_models.frozen import without_frozen
from reward_models.networks.base import NetworkConfig, Params, flatten


def assert_saved_and_loaded(folder: Path, network: NetworkConfig, params: Params) -> None:
    own = flatten(without_frozen(params))
    spec = network.make().spec
    save_folder(folder, params=params, network=network, spec=spec, tokenizer_json="{}", manifest=Provenance())
    expected = without_frozen(jax.eval_shape(network.make().init, jax.random.key(0)))
    model = load_folder(folder, expected=expected)
    assert model.network == network
    assert flatten(model.params).keys() == own.keys()
    for path, leaf in flatten(model.params).items():
        np.testing.assert_array_equal(leaf, own[path], err_msg=path)
