"""The card says all it must, its five lines run, and what makes it worthless is refused."""

import dataclasses
import math
import re
import shutil

import jax
import pytest

from experiments.reporting.model_card import CARD, NOT_FOR, USAGE, write_model_card
from experiments.traces.experiment import card_findings
from irl.domains.countdown.countdown import Countdown
from irl.evaluation.audit import Finding
from irl.rewards import ask, open_scorer
from irl.text.tokenize import character_tokenizer, number_tokenizer
from irl.types import InputError
from reward_models.folders.hugging_face import save_hugging_face
from reward_models.folders.manifest import Provenance
from reward_models.folders.native import load_folder, save_folder
from reward_models.networks.decoder import DecoderConfig
from reward_models.networks.heads import HeadedDecoderConfig, LinearHead, StepEnds
from reward_models.networks.soft_advantage import SoftAdvantageConfig

TOKENIZER = number_tokenizer()
METRICS = {
    "test hands: within-prompt AUC": Finding(0.8125, 0.75, 0.87, 1_234),
    "a|b": Finding(math.nan, math.nan, math.nan, 0),
    "spread": Finding(0.25, math.nan, math.nan, 8),
}
MANIFEST = Provenance(
    environment=Countdown.__name__, seed=3, trained_on="400 hands", metrics={"loss": 0.12345678, "auc": None}
)


@pytest.fixture
def folder(tmp_path):
    decoder = DecoderConfig(
        vocab_size=TOKENIZER.get_vocab_size(),
        num_layers=1,
        dim=8,
        num_heads=1,
        num_kv_heads=1,
        head_dim=8,
        hidden_dim=8,
    )
    config = SoftAdvantageConfig(decoder=decoder)
    network = config.make()
    save_folder(
        tmp_path / "model",
        params=network.init(jax.random.key(0)),
        network=config,
        spec=network.spec._replace(information="outcome labels"),
        tokenizer_json=TOKENIZER.to_str(),
        manifest=MANIFEST,
    )
    return tmp_path / "model"


def test_text(folder):
    path = write_model_card(folder, METRICS)
    text = path.read_text()
    assert path == folder / CARD
    size = sum(leaf.size for leaf in jax.tree.leaves(load_folder(folder, classes=classes()).params))
    for sentence in (
        "# model\n",
        f"SoftAdvantage, {size:,} parameters",
        "The score of a trace is the sum of its steps.",
        "400 hands",
        "**Information level: outcome labels.** It saw whether final answers are right",
        "Domain: Countdown. Seed: 3.",
        "| test hands: within-prompt AUC | 0.812 | [0.750, 0.870] | 1,234 |",
        "| a\\|b | undefined | | 0 |",
        "| spread | 0.250 |  | 8 |",
        "- loss: 0.1235",
        "- auc: undefined",
        f"jax {jax.__version__}",
        "Card written by traceward 0.1.0",
        *NOT_FOR,
        USAGE,
    ):
        assert sentence in text
    assert [line for line in text.splitlines() if line.startswith("## ")] == [
        "## Trained on",
        "## Metrics",
        "## Use",
        "## Not for",
        "## Load and score",
        "## Versions",
    ]
    assert len(text.splitlines()) <= 60  # one page


def classes():
    return {"SoftAdvantageConfig": SoftAdvantageConfig, "DecoderConfig": DecoderConfig}


@pytest.mark.parametrize("kind", ["native", "hugging_face"])
def test_the_example_of_a_card_runs(folder, kind, monkeypatch, capsys):
    """Beside a folder of any kind; the example is of the library alone."""
    if kind == "hugging_face":
        shutil.rmtree(folder)
        tokenizer = character_tokenizer()
        decoder = dataclasses.replace(NETWORK.decoder, vocab_size=tokenizer.get_vocab_size())
        network = dataclasses.replace(NETWORK, decoder=decoder)
        params, files = network.make().init(jax.random.key(0)), {"tokenizer.json": tokenizer.to_str()}
        save_hugging_face(folder, network=network, params=params, pad_token=0, files=files)
    card = write_model_card(folder, METRICS, trained_on="400 solutions").read_text()
    example = re.search(r"```python\n(.*?)```", card, re.DOTALL)[1]
    assert example == USAGE + "\n" and "experiments" not in example
    monkeypatch.chdir(folder.parent)
    prompt, answers = "4 5 6 10", ["10 - 4 = 6 (left: 5 6 6)\nAnswer: (10 - 4) * 5 - 6 = 24"]
    exec(example, {"prompt": prompt, "answers": answers})
    assert str(open_scorer(folder).answers([ask(prompt, answers)]).trace) in capsys.readouterr().out


def test_own_words_and_a_second_card(folder):
    write_model_card(folder, METRICS)
    text = write_model_card(folder, METRICS, trained_on="other hands").read_text()
    assert "other hands" in text and "400 hands" not in text
    assert not list(folder.glob(".*"))


NETWORK = HeadedDecoderConfig(
    decoder=DecoderConfig(vocab_size=16, num_layers=1, dim=8, num_heads=1, num_kv_heads=1, head_dim=8, hidden_dim=8),
    head=LinearHead(labels=2, bias=True),
    read=StepEnds(aggregate="min"),
    information="demonstrations",
)


@pytest.mark.parametrize("shard_bytes", [10**9, 1000])
def test_a_hugging_face_folder(tmp_path, shard_bytes):
    """The same card, of a folder without a manifest; parameters of all shards are counted."""
    params = NETWORK.make().init(jax.random.key(0))
    save_hugging_face(tmp_path / "hub", network=NETWORK, params=params, pad_token=0, shard_bytes=shard_bytes)
    text = write_model_card(tmp_path / "hub", METRICS, trained_on="400 solutions").read_text()
    size = sum(leaf.size for leaf in jax.tree.leaves(params))
    for sentence in (
        "# hub\n",
        f"(LlamaForTokenClassification, {size:,} parameters)",
        "The score of a trace is the min of its steps.",
        "400 solutions",
        "**Information level: demonstrations.** It saw experts' solutions and never whether",
        "`transformers` loads it too",
        "| test hands: within-prompt AUC | 0.812 | [0.750, 0.870] | 1,234 |",
        'scorer = open_scorer("model")',
    ):
        assert sentence in text
    with pytest.raises(InputError, match="trained_on: missing"):
        write_model_card(tmp_path / "hub", METRICS)


def test_a_language_model_gets_no_card(tmp_path):
    params = NETWORK.decoder.make().init(jax.random.key(0))
    save_hugging_face(tmp_path / "hub", network=NETWORK.decoder, params=params, pad_token=0)
    with pytest.raises(InputError, match="a language model has no scores to write a card of"):
        write_model_card(tmp_path / "hub", METRICS, trained_on="400 solutions")


def test_refusals(folder):
    with pytest.raises(InputError, match="metrics: none given"):
        write_model_card(folder, {})
    (folder / "model.safetensors").write_bytes(b"0")
    with pytest.raises(InputError, match=r"model.safetensors: cannot be read"):
        write_model_card(folder, METRICS, trained_on="hands")
    manifest = folder / "manifest.json"
    manifest.write_text(manifest.read_text().replace("400", "401"))
    with pytest.raises(InputError, match=r"manifest.json: damaged or edited"):
        write_model_card(folder, METRICS)
    manifest.write_text("{")
    with pytest.raises(InputError, match=r"manifest.json, column 2: malformed JSON"):
        write_model_card(folder, METRICS)
    with pytest.raises(InputError, match=r"nowhere/config.json: no such file"):
        write_model_card(folder / "nowhere", METRICS)


def test_a_card_needs_to_know_the_training_data(folder):
    model = load_folder(folder, classes=classes())
    given = {"params": model.params, "network": model.network, "spec": model.spec}
    save_folder(folder, **given, tokenizer_json=model.tokenizer_json, manifest=Provenance())
    with pytest.raises(InputError, match=r"manifest.json: trained_on: missing"):
        write_model_card(folder, METRICS)


def test_the_card_may_be_edited_and_goes_with_its_weights(folder):
    card = write_model_card(folder, METRICS)
    card.write_text(card.read_text() + "Not for poems either.\n")
    model = load_folder(folder, classes=classes())
    given = {"params": model.params, "network": model.network, "spec": model.spec}
    save_folder(folder, **given, tokenizer_json=model.tokenizer_json, manifest=MANIFEST)
    assert not card.exists()


def test_a_finding_that_the_report_leaves_undefined_is_undefined_on_the_card():
    undefined = {"mean": None, "low": None, "high": None, "num_prompts": 8}
    report = {"test_time": {"num_problems": 8}, "headline": [], "audit": [{"findings": {"AUC": undefined}}]}
    finding = card_findings(report)["AUC"]
    assert math.isnan(finding.mean) and math.isnan(finding.low) and finding.num_prompts == 8
