"""Templates are untrusted programs: each ends with a text or an InputError, in bounded time and memory."""

import resource
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from irl.text import chat_process
from irl.text.chat import ChatTemplate, TemplateError
from irl.types import InputError

MESSAGES = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "yes"}]
LOOPS = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
DOUBLE = "{% set x = namespace(v='xx') %}{% for i in range(60) %}"
BOMBS = [
    "{{ '%08000000000d' % 1 }}",
    "{{ '%.8000000000f' % 1 }}",
    "{{ '%*d' % (2000000000, 1) }}",
    "{{ '{:1000000000}'.format(1) }}",
    "{{ '{:{w}}'.format(1, w=9000000000) }}",
    "{{ '%s%s'|format('%4000000000d'|format(1), 1) }}",
    DOUBLE + "{% set x.v = x.v.replace('x', 'xx') %}{% endfor %}{{ x.v|length }}",
    DOUBLE + "{% set x.v = x.v|replace('x', 'xx') %}{% endfor %}",
    DOUBLE + "{% set x.v = x.v ~ x.v %}{% endfor %}",
    DOUBLE + "{% set x.v = x.v + x.v %}{% endfor %}",
    DOUBLE + "{% set x.v = x.v|join(x.v) %}{% endfor %}",
    DOUBLE + "{% set x.v = x.v.join(x.v) %}{% endfor %}",
    DOUBLE + "{% set x.v = [x.v, x.v] %}{% endfor %}{{ x.v|tojson|length }}",
    "{% set x = namespace(a=[1], b=[1]) %}{% for i in range(60) %}{% set x.a = [x.a, x.a] %}{% set x.b = [x.b, x.b] %}"
    "{% endfor %}{% if x.a == x.b %}{% endif %}",
    "{{ 'x'.ljust(10000000000) }}",
    "{{ 'x'.center(10000000000) }}",
    "{{ 'x'.zfill(10000000000)|length }}",
    "{{ 'x\ty'.expandtabs(2000000000)|length }}",
    "{{ 'x'|center(10000000000) }}",
    "{{ 'x\ny'|indent(10000000000) }}",
    "{{ {'a': 1}|tojson(indent=10000000000) }}",
    "{{ 'x'|batch(10000000000, 'y')|list|length }}",
    "{{ 1 .to_bytes(10000000000, 'big') }}",
    LOOPS,
    "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(99) }}",
    "{% set x = namespace(v=3) %}{% for i in range(99) %}{% set x.v = x.v * x.v %}{% endfor %}{{ x.v % 7 }}",
    "{% for a in range(9999) recursive %}{{ loop(range(9999)) }}{% endfor %}",
    "{% for a in messages %}{% if not (('a'.ljust(9999999) + 'b') in ('a'.ljust(99999999))) %}{{ 'x'.ljust(99999999) }}"
    "{% endif %}{% endfor %}",
]


@pytest.fixture(autouse=True, scope="module")
def small():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRACEWARD_TEMPLATE_SECONDS", "1")
        patch.setenv("TRACEWARD_TEMPLATE_MEGABYTES", "200")
        chat_process.renderer.close()  # the memory of a process is that of its start
        yield
    chat_process.renderer.close()


def rendered(source):
    return ChatTemplate(source=source, name="template").render(MESSAGES)


@pytest.mark.parametrize("source", BOMBS)
def test_time_and_memory_are_bounded(source):
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    cpu = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    with pytest.raises(
        InputError, match=r"template.*(raise the limit TRACEWARD_TEMPLATE_|cannot render|no template may)"
    ):
        rendered(source)
    chat_process.renderer.close()
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - cpu < 5 and time.monotonic() - start < 60
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 150_000
    assert rendered("{{ messages[0].content }}") == "hello"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "{{ 'x'.ljust(1000000000) }}",
            "more than 200 megabytes of memory.* raise the limit TRACEWARD_TEMPLATE_MEGABYTES",
        ),
        (LOOPS, "more than 1 seconds of processor time.* raise the limit TRACEWARD_TEMPLATE_SECONDS"),
        ("{{ 'x'.ljust(5000000) }}", "more than 4000000 characters.* raise the limit TRACEWARD_TEMPLATE_CHARACTERS"),
    ],
)
def test_the_limit_is_named(source, message):
    with pytest.raises(TemplateError, match=f"^template: one conversation takes {message}"):
        rendered(source)


@pytest.mark.parametrize(
    "source",
    [
        "{{ 1 / 0 }}",
        "{{ none.x.y }}",
        "{{ none + 1 }}",
        "{{ messages[10].content.x }}",
        "{{ 'a'.index('b') }}",
        "{{ [1]|sort(attribute='x.y') }}",
        "{{ ['a', 1]|sort }}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{{ '\\ud800' }}",
        "{{ 'x'.encode().decode('utf-99') }}",
        "{{ '{0.__class__}'.format(1) }}",
        "{{ '{' .format(1) }}",
        "{{ '%d' % 'x' }}",
        "{{ 1.0 * 10 ** 400 }}",
        "{{ " + "(" * 5_000 + "1" + ")" * 5_000 + " }}",
        "{% if 1 %}" * 500 + "{% endif %}" * 500,
        "{{ " + "[" * 5_000 + "]" * 5_000 + " }}",
        "{{ " + "-" * 50_000 + "1 }}",
        "{{ " + "9" * 5_000 + " }}",
        "{{ 1|random }}",
        "{{ [1, 2]|random }}",
        "{{ lipsum(n=100000000) }}",
        "{{ messages|shuffle }}",
        "{{ now() }}",
        "{% import 'os' as os %}",
        "{% extends messages %}",
        "{{ caller() }}",
        "{{ super() }}",
        "{% set a = cycler() %}{{ a.next() }}",
        "{% for a, b in messages[0].content %}{% endfor %}",
        "\x00{{",
    ],
)
def test_every_exception_is_an_input_error(source):
    with pytest.raises(InputError, match=r"^template"):
        rendered(source)
    assert rendered("{{ messages[0].content }}") == "hello"


@pytest.mark.parametrize(
    "source",
    [
        "{{ range }}{{ dict }}{{ namespace }}{{ cycler }}{{ joiner }}{{ raise_exception }}{{ strftime_now }}",
        "{{ joiner() }}{{ cycler(1) }}{{ [joiner(), cycler(1)] }}{{ namespace(a=1) }}",
        "{{ messages|map(attribute='role') }}{{ messages|selectattr('role') }}{{ 'abc'|batch(2) }}{{ [1]|reverse }}",
        "{{ 'abc'|reverse }}{{ 'abc'|slice(2) }}{{ [1, 1]|unique }}{{ {'a': 1}|items }}{{ [1]|reject('odd') }}",
        "{{ messages[0].items }}{{ messages[0]['items'] }}{{ 'a'.upper }}{{ [messages[0].items] }}{{ 'a'.format }}",
        "{% for a in messages %}{{ loop }}{{ loop.cycle }}{{ loop.changed }}{% endfor %}",
        "{% macro f() %}{{ f }}{{ caller }}{% endmacro %}{{ f }}{% call f() %}{% endcall %}",
        "{% block b %}{{ self }}{{ self.b }}{% endblock %}",
        "{{ {'a': 1, 'bc': 2, 'def': 3, 'g': 4}.keys() - ['a'] }}",
        "{{ 'x'.join({'a': 1, 'bc': 2, 'def': 3, 'g': 4}.keys() - []) }}",
        "{{ {}.keys }}{{ {}.items() }}{{ 1 .bit_length }}{{ 'a'.maketrans('a', 'b') }}",
        "{{ messages|groupby('role') }}{{ messages|map('upper')|list }}{{ 1|string|e }}",
    ],
)
def test_the_same_messages_give_the_same_text(source):
    texts = set()
    for _ in range(2):
        texts.add(rendered(source))
        chat_process.renderer.close()  # another process has other addresses and other hashes
    (text,) = texts
    assert "0x" not in text


@settings(max_examples=60, deadline=None)
@given(
    parts=st.lists(
        st.sampled_from(
            "{{ }} {% %} {# #} for in if else endif endfor set macro endmacro loop range ( ) [ ] . , : | ~ * ** "
            "/ // - + < == ' \" 1 10**9 0 'x' true none is not defined and namespace join map tojson replace format "
            "center indent batch content role \\u \\ud800 \n \x00 é 9999999999".split(" ")
        ),
        max_size=14,
    )
)
def test_broken_templates(parts):
    try:
        text = rendered(" ".join(parts))
    except InputError as error:
        assert str(error).startswith("template")
    else:
        assert isinstance(text, str)


def test_many_conversations_and_the_errors_of_some():
    source = "{% if messages|length > 2 %}{{ raise_exception('too many') }}{% endif %}{{ messages[0].content }}"
    template = ChatTemplate(source=source)
    rows = [[MESSAGES[0]] * n for n in (1, 3, 2)]
    first, second, third = template.render_all(rows)
    assert (first, third) == ("hello", "hello") and "too many" in str(second)
    long = [[{"role": "user", "content": f"{n}" * 100_000}] for n in range(10)]
    assert [text[0] for text in template.render_all(long)] == list("0123456789")
    assert template.render_all([]) == []


def test_what_is_no_json():
    for value in ({1}, "\ud800"):
        with pytest.raises(InputError, match=r"^template: "):
            ChatTemplate(source="{{ x }}", name="template").render(MESSAGES, variables={"x": value})


def test_a_process_that_was_stopped_is_replaced():
    assert rendered("{{ messages[0].content }}") == "hello"
    chat_process.renderer._process.kill()
    with pytest.raises(TemplateError, match="ended the process"):
        rendered("{{ messages[0].content }}")
    assert rendered("{{ messages[0].content }}") == "hello"


@pytest.mark.parametrize("value", ["", "0", "-1", "1.5", "many", "1" * 5_000, "٣"])
def test_limits_that_are_none(value, monkeypatch):
    monkeypatch.setenv("TRACEWARD_TEMPLATE_SECONDS", value)
    with pytest.raises(InputError, match=r"^TRACEWARD_TEMPLATE_SECONDS=.*: expected a positive integer"):
        rendered("a")
