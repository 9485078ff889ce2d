"""Adapters on a downloaded language model: a run, its folder read back with the same scores, what is refused."""

import json
import warnings
from dataclasses import replace

import jax
import numpy as np
import pytest

import experiments.text_rewards.headed_model
from configs.hh_adapters import config as hh_adapters
from experiments.cli import main
from experiments.text_rewards.fit_trunk import FitTrunk
from experiments.text_rewards.pair_data import PairFiles
from experiments.text_rewards.text_model import TextModel
from irl.rewards import open_scorer
from irl.rewards.conversations import ConversationScorer
from irl.rewards.questions import Answer, Question
from irl.train import Schedule
from irl.types import InputError
from reward_models.folders.hugging_face import load_hugging_face
from reward_models.folders.opening import folders_of, layout_of
from reward_models.folders.peft import load_peft, save_peft
from reward_models.networks.adapters import LowRank
from reward_models.networks.heads import HeadedDecoderConfig, LastToken, LinearHead
from reward_models.networks.soft_advantage import SoftAdvantageConfig
from tests.experiments.text_rewards.cases import DECODER, TOKENIZER, comparisons, save_base, write

pytestmark = pytest.mark.usefixtures("few_resamples", "shared_programs")

QUESTIONS = [Question(f"{n}", f"Name {n}", (), (Answer(0, f"one {n * n}"), Answer(1, "two"))) for n in range(3)]


@pytest.fixture(scope="module")
def downloaded(tmp_path_factory):
    """A random language model with its tokenizer, without a chat template."""
    return save_base(tmp_path_factory.mktemp("hub") / "base")


@pytest.fixture(scope="module")
def config(tmp_path_factory, downloaded):
    """configs/hh_adapters.py, but for sizes and files: every third comparison is a tie."""
    file = write(tmp_path_factory.mktemp("data") / "pairs.jsonl", comparisons(48))
    return replace(
        hh_adapters,
        data=PairFiles(train=(file,), validation=0.3, held_out=0.3),
        model=TextModel(base=str(downloaded), context=128),
        schedule=Schedule(steps=3, log_every=1, save_every=1),
        rows=4,
        length=128,
        seeds=(0, 1),
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory, config):
    """The run, and the scores of QUESTIONS by the members as the run had them."""
    folder, scorers = tmp_path_factory.mktemp("run"), []

    class Kept(ConversationScorer):
        def __init__(self, *given):
            super().__init__(*given)
            scorers.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiments.text_rewards.headed_model, "ConversationScorer", Kept)
        config.run(folder, "traceward run mine")
    return folder, [scorer(QUESTIONS).trace for scorer in scorers[:2]]


def test_the_folder_is_read_back_with_equal_scores(trained, downloaded):
    folder, scores = trained
    for name, wanted in zip(("model", "model-seed-1"), scores, strict=True):
        assert layout_of(folder / name) == "peft" and layout_of(downloaded) == "hugging_face"
        scorer = open_scorer(folder / name)
        assert scorer.spec.information == "preferences"
        np.testing.assert_allclose(scorer(QUESTIONS).trace, wanted, atol=1e-6)
    assert np.abs(scores[0] - scores[1]).max() > 1e-3, "a head and an order of data each"


def test_traceward_score_reads_it(trained, downloaded, tmp_path, capsys):
    folder, scores = trained
    rows = [{"prompt": q.prompt, "candidates": [{"text": a.text} for a in q.answers]} for q in QUESTIONS]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = ["score", "--model", str(folder / "model"), "--input", str(tmp_path / "in.jsonl")]
    with pytest.raises(SystemExit) as stop:
        main([*given, "--output", str(tmp_path / "out.jsonl")])
    assert stop.value.code == 0, capsys.readouterr().err
    found = [json.loads(line)["score"] for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    np.testing.assert_allclose(found, scores[0], atol=1e-6)
    capsys.readouterr()
    for more, told in ((("--step-tokens", "+,-"), "this model has a head"), (("--base", str(tmp_path)), "base: '")):
        with pytest.raises(SystemExit) as stop:
            main([*given, *more])
        assert stop.value.code == 2 and told in capsys.readouterr().err


def test_base_and_adapters_merged_score_the_same(trained, downloaded):
    """Through other code: W + scale A B written into the weights, read by the plain network."""
    base = load_hugging_face(downloaded)
    pad = base.config["pad_token_id"]
    adapted = load_peft(trained[0] / "model", network=base.network, params=base.params, pad_token=pad)
    encoder = open_scorer(trained[0] / "model")._encoder
    plain, params = adapted.network.merged(adapted.params)
    merged = ConversationScorer(plain.make(), params, encoder)
    np.testing.assert_allclose(merged(QUESTIONS).trace, trained[1][0], atol=1e-5)
    trunk = adapted.params["trunk"]["base"].tree
    untouched = ConversationScorer(plain.make(), {**adapted.params, "trunk": trunk}, encoder)
    assert np.abs(untouched(QUESTIONS).trace - trained[1][0]).max() > 1e-6, "the adapters change the score"


def test_a_run_leaves_a_card_and_its_baselines(trained, config, downloaded):
    folder, _ = trained
    card = (folder / "model" / "model_card.md").read_text()
    assert f"low-rank adapters (rank 8) and a head on {downloaded}, the base" in card
    report = json.loads((folder / "report.json").read_text())
    names = {row["name"] for row in report["headline"]}
    assert {"pairs: accuracy", "pairs: accuracy of log-probability", "pairs: accuracy of longer answer"} <= names
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert {line["stage"] for line in metrics} == {"preferences-seed-0", "preferences-seed-1"}
    assert all(np.isfinite(line["loss"]) and line["grad_norm"] > 0 for line in metrics)


def test_peft_loads_the_folder(trained, downloaded):
    torch, peft = pytest.importorskip("torch"), pytest.importorskip("peft")
    transformers = pytest.importorskip("transformers")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        base = transformers.AutoModelForSequenceClassification.from_pretrained(downloaded, num_labels=1)
        model = peft.PeftModel.from_pretrained(base, trained[0] / "model").eval()
    found = []
    for question in QUESTIONS:
        for answer in question.answers:
            ids = TOKENIZER.encode(question.prompt + answer.text).ids
            with torch.no_grad():
                found.append(model(torch.tensor([ids])).logits[0, 0].item())
    np.testing.assert_allclose(found, trained[1][0], atol=1e-4)


# ------------------------------------------------------------------------------------------ refused


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"rank": 0}, r"LowRank\.rank: expected at least 1, got 0"),
        ({"targets": ("query", "head")}, r"LowRank\.targets\.1: expected 'query', .*, got 'head'"),
        ({"targets": ()}, r"LowRank\.targets: expected at least 1 values, got \(\)"),
    ],
)
def test_adapters_that_are_none(given, message):
    with pytest.raises(InputError, match=message):
        LowRank(**given)


def test_a_run_without_a_language_model_under_it(config, tmp_path):
    headed = HeadedDecoderConfig(decoder=DECODER, head=LinearHead(), read=LastToken())
    classifier = save_base(tmp_path / "classifier", headed)
    for base, found in ((None, "a fresh decoder"), (str(classifier), "classifier, which has a head of its own")):
        with pytest.raises(InputError, match=rf"adapters: expected a language model under them, got .*{found}; give"):
            replace(config, model=replace(config.model, base=base)).run(tmp_path, "")
    with pytest.raises(InputError, match="adapters: their base stays as it is, and a trunk would be trained; set"):
        replace(config, trunk=FitTrunk()).run(tmp_path, "")


def test_a_base_that_is_not_there(trained, downloaded, tmp_path):
    model = trained[0] / "model"
    assert folders_of(model) == [model, downloaded.resolve()] and folders_of(model, downloaded) == [model, downloaded]
    with pytest.raises(
        InputError, match=r"^base: '.*' is no model folder here; give the folder of the base \(--base\)"
    ):
        folders_of(model, tmp_path)
    written = json.loads((model / "adapter_config.json").read_text())
    (tmp_path / "adapter_config.json").write_text(json.dumps(written | {"base_model_name_or_path": "some/base"}))
    with pytest.raises(InputError, match=r"adapter_config.json: base_model_name_or_path: 'some/base' is no model"):
        folders_of(tmp_path)


def test_adapters_of_a_language_model_give_no_score(downloaded, tmp_path):
    network = SoftAdvantageConfig(decoder=replace(DECODER, adapters=LowRank()))
    params = network.make().init(jax.random.key(0))
    save_peft(tmp_path / "model", network=network, params=params, base_model=str(downloaded))
    with pytest.raises(InputError, match="task_type is CAUSAL_LM, which has no score head"):
        open_scorer(tmp_path / "model")
