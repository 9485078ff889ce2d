"""Chat templates from a grammar of Jinja: what they may and may not do, errors, and bombs of time and memory."""

import json
from pathlib import Path
from random import Random
from typing import Any

from irl.text.chat import ChatTemplate, chat_template_of
from reward_models.folders.tokenizer_files import read_folder
from tests.fuzz import mutate
from tests.fuzz.cases import Case, Target

MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Why?"},
    {"role": "assistant", "content": "So."},
]
ATOMS = (
    "messages",
    "m",
    "m.role",
    "m['content']",
    "bos_token",
    "x",
    "ns",
    "loop",
    "loop.index",
    "1",
    "-1",
    "0",
    "1.5",
    "10**9",
    "1000000000",
    "'a'",
    "'%080000000000d'",
    "''",
    "none",
    "true",
    "[]",
    "[1, 2]",
    "{}",
    "{'a': 1}",
    "()",
    "range(10)",
    "range(100000)",
    "range(10**9)",
    "undefined",
    "tools",
    "cycler",
    "joiner",
    "lipsum",
    "dict",
    "namespace",
    "self",
    "caller",
    "varargs",
    "raise_exception",
    "strftime_now",
)
ATTRIBUTES = (
    "__class__",
    "__init__",
    "__globals__",
    "_x",
    "role",
    "content",
    "items",
    "keys",
    "format",
    "join",
    "replace",
    "upper",
    "append",
    "mro",
    "func_globals",
    "format_map",
    "ljust",
    "zfill",
    "expandtabs",
    "center",
    "encode",
    "translate",
    "count",
    "split",
)
FILTERS = (
    "upper",
    "trim",
    "tojson",
    "tojson(indent=1000000000)",
    "length",
    "list",
    "first",
    "last",
    "join(',')",
    "random",
    "sum",
    "int",
    "float",
    "string",
    "abs",
    "round(400)",
    "batch(1000000000)",
    "slice(1000000000)",
    "indent(1000000000)",
    "center(1000000000)",
    "format('a')",
    "replace('a', 'aaaaaaaaaa')",
    "replace('', 'aaaaaaaaaa')",
    "map('upper')",
    "map(attribute='role')",
    "selectattr('role', 'equalto', 'user')",
    "groupby('role')",
    "sort",
    "unique",
    "reverse",
    "xmlattr",
    "urlize",
    "wordwrap(0)",
    "truncate(-5)",
    "filesizeformat",
    "pprint",
    "dictsort",
    "attr('__class__')",
    "default('x')",
    "safe",
    "escape",
    "striptags",
    "wordcount",
    "items",
    "nosuchfilter",
    "max",
    "min",
    "tojson",
)
TESTS = (
    "defined",
    "none",
    "string",
    "mapping",
    "iterable",
    "sameas m",
    "divisibleby(0)",
    "in messages",
    "nosuchtest",
    "odd",
)
_GROWING = "{%% set ns = namespace(x=%s) %%}{%% for i in range(99) %%}{%% set ns.x = %s %%}{%% endfor %%}{{ ns.x }}"
BOMBS = (
    "{{ '%08000000000d' % 1 }}",
    "{{ '{:>8000000000}'.format(1) }}",
    "{{ lipsum(n=100000000) }}",
    "{{ 'a'.ljust(8000000000) }}",
    "{{ 'a' | center(8000000000) }}",
    "{{ '\\t'.expandtabs(8000000000) }}",
    "{{ '1'.zfill(8000000000) }}",
    "{{ range(1000000000) | list | length }}",
    "{{ range(1000000000) | join }}",
    "{{ range(99999999) | sum }}",
    "{{ ([1] | list + [2]) | tojson(indent=900000000) }}",
    "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}",
    _GROWING % ("'aa'", "ns.x.replace('a', 'aa')"),
    _GROWING % ("'aa'", "ns.x ~ ns.x"),
    _GROWING % ("'aa'", "ns.x + ns.x"),
    "{% set ns = namespace(x=[1]) %}{% for i in range(99) %}{% set ns.x = ns.x + ns.x %}{% endfor %}{{ ns.x|length }}",
    "{% set ns = namespace(x=[]) %}{% for i in range(5000) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x }}",
    "{% set ns = namespace(x=[]) %}{% for i in range(5000) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x|tojson }}",
    _GROWING % ("'aa'", "[ns.x, ns.x] | join"),
    _GROWING % ("9", "ns.x * ns.x"),
    "{% set x = 'aa' %}" + "{% set x %}{{ x }}{{ x }}{% endset %}" * 60,
    "{{ 'a' * 8000000000 }}",
    "{{ 9 ** 999999999 }}",
    "{{ 1 << 8000000000 }}",
    "{{ messages | random }}",
    "{{ dict(a=1) | xmlattr }}{{ cycler(1) }}{{ joiner() }}",
    "{{ '{0.__class__.__mro__}'.format(1) }}",
    "{{ '{a.__init__.__globals__}'.format_map({'a': joiner}) }}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{% for i in range(10) recursive %}{{ loop(range(10)) }}{% endfor %}",
    "{% set ns = namespace(x='a b ') %}{% for i in range(30) %}{% set ns.x = ns.x | replace(' ', ns.x) %}{% endfor %}",
    "{% set x = ['a'] | batch(2000000000, 'x') | list %}{{ x }}",
    "{{ '%*d' % (2000000000, 1) }}",
    "{{ '{:2000000000}'.format(1) }}",
    "{{ 'a' | indent(2000000000, true) }}",
    "{{ ('a' ~ '\\n') | indent(999999999) }}",
    "{{ 'x' | wordwrap(1, true, 'y' ) }}",
    "{% include 'x' %}",
    "{% import 'x' as y %}",
    "{% extends 'x' %}",
    "{{ " + "(" * 500 + "1" + ")" * 500 + " }}",
    "{{ " + "not " * 5000 + "1 }}",
    "{{ " + "[" * 5000 + " }}",
    "{{ 1" + " + 1" * 20000 + " }}",
    "{{ " + "9" * 5000 + " }}",
    "{% if true %}" * 300 + "{% endif %}" * 300,
    "{% for i in [1] %}" * 30 + "{% endfor %}" * 30,
)


def expression(rng: Random, depth: int | None = None) -> str:
    """A random expression of the sandbox's language."""
    depth = rng.choice((1, 1, 2, 3)) if depth is None else depth
    if depth == 0 or rng.random() < 0.15:
        return rng.choice(ATOMS)
    inner = expression(rng, depth - 1)
    match rng.randrange(9):
        case 0:
            return f"{inner} {rng.choice(('+', '-', '*', '/', '//', '%', '**', '~', '==', '<', 'and', 'in'))} " + (
                expression(rng, depth - 1)
            )
        case 1 | 2:
            return f"({inner}) | {rng.choice(FILTERS)}"
        case 3:
            return f"({inner}).{rng.choice(ATTRIBUTES)}"
        case 4:
            return f"({inner})[{expression(rng, depth - 1)}]"
        case 5:
            return f"({inner})({expression(rng, depth - 1) if rng.random() < 0.7 else ''})"
        case 6:
            return f"({inner}) is {rng.choice(TESTS)}"
        case 7:
            return f"({inner})[{rng.choice(('0:', ':-1', '::0', '::-1', '-1'))}]"
        case _:
            call = rng.choice((".format", ".replace", ".join", ".split", ".ljust", ".zfill"))
            return f"({inner}){call}({expression(rng, depth - 1)}, {rng.choice(ATOMS)})"


def statement(rng: Random, depth: int = 2) -> str:
    """A random piece of a template."""
    if depth == 0:
        return f"{{{{ {expression(rng)} }}}}"
    inner = statement(rng, depth - 1)
    match rng.randrange(9):
        case 0:
            return f"{{% for m in {rng.choice(('messages', expression(rng)))} %}}{inner}{{% endfor %}}"
        case 1:
            return f"{{% if {expression(rng)} %}}{inner}{{% else %}}{statement(rng, 0)}{{% endif %}}"
        case 2:
            return f"{{% set x = {expression(rng)} %}}{inner}"
        case 3:
            return f"{{% macro f(a={expression(rng, 1)}) %}}{inner}{{% endmacro %}}{{{{ f({expression(rng, 1)}) }}}}"
        case 4:
            return f"{{% generation %}}{inner}{{% endgeneration %}}"
        case 5:
            return f"{{% set ns = namespace(x={expression(rng, 1)}) %}}{{% set ns.x = {expression(rng)} %}}{inner}"
        case 6:
            return f"{{% filter {rng.choice(FILTERS)} %}}{inner}{{% endfilter %}}"
        case 7:
            return f"{{% call f() %}}{inner}{{% endcall %}}{{% break %}}"
        case _:
            return inner + statement(rng, depth - 1)


def _source(rng: Random) -> str:
    """A template: of the grammar, a bomb, or text with pieces missing."""
    source = rng.choice(BOMBS) if rng.random() < 0.05 else statement(rng)
    if rng.random() < 0.2:
        source = f"{{% for m in messages %}}{{{{ m.content }}}}{source}{{% endfor %}}"
    if rng.random() < 0.15:
        at = rng.randrange(len(source))
        source = source[:at] + rng.choice(("", "{{", "%}", "{#", "'", "\x00", "\ud800", "|")) + source[at + 1 :]
    return source


def _draw_template(rng: Random, prepared: Any, folder: Path) -> Case:
    """Render random messages with a random template, given or read from a folder."""
    source = _source(rng)
    messages = mutate.json_value(rng, MESSAGES) if rng.random() < 0.2 else MESSAGES
    places = ("fuzzed template", "messages")
    if rng.random() < 0.8:
        template = ChatTemplate(source=source, special_tokens={"bos_token": "<s>"}, name="fuzzed template")
        return Case(lambda: template.render(messages), places, what=source[:200])
    config = {"bos_token": "<s>", "eos_token": {"content": "</s>"}, "chat_template": source}
    if rng.random() < 0.3:
        config["chat_template"] = [{"name": "default", "template": source}, {"name": "rag", "template": "x"}]
    if rng.random() < 0.5:
        config = mutate.json_value(rng, config, ["chat_template", "pad_token"])
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    if rng.random() < 0.3:
        (folder / "chat_template.jinja").write_bytes(mutate.bytes_(rng, source.encode("utf-8", "surrogatepass")))

    def read() -> str:
        template = chat_template_of(read_folder(folder))
        return "" if template is None else template.render(messages)

    return Case(read, (str(folder), "messages"), what=source[:200])


TARGETS = (Target("templates", 12, lambda folder: None, _draw_template),)
