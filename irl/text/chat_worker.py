"""The program of the process that renders chat templates; chat_process.py starts it and talks to it.

A request is a line of JSON, [number, source | null, date | null, [variables, ...], [seconds, characters]]; the source
of a template is sent with its first request. The reply to every conversation is "STATUS LENGTH\\n" and so many bytes
of UTF-8. This file runs as a script, with nothing of the project imported, so that the process starts fast.

Rendering is deterministic: Jinja's `random` and `lipsum` are not there, and no value that a template can reach is
printed with its address in memory.
"""

import datetime
import functools
import json
import resource
import signal
import sys
import time
import types
from collections.abc import Iterator
from typing import Any

import jinja2
import jinja2.ext
from jinja2.runtime import BlockReference
from jinja2.sandbox import ImmutableSandboxedEnvironment, SecurityError
from jinja2.utils import Cycler, Joiner

SHOWN = 300
"""Characters of the longest error message."""
_FUNCTIONS = (types.FunctionType, types.MethodType, types.BuiltinFunctionType, BlockReference)
_ITERATORS = ("batch", "items", "map", "reject", "rejectattr", "reverse", "select", "selectattr", "slice", "unique")


class Refused(Exception):
    """The template refuses the messages, or asks for something that it does not get."""


class TooLong(Exception):
    """The template writes too many characters."""


class Method:
    """A method or function that is printed without its address."""

    __slots__ = ("_call",)

    def __init__(self, call: Any):
        self._call = call

    def __call__(self, *args: Any, **options: Any) -> Any:
        return self._call(*args, **options)

    def __repr__(self) -> str:
        return "<function>"


class NamelessCycler(Cycler):
    __repr__ = Method.__repr__


class NamelessJoiner(Joiner):
    __repr__ = Method.__repr__


class Generation(jinja2.ext.Extension):
    """`{% generation %}` marks what the assistant wrote, for training; the text inside is written as it is."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.Scope(body, lineno=line)


class Sandbox(ImmutableSandboxedEnvironment):
    """Jinja's immutable sandbox without multiplication of texts and lists, and without powers."""

    intercepted_binops = frozenset(["*", "**"])

    def unsafe_undefined(self, obj, attribute):
        raise SecurityError(f"{type(obj).__name__}.{attribute}")

    def call_binop(self, context, operator, left, right):
        if operator == "**" or not all(isinstance(side, int | float) for side in (left, right)):
            raise SecurityError(f"{type(left).__name__} {operator} {type(right).__name__}")
        return left * right

    def getattr(self, obj, attribute):
        if isinstance(obj, Method) and attribute.startswith("_"):
            self.unsafe_undefined(obj, attribute)
        return _nameless(super().getattr(obj, attribute))

    def getitem(self, obj, argument):
        return _nameless(super().getitem(obj, argument))


def environment(date: str | None) -> Sandbox:
    """Where templates are compiled; `date` is the answer to `strftime_now`."""
    sandbox = Sandbox(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])
    day = None if date is None else datetime.date.fromisoformat(date)

    def strftime_now(form: str) -> str:
        if day is None:
            raise Refused("asks for today's date, and scores would change with it; give a date (--date YYYY-MM-DD)")
        return day.strftime(form)

    def raise_exception(message: str) -> None:
        raise Refused(f"refuses these messages: {message}")

    for name in ("lipsum", "cycler", "joiner"):
        del sandbox.globals[name]
    sandbox.globals |= {"strftime_now": strftime_now, "raise_exception": raise_exception}
    sandbox.globals = {name: _nameless(value) for name, value in sandbox.globals.items()}
    sandbox.globals |= {"cycler": NamelessCycler, "joiner": NamelessJoiner}
    del sandbox.filters["random"]
    sandbox.filters |= {name: _listed(sandbox.filters[name]) for name in _ITERATORS}
    sandbox.filters["tojson"] = _to_json
    return sandbox


def _nameless(value: Any) -> Any:
    return Method(value) if isinstance(value, _FUNCTIONS) else value


def _listed(make: Any) -> Any:
    """A filter that gives a list in place of an iterator."""

    @functools.wraps(make)
    def listed(*args: Any, **options: Any) -> Any:
        result = make(*args, **options)
        return result if isinstance(result, str) else list(result)

    return listed


def _to_json(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def render(template: jinja2.Template, variables: dict[str, Any], longest: int) -> str:
    """The text of a template. Raises TooLong as soon as it has more characters than allowed."""
    parts, length = [], 0
    for part in template.generate(variables):
        parts.append(part)
        length += len(part)
        if length > longest:
            raise TooLong
    return "".join(parts)


def replies(templates: dict[int, jinja2.Template], request: bytes) -> Iterator[tuple[str, str]]:
    """The status and the text or error message of every conversation of a request."""
    number, source, date, conversations, (seconds, longest) = json.loads(request)
    for variables in conversations:
        resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time()) + 1 + seconds, resource.RLIM_INFINITY))
        try:
            if number not in templates:
                templates[number] = environment(date).from_string(source)
            yield "text", render(templates[number], variables, longest)
        except TooLong:
            yield "long", ""
        except Refused as error:
            yield "refused", str(error)
        except SecurityError as error:
            yield "unsafe", str(error)
        except jinja2.TemplateSyntaxError as error:
            yield "syntax", f"line {error.lineno}: {error.message}"
        except MemoryError:
            yield "memory", ""
        except Exception as error:  # a template is a program and can raise anything
            yield "failed", f"{type(error).__name__}: {error}"


def send(status: str, text: str) -> None:
    try:
        data = (text if status == "text" else text[:SHOWN]).encode()
    except UnicodeEncodeError:
        status, data = "failed", b"the text has half of a surrogate pair, which is no Unicode character"
    sys.stdout.buffer.write(b"%s %d\n%s" % (status.encode(), len(data), data))


def main(megabytes: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (megabytes << 20, megabytes << 20))
    templates: dict[int, jinja2.Template] = {}
    for request in sys.stdin.buffer:
        for reply in replies(templates, request):
            send(*reply)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]))
