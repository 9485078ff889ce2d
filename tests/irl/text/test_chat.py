"""Chat templates give the texts of their models, and hostile ones give nothing."""

import datetime
import json

import pytest

from irl.text.chat import ChatTemplate, chat_template_of
from irl.types import InputError
from reward_models.folders.tokenizer_files import read_folder

CHATML = (
    "{% for message in messages %}\n"
    "    {% if loop.first and message.role != 'system' %}\n"
    "{{ '<|im_start|>system\\nBe brief.<|im_end|>' }}\n"
    "    {% endif %}\n"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] | trim + '<|im_end|>' }}\n"
    "{% endfor %}\n"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
LLAMA = (
    "{{ bos_token }}{% if not date_string is defined %}{% set date_string = strftime_now('%d %b %Y') %}{% endif %}"
    "Today: {{ date_string }}\n\n"
    "{% for m in messages %}{% if m.role not in ['user', 'assistant'] %}{{ raise_exception('no ' + m.role) }}"
    "{% endif %}[{{ m.role }}]{% generation %}{{ m.content }}{% endgeneration %}{{ eos_token }}"
    "{% if loop.index == 2 %}{% break %}{% endif %}{% endfor %}"
    "{{ {'b': '<é>', 'a': [1]} | tojson }}"
)
MESSAGES = [{"role": "user", "content": " 1 < 2? "}, {"role": "assistant", "content": "Yes."}]
DAY = datetime.date(2024, 7, 26)


def template(source, **fields):
    return ChatTemplate(source=source, **fields)


def test_messages_become_the_text_written_by_hand():
    start = "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n1 < 2?<|im_end|>\n"
    assert template(CHATML).render(MESSAGES) == start + "<|im_start|>assistant\nYes.<|im_end|>\n"
    prompt = template(CHATML).render(MESSAGES[:1], add_generation_prompt=True)
    assert prompt == start + "<|im_start|>assistant\n"


def test_special_tokens_the_date_and_json():
    llama = template(LLAMA, special_tokens={"bos_token": "<s>", "eos_token": "</s>"}, date=DAY)
    ends = '[user] 1 < 2? </s>[assistant]Yes.</s>{"b": "<é>", "a": [1]}'
    assert llama.render([*MESSAGES, MESSAGES[0]]) == "<s>Today: 26 Jul 2024\n\n" + ends
    assert llama.render(MESSAGES, variables={"date_string": "a day"}) == "<s>Today: a day\n\n" + ends


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "does what no template may"),
        ("{{ messages.append({}) }}", "does what no template may"),
        ("{{ raise_exception.__globals__ }}", "does what no template may"),
        ("{{ '%s' | format(cycler.__init__.__globals__) }}", "does what no template may"),
        ("{{ 'a' * 10 }}", r"str \* int"),
        ("{{ [0] * 10 }}", r"list \* int"),
        ("{{ 9 ** 9 }}", r"int \*\* int"),
        ("{% for i in range(1000000) %}{% endfor %}", "cannot render these messages .*Range"),
        ("{{ raise_exception('roles must alternate') }}", "refuses these messages: roles must alternate"),
        ("{{ strftime_now('%Y') }}", "asks for today's date.*give a date"),
        ("{% for m in messages %}\n{{ m.role }", ", line 2: .*correct the template"),
        ("{% include '/etc/passwd' %}", "cannot render these messages"),
        ("{{ messages[0].content + 1 }}", "cannot render these messages"),
    ],
)
def test_what_a_template_may_not_do(source, message):
    with pytest.raises(InputError, match=f"^chat template.*{message}"):
        template(source).render(MESSAGES)


def test_a_template_cannot_write_without_end(monkeypatch):
    monkeypatch.setenv("TRACEWARD_TEMPLATE_CHARACTERS", "100")
    endless = template("{% for i in range(99) %}{{ 3 * 4 }}{% endfor %}")
    with pytest.raises(InputError, match="more than 100 characters"):
        endless.render(MESSAGES)


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([], "at least one"),
        ("hello", "expected a list of objects"),
        ([MESSAGES[0], "hello"], r"messages\[1\]: expected an object"),
        ([{"content": "hello"}], r"messages\[0\]: expected an object with role"),
        ([{"role": "user"}], r"messages\[0\]\.content: missing in the message of 'user'"),
    ],
)
def test_messages_that_are_none(messages, message):
    with pytest.raises(InputError, match=message):
        template(CHATML).render(messages)


def load(folder, date=None):
    template = chat_template_of(read_folder(folder), date)
    assert template is not None
    return template


def write(folder, config):
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def test_a_template_is_found_where_folders_have_it(tmp_path):
    special = {"bos_token": {"content": "<s>", "lstrip": False}, "eos_token": "</s>", "pad_token": None}
    write(tmp_path, special | {"chat_template": "{{ bos_token }}one{{ eos_token }}"})
    assert load(tmp_path).render(MESSAGES) == "<s>one</s>"
    named = [{"name": "default", "template": "two"}, {"name": "tool_use", "template": "three"}]
    write(tmp_path, special | {"chat_template": named})
    assert load(tmp_path).render(MESSAGES) == "two"
    write(tmp_path, special | {"chat_template": named[1:]})
    with pytest.raises(InputError, match="none is called 'default': it has tool_use"):
        load(tmp_path)
    (tmp_path / "chat_template.jinja").write_text("{{ eos_token }}four{{ strftime_now('%Y') }}")
    assert load(tmp_path, date=DAY).render(MESSAGES) == "</s>four2024"


def test_folders_without_a_template(tmp_path):
    assert chat_template_of(read_folder(tmp_path)) is None
    write(tmp_path, {"chat_template": None})
    assert chat_template_of(read_folder(tmp_path)) is None
    write(tmp_path, {"bos_token": 3, "chat_template": "x"})
    with pytest.raises(InputError, match=r"tokenizer_config\.json: bos_token.*: expected a string, got 3"):
        load(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text("{")
    with pytest.raises(InputError, match="malformed JSON"):
        load(tmp_path)


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("source", [CHATML, LLAMA.replace("strftime_now('%d %b %Y')", "'a day'")])
def test_texts_are_those_of_transformers(source):
    templates = pytest.importorskip("transformers.utils.chat_template_utils")
    tokens = {"bos_token": "<s>", "eos_token": "</s>"}
    for prompt in (False, True):
        ours = template(source, special_tokens=tokens).render(MESSAGES, add_generation_prompt=prompt)
        theirs, _ = templates.render_jinja_template(
            [MESSAGES], chat_template=source, add_generation_prompt=prompt, **tokens
        )
        assert [ours] == theirs
