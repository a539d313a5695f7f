"""Code of users in which a metric depends on a text: one way of depending each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Dependency:
    """Code of a metric, and an edit of a text that the metric depends on."""

    code: str
    old: str = "'before'"
    new: str = "'after'"
    package: Mapping[str, str] | None = None
    file: str = "user_code.py"


HELPER = "def helper():\n    return 'before'\n\n\n"
HELD = (
    "def variable(word):\n    return contextvars.ContextVar('word', default=word)\n"
    "def settings(word):\n    parser = configparser.ConfigParser()\n"
    "    parser.read_dict({'DEFAULT': {'a': word}})\n    return parser\n"
    "class Table(dict):\n    def __init__(self, word):\n        self.word = word\n"
    "class Text(str):\n    def __new__(cls, word):\n        text = super().__new__(cls)\n"
    "        text.word = word\n        return text\n"
)
"""What makes values that hold a text elsewhere than in their items."""
DEPENDENCIES = {
    "lambda": Dependency("metric = lambda example, prediction, trace=None: 'before'\n"),
    "a call": Dependency(HELPER + "def metric(e, p, trace=None):\n    return helper()\n"),
    "a nested function": Dependency(
        HELPER
        + "def metric(e, p, trace=None):\n    def inner():\n        return helper()\n"
        + "    return inner()\n"
    ),
    "a comprehension": Dependency(
        HELPER + "def metric(e, p, trace=None):\n    return [helper() for _ in 'ab']\n"
    ),
    "a function as default argument": Dependency(
        HELPER + "def metric(e, p, trace=None, by=helper):\n    return by()\n"
    ),
    "a table of functions": Dependency(
        HELPER + "TABLE = [('a', helper)]\ndef metric(e, p, trace=None):\n    return TABLE\n"
    ),
    "a partial": Dependency(
        "import functools\n"
        + HELPER.replace("()", "(e, p, trace=None)", 1)
        + "metric = functools.partial(helper)\n"
    ),
    "an argument of a partial": Dependency(
        "import functools\ndef graded(e, p, trace=None, by=''):\n    return by\n"
        "metric = functools.partial(graded, by='before')\n"
    ),
    "a global partial": Dependency(
        "import functools\n" + HELPER + "short = functools.partial(helper)\n"
        "def metric(e, p, trace=None):\n    return short()\n"
    ),
    "a cached function": Dependency(
        "import functools\n@functools.cache\n"
        + HELPER
        + "def metric(e, p, trace=None):\n    return helper()\n"
    ),
    "a cached metric": Dependency(
        "import functools\n@functools.lru_cache\ndef metric(e, p, trace=None):\n"
        "    return 'before'\n"
    ),
    "a decorated metric's helper": Dependency(
        "import functools\ndef logged(function):\n    @functools.wraps(function)\n"
        "    def wrapper(*args):\n        return function(*args)\n    return wrapper\n"
        + HELPER
        + "@logged\ndef metric(e, p, trace=None):\n    return helper()\n"
    ),
    "a decorator's body": Dependency(
        "import functools\ndef graded(function):\n    @functools.wraps(function)\n"
        "    def wrapper(*args):\n        return function(*args) == 'before'\n    return wrapper\n"
        "@graded\ndef metric(e, p, trace=None):\n    return True\n"
    ),
    "a decorator without wraps": Dependency(
        "def graded(function):\n    def wrapper(*args):\n        return function(*args)\n"
        "    return wrapper\n"
        + HELPER
        + "@graded\ndef metric(e, p, trace=None):\n    return helper()\n"
    ),
    "the first of two closures from one factory": Dependency(
        "def has(word):\n    def check(p):\n        return word in p\n    return check\n"
        "def both(*checks):\n    def metric(e, p, trace=None):\n"
        "        return all(check(p) for check in checks)\n    return metric\n"
        "metric = both(has('before'), has('always'))\n"
    ),
    "the second of two closures from one factory": Dependency(
        "def has(word):\n    def check(p):\n        return word in p\n    return check\n"
        "def both(*checks):\n    def metric(e, p, trace=None):\n"
        "        return all(check(p) for check in checks)\n    return metric\n"
        "metric = both(has('always'), has('before'))\n"
    ),
    "the second of two lambdas": Dependency(
        "CHECKS = [lambda p: 'always', lambda p: LABEL]\nLABEL = 'before'\n"
        "def metric(e, p, trace=None):\n    return all(check(p) for check in CHECKS)\n"
    ),
    "a bound method": Dependency(
        "class Judge:\n    def score(self, e, p, trace=None):\n        return 'before'\n"
        "metric = Judge().score\n"
    ),
    "the state behind a bound method": Dependency(
        "class Judge:\n    def __init__(self, word):\n        self.word = word\n"
        "    def score(self, e, p, trace=None):\n        return self.word\n"
        "metric = Judge('before').score\n"
    ),
    "a callable object": Dependency(
        "class Judge:\n    def __call__(self, e, p, trace=None):\n        return 'before'\n"
        "metric = Judge()\n"
    ),
    "a callable dataclass": Dependency(
        "import dataclasses\n@dataclasses.dataclass\nclass Judge:\n    word: str = 'always'\n"
        "    def __call__(self, e, p, trace=None):\n        return 'before'\nmetric = Judge()\n"
    ),
    "a callable pydantic model": Dependency(
        "import pydantic\nclass Judge(pydantic.BaseModel):\n    word: str = 'always'\n"
        "    def __call__(self, e, p, trace=None):\n        return 'before'\nmetric = Judge()\n"
    ),
    "a static method": Dependency(
        HELPER + "class Judge:\n    @staticmethod\n    def score():\n        return helper()\n"
        "def metric(e, p, trace=None):\n    return Judge.score()\n"
    ),
    "a class method": Dependency(
        HELPER + "class Judge:\n    @classmethod\n    def score(cls):\n        return helper()\n"
        "def metric(e, p, trace=None):\n    return Judge.score()\n"
    ),
    "a property": Dependency(
        HELPER + "class Judge:\n    @property\n    def score(self):\n        return helper()\n"
        "def metric(e, p, trace=None):\n    return Judge().score\n"
    ),
    "a cached property": Dependency(
        "import functools\n"
        + HELPER
        + "class Judge:\n    @functools.cached_property\n    def score(self):\n"
        "        return helper()\ndef metric(e, p, trace=None):\n    return Judge().score\n"
    ),
    "a nested class": Dependency(
        HELPER + "class Judge:\n    class Inner:\n        def score(self):\n"
        "            return helper()\ndef metric(e, p, trace=None):\n"
        "    return Judge.Inner().score()\n"
    ),
    "a base class's method": Dependency(
        HELPER + "class Base:\n    def score(self):\n        return helper()\n"
        "class Judge(Base):\n    pass\ndef metric(e, p, trace=None):\n    return Judge().score()\n"
    ),
    "a class attribute": Dependency(
        "WORD = 'before'\nclass Judge:\n    word = WORD\n"
        "def metric(e, p, trace=None):\n    return Judge.word\n"
    ),
    "an enum": Dependency(
        "import enum\nclass Label(enum.Enum):\n    GOOD = 'before'\n"
        "def metric(e, p, trace=None):\n    return Label.GOOD\n"
    ),
    "a judge's instruction": Dependency(
        "import dspy\njudge = dspy.Predict(dspy.Signature('answer -> good', 'before'))\n"
        "def metric(e, p, trace=None):\n    return judge(answer=p.answer).good\n",
        "'before'",
        "'after'",
    ),
    "a judge's signature": Dependency(
        "import dspy\njudge = dspy.ChainOfThought('answer -> good')\n"
        "def metric(e, p, trace=None):\n    return judge(answer=p.answer)\n",
        "answer -> good",
        "answer -> good: bool",
    ),
    "a judge's model": Dependency(
        "import dspy\nlm = dspy.LM('openai/before')\n"
        "def metric(e, p, trace=None):\n    return lm(p.answer)\n",
        "openai/before",
        "openai/after",
    ),
    "an imported module": Dependency(
        "import shop\ndef metric(e, p, trace=None):\n    return shop.helper()\n",
        package={"shop.py": HELPER},
        file="shop.py",
    ),
    "a constant of an imported module": Dependency(
        "import shop\ndef metric(e, p, trace=None):\n    return shop.WORD\n",
        package={"shop.py": "WORD = 'before'\n"},
        file="shop.py",
    ),
    "a module imported from a package": Dependency(
        "from shop import texts\ndef metric(e, p, trace=None):\n    return texts.helper()\n",
        package={"shop/__init__.py": "", "shop/texts.py": HELPER},
        file="shop/texts.py",
    ),
    "a module imported by its dotted name": Dependency(
        "import shop.texts\ndef metric(e, p, trace=None):\n    return shop.texts.helper()\n",
        package={"shop/__init__.py": "", "shop/texts.py": HELPER},
        file="shop/texts.py",
    ),
    "a module of a namespace package": Dependency(
        "import shop.texts\ndef metric(e, p, trace=None):\n    return shop.texts.helper()\n",
        package={"shop/texts.py": HELPER},
        file="shop/texts.py",
    ),
    "a judge's demo": Dependency(
        "import dspy\njudge = dspy.Predict('answer -> good')\n"
        "judge.demos = [dspy.Example(answer='before', good='yes')]\n"
        "def metric(e, p, trace=None):\n    return judge(answer=p.answer)\n"
    ),
    "a judge's config": Dependency(
        "import dspy\njudge = dspy.Predict('answer -> good', stop=['before'])\n"
        "def metric(e, p, trace=None):\n    return judge(answer=p.answer)\n"
    ),
    "a user's kind of model": Dependency(
        "import dspy\nclass Model(dspy.LM):\n    def forward(self, *args, **kwargs):\n"
        "        return 'before'\nlm = Model('openai/gpt-test')\n"
        "def metric(e, p, trace=None):\n    return lm(p.answer)\n"
    ),
    "a user's engine": Dependency(
        "import dspy\nclass Engine:\n    def complete(self, request):\n        return 'before'\n"
        "lm = dspy.LM('scripted', engine=Engine())\n"
        "def metric(e, p, trace=None):\n    return lm(p.answer)\n"
    ),
    "a user's adapter": Dependency(
        "import dspy\nclass Quiet(dspy.ChatAdapter):\n    def format(self, *args):\n"
        "        return 'before'\nadapter = Quiet()\n"
        "def metric(e, p, trace=None):\n    return adapter\n"
    ),
    "a global object": Dependency(
        "class Rubric:\n    def __init__(self, word):\n        self.word = word\n"
        "rubric = Rubric('before')\ndef metric(e, p, trace=None):\n    return rubric.word\n"
    ),
    "a global object with slots": Dependency(
        "class Rubric:\n    __slots__ = ('word',)\n    def __init__(self, word):\n"
        "        self.word = word\n"
        "rubric = Rubric('before')\ndef metric(e, p, trace=None):\n    return rubric.word\n"
    ),
    "a global object that also holds a lock": Dependency(
        "import threading\nclass Rubric:\n    def __init__(self, word):\n        self.word = word\n"
        "        self.lock = threading.Lock()\n"
        "rubric = Rubric('before')\ndef metric(e, p, trace=None):\n    return rubric.word\n"
    ),
    "a global array": Dependency(
        "import numpy as np\nWEIGHTS = np.array([1.5, 2.0])\n"
        "def metric(e, p, trace=None):\n    return WEIGHTS\n",
        "1.5",
        "1.6",
    ),
    "a default of a dataclass": Dependency(
        "import dataclasses\nWORD = 'before'\n@dataclasses.dataclass\nclass Judge:\n"
        "    word: str = WORD\ndef metric(e, p, trace=None):\n    return Judge().word\n"
    ),
    "a default of a pydantic model": Dependency(
        "import pydantic\nWORD = 'before'\nclass Judge(pydantic.BaseModel):\n"
        "    word: str = WORD\ndef metric(e, p, trace=None):\n    return Judge().word\n"
    ),
    "a decorator of a method": Dependency(
        "import functools\ndef graded(function):\n    @functools.wraps(function)\n"
        "    def wrapper(*args):\n        return function(*args) == 'before'\n    return wrapper\n"
        "class Judge:\n    @graded\n    def score(self):\n        return True\n"
        "def metric(e, p, trace=None):\n    return Judge().score()\n"
    ),
    "a method that was assigned": Dependency(
        "class Judge:\n    pass\ndef score(self):\n    return 'before'\nJudge.score = score\n"
        "def metric(e, p, trace=None):\n    return Judge().score()\n"
    ),
    "a dispatched function": Dependency(
        "import functools\n@functools.singledispatch\ndef score(value):\n    return 1\n"
        "@score.register(str)\ndef _of_text(value):\n    return 'before'\n"
        "def metric(e, p, trace=None):\n    return score(p.answer)\n"
    ),
    "a context manager": Dependency(
        "import contextlib\n@contextlib.contextmanager\ndef judge():\n    yield 'before'\n"
        "def metric(e, p, trace=None):\n    with judge() as word:\n        return word\n"
    ),
    "a validator of an output's type": Dependency(
        "import dspy, pydantic\nclass Ticket(pydantic.BaseModel):\n    queue: str\n"
        "    @pydantic.field_validator('queue')\n    @classmethod\n    def known(cls, value):\n"
        "        return 'before'\nclass Routing(dspy.Signature):\n    '''Route.'''\n"
        "    text: str = dspy.InputField()\n    found: list[Ticket] = dspy.OutputField()\n"
        "judge = dspy.Predict(Routing)\n"
        "def metric(e, p, trace=None):\n    return judge(text='')\n"
    ),
    "the space inside a text of several lines": Dependency(
        "def make():\n    def metric(e, p, trace=None):\n        return '''\n    before'''\n"
        "    return metric\nmetric = make()\n",
        "    before",
        "  before",
    ),
    "a relative import inside a function": Dependency(
        "import shop.judge\nmetric = shop.judge.metric\n",
        package={
            "shop/__init__.py": "",
            "shop/texts.py": HELPER,
            "shop/judge.py": "def metric(e, p, trace=None):\n    from .texts import helper\n"
            "    return helper()\n",
        },
        file="shop/texts.py",
    ),
    "an import of a module inside a function": Dependency(
        "def metric(e, p, trace=None):\n    import shop.texts as texts\n"
        "    return texts.helper()\n",
        package={"shop/__init__.py": "", "shop/texts.py": HELPER},
        file="shop/texts.py",
    ),
    "an attribute of a function": Dependency(
        "def metric(e, p, trace=None):\n    return metric.word\nmetric.word = 'before'\n"
    ),
    "a function that is an attribute of a helper": Dependency(
        "def always():\n    return True\ndef last():\n    return 'before'\nalways.other = last\n"
        "def metric(e, p, trace=None):\n    return always.other()\n"
    ),
    "the second of two lambdas on a line": Dependency(
        "CHECKS = [lambda p: 'always', lambda p: 'before']\n"
        "def metric(e, p, trace=None):\n    return all(check(p) for check in CHECKS)\n"
    ),
    "the order of an ordered dictionary": Dependency(
        "import collections\nRULES = collections.OrderedDict([('a', 1), ('b', 2)])\n"
        "def metric(e, p, trace=None):\n    return RULES\n",
        "[('a', 1), ('b', 2)]",
        "[('b', 2), ('a', 1)]",
    ),
    "a metaclass": Dependency(
        "class Made(type):\n    def __call__(cls):\n        return 'before'\n"
        "class Judge(metaclass=Made):\n    pass\n"
        "def metric(e, p, trace=None):\n    return Judge()\n"
    ),
    "the factory of a dictionary's defaults": Dependency(
        "import collections\nWORDS = collections.defaultdict(lambda: 'before')\n"
        "def metric(e, p, trace=None):\n    return WORDS[0]\n"
    ),
    "what makes a module's attributes": Dependency(
        "import shop\ndef metric(e, p, trace=None):\n    return shop.words\n",
        package={"shop.py": "def __getattr__(name):\n    return 'before'\n"},
        file="shop.py",
    ),
    **{
        f"a class in the annotations of {kind}": Dependency(
            "import collections, dataclasses, pydantic, typing\n"
            "class Word(pydantic.BaseModel):\n    text: str\n"
            "    @pydantic.field_validator('text')\n    @classmethod\n    def known(cls, value):\n"
            f"        return 'before'\n{head}:\n    words: list[Word] | None\n"
            "def metric(e, p, trace=None):\n    return pydantic.TypeAdapter(Text)\n"
        )
        for kind, head in (
            ("a pydantic model", "class Text(pydantic.BaseModel)"),
            ("a dataclass", "@dataclasses.dataclass\nclass Text"),
            ("a typed dictionary", "class Text(typing.TypedDict)"),
            ("a named tuple", "class Text(typing.NamedTuple)"),
        )
    },
    **{
        f"a validator in {kind}": Dependency(
            "import pydantic, typing\ndef known(value):\n    return 'before'\n"
            "Word = typing.Annotated[str, pydantic.AfterValidator(known)]\n"
            f"class Text(pydantic.BaseModel):\n    words: {annotation}\n"
            "def metric(e, p, trace=None):\n    return Text()\n"
        )
        for kind, annotation in (
            ("an annotation", "Word"),
            ("a part of an annotation", "'dict[str, list[Word]]'"),
        )
    },
    "a class in a global annotation": Dependency(
        "import typing\nclass Word:\n    text = 'before'\nWORDS = typing.List[Word]\n"
        "def metric(e, p, trace=None):\n    return typing.get_args(WORDS)\n"
    ),
    **{
        f"a global {kind}": Dependency(
            "import argparse, array, collections, contextvars, datetime, decimal, fractions\n"
            "import configparser, ipaddress, operator, pathlib, re, string, struct, types\n"
            f"import typing, zoneinfo\n{HELD}RULES = {old}\n"
            "def metric(e, p, trace=None):\n    return RULES\n",
            old,
            new,
        )
        for kind, old, new in (
            ("bytes", "b'before'", "b'after'"),
            ("range", "range(3)", "range(4)"),
            ("fraction", "fractions.Fraction(1, 2)", "fractions.Fraction(1, 3)"),
            ("array of numbers", "array.array('i', [1])", "array.array('i', [2])"),
            ("deque", "collections.deque('ab')", "collections.deque('ba')"),
            ("read-only mapping", "types.MappingProxyType({1: 2})", "types.MappingProxyType({})"),
            ("namespace", "types.SimpleNamespace(a=1)", "types.SimpleNamespace(a=2)"),
            ("getter", "operator.itemgetter(0)", "operator.itemgetter(1)"),
            ("builtin function", "max", "min"),
            ("path", "pathlib.Path('before')", "pathlib.Path('after')"),
            ("time zone", "zoneinfo.ZoneInfo('UTC')", "zoneinfo.ZoneInfo('GMT')"),
            ("slice", "slice(1)", "slice(2)"),
            ("template", "string.Template('before')", "string.Template('after')"),
            ("address", "ipaddress.ip_address('::1')", "ipaddress.ip_address('::2')"),
            ("network", "ipaddress.ip_network('1.0.0.0/8')", "ipaddress.ip_network('2.0.0.0/8')"),
            ("method of a pattern", "re.compile('before').search", "re.compile('after').search"),
            ("method of a text", "'before'.format", "'after'.format"),
            ("method of a table", "{1: 'before'}.get", "{1: 'after'}.get"),
            ("annotation", "typing.Literal['before']", "typing.Literal['after']"),
            ("namespace of options", "argparse.Namespace(a=1)", "argparse.Namespace(a=2)"),
            ("wrapped dictionary", "collections.UserDict(a=1)", "collections.UserDict(a=2)"),
            ("wrapped list", "collections.UserList([1])", "collections.UserList([2])"),
            ("wrapped text", "collections.UserString('a')", "collections.UserString('b')"),
            ("view of keys", "{'before': 1}.keys()", "{'after': 1}.keys()"),
            ("view of values", "{1: 'before'}.values()", "{1: 'after'}.values()"),
            ("view of bytes", "memoryview(b'before')", "memoryview(b'after')"),
            ("format of bytes", "struct.Struct('<I')", "struct.Struct('<H')"),
            ("arithmetic", "decimal.Context(prec=3)", "decimal.Context(prec=4)"),
            (
                "offset of time",
                "datetime.timezone.utc",
                "datetime.timezone(datetime.timedelta(0, 60))",
            ),
            ("variable of a context", "variable('before')", "variable('after')"),
            ("file of settings", "settings('before')", "settings('after')"),
            ("dictionary with an attribute", "Table('before')", "Table('after')"),
            ("text with an attribute", "Text('before')", "Text('after')"),
        )
    },
    "an import inside a function": Dependency(
        "def metric(e, p, trace=None):\n    from shop import helper\n    return helper()\n",
        package={"shop.py": HELPER},
        file="shop.py",
    ),
}
"""How the metric depends on the text, and the code."""
