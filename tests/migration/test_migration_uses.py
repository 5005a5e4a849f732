"""What each way of using dspy is judged to be. The rule above all: nothing that is not understood is called native."""

from __future__ import annotations

import importlib.util
import textwrap
from types import ModuleType

import pytest
from dspex.migration import FileReport, Verdict, check_text
from dspex.migration.history import REMOVED, REMOVED_MODULES
from dspex.migration.machinery import STEPS


def judged(source: str) -> FileReport:
    report = check_text(textwrap.dedent(source))
    (file,) = report.files
    return file


def rules(source: str) -> set[str]:
    return {use.rule for use in judged(source).findings}


NATIVE = {
    "types in a signature": "import dspy\nqa = dspy.Predict('image: dspy.Image -> code: dspy.Code')",
    "helpers of its own": (
        "import dspy\nclass A(dspy.Module):\n    def _postprocess(self, x): return x\n"
        "    def forward(self, x): return self._postprocess(x)"
    ),
    "an alias": "import dspy as d\nqa = d.Predict('a -> b')",
    "a name of its own": "from dspy import Predict as P, Signature\nqa = P('a -> b')",
    "a submodule": "import dspy.teleprompt\nopt = dspy.teleprompt.LabeledFewShot(k=3)",
    "a submodule with an alias": "import dspy.evaluate as ev\nrun = ev.Evaluate(devset=[], metric=None)",
    "a star": "from dspy import *\nqa = ChainOfThought('a -> b')",
    "a star of a submodule": "from dspy.teleprompt import *\nopt = BootstrapFewShot(metric=None)",
    "bound again": "import dspy\nlib = dspy\nmake = lib.Predict\nqa = make('a -> b')",
    "getattr with a text": "import dspy\nqa = getattr(dspy, 'Predict')('a -> b')",
    "hasattr": "import dspy\nok = hasattr(dspy, 'LM')",
    "import_module with a text": "import importlib\ndspy = importlib.import_module('dspy')\nqa = dspy.Predict('a -> b')",
    "imported late": (
        "dspy = None\ndef load():\n    global dspy\n    import dspy\ndef f():\n    return dspy.Predict('a -> b')"
    ),
    "awaited together": (
        "import asyncio, dspy\np = dspy.Predict('a -> b')\n"
        "async def f(xs):\n    return await asyncio.gather(*[p.acall(a=x) for x in xs])"
    ),
    "optional": """
        try:
            import dspy
        except ImportError:
            dspy = None
        if dspy is not None:
            qa = dspy.Predict("a -> b")
    """,
    "optional names": """
        try:
            from dspy import Module
        except ImportError:
            Module = object
        class A(Module):
            def forward(self, x): return x
    """,
    "settings": "import dspy\ndspy.settings.configure(lm=None, rm=None, mine=3)\nx = dspy.settings.lm",
    "the old field names": (
        "import dspy\nclass S(dspy.Signature):\n"
        "    a = dspy.InputField(prefix='A:', format=str)\n    b = dspy.OutputField()"
    ),
    "for type checkers only": (
        "from __future__ import annotations\nfrom typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    import dspy\ndef f(p: dspy.Module) -> None: ..."
    ),
    "a factory": "def qa(dspy):\n    return dspy.ChainOfThought('question -> answer')",
    "an abstract base": "import abc, dspy\nclass Base(dspy.Module, abc.ABC):\n    def forward(self): ...",
    "a generic": (
        "import dspy\nfrom typing import Generic, TypeVar\n"
        "T = TypeVar('T')\nclass A(dspy.Module, Generic[T]):\n    def forward(self): ..."
    ),
    "another model of the class": (
        "import dspy, torch\nclass Net(torch.nn.Module):\n"
        "    def forward(self, x): return x\nqa = dspy.Predict('a -> b')"
    ),
    "saved as JSON": (
        "import dspy\np = dspy.Predict('a -> b')\n"
        "p.save('p.json')\np.save('p.json', save_program=False)\np.load(path='p.json')"
    ),
    "eval of its own names": "import dspy\nqa = dspy.Predict('a -> b')\ndef calc(x):\n    return eval(x, {'__builtins__': {}})",
    "a state as JSON by a constant": (
        "import dspy\nfrom pathlib import Path\nFOLDER = Path('d')\nFILE = FOLDER / 'p.json'\n"
        "p = dspy.Predict('a -> b')\np.save(FILE)\np.save(str(FILE))\np.load(f'{FOLDER}/q.json')"
    ),
    "copies": "import copy, dspy\np = dspy.Predict('a -> b')\nq = copy.deepcopy(p)\nr = p.deepcopy()",
    "awaited": "import dspy\nqa = dspy.Predict('a -> b')\nasync def f():\n    return await qa.acall(a=1)",
    "in a thread": (
        "import asyncio, dspy\nqa = dspy.Predict('a -> b')\nasync def f():\n    return await asyncio.to_thread(qa, a=1)"
    ),
    "embeddings": (
        "import dspy\nfrom sentence_transformers import SentenceTransformer\nm = SentenceTransformer('x')\n"
        "e = dspy.Embedder(m.encode)\nf = dspy.Embedder('openai/text-embedding-3-small')\n"
        "g = dspy.Embedder(lambda texts: texts)"
    ),
    "a model by a constant": "import dspy\nNAME = 'groq/llama-3'\nlm = dspy.LM(NAME)",
    "an engine of its own": "import dspy\nlm = dspy.LM(name(), engine=mine)",
    "already converted": "import dspex.engine as dspy\nqa = dspy.Predict('a -> b')",
    "printed names": "import dspy\nprint('dspy.Predict is used')\nprint('dspy')\nqa = dspy.Predict('a -> b')",
}


@pytest.mark.parametrize("source", NATIVE.values(), ids=NATIVE.keys())
def test_it_is_native(source: str) -> None:
    found = judged(source)
    assert [(use.place, use.name, use.reason) for use in found.findings] == []
    assert found.verdict is Verdict.NATIVE


CHANGES = {
    "an old client": ("import dspy\nlm = dspy.OpenAI(model='gpt-3.5-turbo')", "removed"),
    "an assertion": ("import dspy\ndspy.Assert(True, 'x')", "removed"),
    "a typed predictor": ("from dspy.functional import TypedPredictor", "removed"),
    "the predecessor": ("import dsp\nx = dsp.LM", "removed"),
    "a module that left": ("from dspy.retrieve.qdrant_rm import QdrantRM", "removed"),
    "a keyword that nobody takes": ("import dspy\ne = dspy.Evaluate(devset=[], return_all_scores=True)", "keyword"),
    "a keyword of a call": ("import dspy\ne = dspy.Evaluate(devset=[])\ne(None, return_outputs=True)", "keyword"),
    "a keyword of a method": (
        "import dspy\no = dspy.LabeledFewShot(k=1)\no.compile(None, trainset=[], speed=9)",
        "keyword",
    ),
    "too many arguments": ("import dspy\nx = dspy.majority([], None, 'a', 4)", "keyword"),
    "a whole program": ("import dspy\np = dspy.Predict('a -> b')\np.save('d', save_program=True)", "pickle"),
    "a whole program by position": ("import dspy\np = dspy.Predict('a -> b')\np.save('d', True)", "pickle"),
    "a state as a pickle": ("import dspy\np = dspy.Predict('a -> b')\np.load('p.pkl')", "pickle"),
    "a state by a constant": (
        "import dspy, os\nNAME = 'p.pkl'\np = dspy.Predict('a -> b')\np.load(os.path.join('d', NAME))",
        "pickle",
    ),
    "load": ("import dspy\np = dspy.load('d')", "pickle"),
    "saved settings": ("import dspy\ndspy.settings.save('s.pkl')", "pickle"),
    "a pickle": ("import dspy, cloudpickle\np = dspy.Predict('a -> b')\ncloudpickle.dumps(p)", "pickle"),
    "a provider without a name": ("import dspy\nlm = dspy.LM('claude-3-opus')", "model"),
    "a provider that is not known": ("import dspy\nlm = dspy.LM(model='vertex_ai/gemini-pro')", "model"),
    "a loop that is blocked": (
        "import dspy\nqa = dspy.Predict('a -> b')\nasync def f():\n    return qa(a=1)",
        "sync-on-a-loop",
    ),
    "a loop blocked by a method": (
        "import dspy\nclass S:\n    def __init__(self):\n        self.qa = dspy.Predict('a -> b')\n"
        "    async def f(self):\n        return self.qa(a=1).b",
        "sync-on-a-loop",
    ),
    "a loop blocked in a list": (
        "import dspy\nall = [dspy.Predict('a -> b') for _ in range(3)]\nasync def f():\n    return [p(a=1) for p in all]",
        "sync-on-a-loop",
    ),
    "a loop blocked by a factory's": (
        "import dspy\ndef make():\n    return dspy.Predict('a -> b')\nasync def f():\n    qa = make()\n    return qa(a=1)",
        "sync-on-a-loop",
    ),
    "a loop blocked by compile": (
        "import dspy\nasync def f(t):\n    return dspy.LabeledFewShot().compile(dspy.Predict('a -> b'), trainset=t)",
        "sync-on-a-loop",
    ),
    "a loop blocked by a field": (
        "import dspy\nfrom dataclasses import dataclass\n@dataclass\nclass D:\n    p: dspy.Module\n"
        "async def f(d: D):\n    return d.p(a=1)",
        "sync-on-a-loop",
    ),
    "a loop blocked by one taken out of a dict": (
        "import dspy\nD = {'a': dspy.Predict('a -> b')}\nasync def f(k):\n    return D.get(k)(a=1)",
        "sync-on-a-loop",
    ),
    "dspy that an object holds": (
        "import dspy\nclass A:\n    def __init__(self):\n        self.dspy = dspy\n"
        "    def f(self):\n        self.dspy.Assert(True)",
        "removed",
    ),
    "a loop blocked by an annotated argument": (
        "import dspy\nasync def f(program: dspy.Module):\n    return program(a=1)",
        "sync-on-a-loop",
    ),
    "a logger": ("import dspy, logging\nlogging.getLogger('dspy').setLevel(10)", "logger"),
    "a tracer": ("import dspy, mlflow\nmlflow.dspy.autolog()", "tracing"),
    "an instrumentor": ("import dspy\nfrom openinference.instrumentation.dspy import DSPyInstrumentor", "tracing"),
    "litellm": ("import dspy, litellm\nlitellm.drop_params = True", "litellm"),
    "embeddings of a provider that is not known": ("import dspy\ne = dspy.Embedder('cohere/embed')", "model"),
    "a forward that an awaited call goes past": (
        "import dspy\nclass A(dspy.Predict):\n    def forward(self, **k):\n        return super().forward(**k)",
        "method",
    ),
    "a call of its own": ("import dspy\nclass A(dspy.Module):\n    def __call__(self, x): return x", "method"),
}


@pytest.mark.parametrize(("source", "rule"), CHANGES.values(), ids=CHANGES.keys())
def test_it_is_native_with_changes(source: str, rule: str) -> None:
    found = judged(source)
    assert found.verdict is Verdict.CHANGES, [(use.name, use.verdict, use.reason) for use in found.findings]
    assert rule in {use.rule for use in found.findings}


UNKNOWN = {
    "getattr": ("import dspy\nx = getattr(dspy, name)", "dynamic"),
    "all names": ("import dspy\nx = vars(dspy)", "dynamic"),
    "the dictionary": ("import dspy\nx = dspy.__dict__['Predict']", "dynamic"),
    "sys.modules": ("import dspy, sys\nx = sys.modules['dspy']", "dynamic"),
    "sys.modules.get": ("import dspy, sys\nx = sys.modules.get('dspy')", "dynamic"),
    "import by a made text": ("import dspy, importlib\nx = importlib.import_module(f'dspy.{name}')", "dynamic"),
    "import by a variable": ("import dspy, importlib\nx = importlib.import_module(name)", "dynamic"),
    "import_module alone": ("import dspy\nfrom importlib import import_module\nx = import_module(name)", "dynamic"),
    "a path looked up": ("import dspy\nx = load_class('dspy.teleprompt.BootstrapFewShot')", "dynamic"),
    "loaded lazily": ("import dspy\nlib = lazy_import('dspy')", "dynamic"),
    "exec": ("import dspy\nexec(code)", "dynamic"),
    "eval": ("import dspy\nx = eval(text)", "dynamic"),
    "a class by type": ("import dspy\nA = type('A', (dspy.Module,), {})", "dynamic"),
    "handed on": ("import dspy\nrun(dspy)", "dynamic"),
    "reloaded": ("import dspy, importlib\nimportlib.reload(dspy)", "dynamic"),
    "a name that nobody knows": ("import dspy\nx = dspy.Quantum('a -> b')", "unknown-name"),
    "a name imported that nobody knows": ("from dspy import Quantum", "unknown-name"),
    "a module that nobody knows": ("import dspy.quantum", "unknown-name"),
    "a part of the engine that is not dspy's": ("import dspy\nx = dspy.sync", "unknown-name"),
    "machinery": ("from dspy.clients.execution import execute", "private"),
    "a private name": ("import dspy\nx = dspy._cache_lock", "private"),
    "a private attribute": ("import dspy\np = dspy.Predict('a -> b')\nx = p._prepared", "private"),
    "a step overridden": (
        "import dspy\nclass A(dspy.ChatAdapter):\n    def _call_preprocess(self, *a): ...",
        "private",
    ),
    "a step called": (
        "import dspy\nclass A(dspy.Predict):\n    def forward(self, **k):\n        return self._forward_postprocess([], None)",
        "private",
    ),
    "a part of the cache that is not there": ("import dspy\ndspy.cache.disk_cache.clear()", "method"),
    "a method that is not there": ("import dspy\nlm = dspy.LM('openai/x')\nlm.set_criteria()", "method"),
    "patched": ("import dspy\ndspy.LM = object", "patched"),
    "a class patched": ("import dspy\ndspy.Predict.forward = print", "patched"),
    "patched by setattr": ("import dspy\nsetattr(dspy, 'LM', object)", "patched"),
    "patched in a test": (
        "import dspy\ndef test(monkeypatch):\n    monkeypatch.setattr(dspy, 'LM', object)",
        "patched",
    ),
    "patched by a text": (
        "import dspy\nfrom unittest.mock import patch\n@patch('dspy.LM')\ndef test(lm): ...",
        "patched",
    ),
    "bound to two things": ("import dspy\nif x:\n    dspy = other()\nqa = dspy.Predict('a -> b')", "rebound"),
    "a star of who knows whom": ("import dspy\nfrom helpers_of_somebody import *\nx = 1", "star-import"),
    "a neighbour that is not there": ("import dspy\nfrom .neighbour import Base", "not-read"),
    "another package built on dspy": ("import dspy\nfrom dspy_extras import Base", "not-read"),
    "a base class of another package": (
        "import dspy\nfrom other import Mixin\nclass A(dspy.Module, Mixin):\n    pass",
        "base-class",
    ),
    "a base class that is made": ("import dspy\nclass A(make(dspy.Module)):\n    pass", "base-class"),
    "a base with forward": (
        "import dspy\nfrom other import Base\n"
        "class A(Base):\n    def forward(self, x):\n        return dspy.Predict('a -> b')(a=x)",
        "base-class",
    ),
    "a metaclass": ("import dspy\nclass A(dspy.Module, metaclass=M):\n    pass", "base-class"),
    "a model chosen elsewhere": ("import dspy, os\nlm = dspy.LM(os.environ['MODEL'])", "model"),
    "a model in a mapping": ("import dspy\nlm = dspy.LM(**config)", "model"),
    "an argument called on a loop": (
        "import dspy\nasync def f(program):\n    return program(question='x')",
        "sync-on-a-loop",
    ),
    "a result called on a loop": ("import dspy\nasync def f():\n    return get()(question='x')", "sync-on-a-loop"),
    "one of several called on a loop": (
        "import dspy\nasync def f(all, k):\n    return all[k](question='x')",
        "sync-on-a-loop",
    ),
    "an attribute of who knows whom": (
        "import dspy\nclass A:\n    def __init__(self):\n        self.qa = dspy.Predict('a -> b')\n"
        "async def f(holder):\n    return holder.qa(a=1)",
        "sync-on-a-loop",
    ),
    "one taken out of a dict that is filled later": (
        "import dspy\nD = {}\nD['x'] = dspy.Predict('a -> b')\nasync def f(k):\n    return D[k](a=1)",
        "sync-on-a-loop",
    ),
    "one that a function is given": (
        "import dspy\np = dspy.Predict('a -> b')\ndef run(q, prog):\n    return prog(a=q)\n"
        "async def f():\n    return run(1, p)",
        "sync-on-a-loop",
    ),
    "one that an object is given": (
        "import dspy\nclass R:\n    def __init__(self, prog):\n        self.prog = prog\n"
        "    async def go(self, q):\n        return self.prog(question=q)",
        "sync-on-a-loop",
    ),
    "one that an object of its own calls": (
        "import dspy\nclass R:\n    def __init__(self, prog):\n        self.prog = prog\n"
        "    def go(self, q):\n        return self.prog(q)\n"
        "async def f():\n    return R(dspy.Predict('a -> b')).go(1)",
        "sync-on-a-loop",
    ),
    "a partial": (
        "import dspy, functools\np = functools.partial(dspy.Predict('a -> b'), a=1)\nasync def f():\n    return p()",
        "sync-on-a-loop",
    ),
    "a map": (
        "import dspy\np = dspy.Predict('a -> b')\nasync def f(xs):\n    return list(map(p, xs))",
        "sync-on-a-loop",
    ),
    "a state somewhere": ("import dspy\ndef f(path):\n    dspy.Predict('a -> b').save(path)", "pickle"),
    "a state with options that are not seen": (
        "import dspy\ndspy.Predict('a -> b').save('d.json', **options)",
        "pickle",
    ),
    "a pickle of who knows what": ("import dspy\ndef f(program):\n    program.load('p.pkl')", "pickle"),
    "optimizers whose default trains weights": ("import dspy\no = dspy.BetterTogether(metric=m)", "refused"),
    "a pickle of something": ("import dspy, pickle\nx = pickle.load(file)", "pickle"),
}


@pytest.mark.parametrize(("source", "rule"), UNKNOWN.values(), ids=UNKNOWN.keys())
def test_it_is_not_understood_and_so_unknown(source: str, rule: str) -> None:
    found = judged(source)
    assert found.verdict is Verdict.UNKNOWN, [(use.name, use.verdict, use.reason) for use in found.uses]
    assert rule in {use.rule for use in found.findings}


LEGACY = {
    "weights": "import dspy\no = dspy.BootstrapFinetune()",
    "weights by their path": "from dspy.teleprompt.grpo import GRPO",
    "an experiment": "import dspy\nf = dspy.Flex('a -> b')",
    "decisions": "from dspy.experimental import Noul",
    "a type in a signature": "import dspy\nqa = dspy.Predict('a -> b: dspy.experimental.Noul')",
    "a store": "from dspy.retrievers.weaviate_rm import WeaviateRM",
}


@pytest.mark.parametrize("source", LEGACY.values(), ids=LEGACY.keys())
def test_it_is_legacy_only(source: str) -> None:
    assert judged(source).verdict is Verdict.LEGACY


def test_a_text_without_dspy_is_not_reported() -> None:
    for source in ("import os\n", "x = 'nothing of it'\n", "import torch\nclass A(torch.nn.Module): ...\n"):
        assert check_text(source).files == ()


def test_places_count_characters_and_lines_from_one() -> None:
    found = judged("import dspy\n\u00e9 = '\u00fc\u00fc'; x = dspy.OpenAI()\n")
    (use,) = found.findings
    assert (use.place.line, use.place.column, use.place.end_column) == (2, 15, 26)


def test_what_a_neighbour_breaks_at_import_is_to_be_moved_out() -> None:
    found = judged(
        """
        import dspy
        from dspy.retrievers.weaviate_rm import WeaviateRM

        class Fine(dspy.Module):
            def __init__(self):
                self.ask = dspy.Predict("a -> b")
            def forward(self, a):
                return self.ask(a=a)
        """
    )
    (program,) = found.programs
    assert found.verdict is Verdict.LEGACY
    assert program.verdict is Verdict.CHANGES
    assert "WeaviateRM" in program.reasons[0]


def test_what_stands_under_main_breaks_no_import() -> None:
    found = judged(
        """
        import dspy

        class Fine(dspy.Module):
            def forward(self, a):
                return dspy.Predict("a -> b")(a=a)

        if __name__ == "__main__":
            dspy.configure(lm=dspy.OpenAI())
        """
    )
    assert {program.name: program.verdict for program in found.programs} == {"Fine": Verdict.NATIVE}
    assert found.verdict is Verdict.CHANGES


def test_a_program_is_as_the_worst_that_it_reaches() -> None:
    found = judged(
        """
        import dspy

        def helper(x):
            return deeper(x)

        def deeper(x):
            return dspy.Flex("a -> b")(a=x)

        class Deep(dspy.Module):
            def forward(self, a):
                return helper(a)

        class Apart(dspy.Module):
            def forward(self, a):
                return a
        """
    )
    verdicts = {program.name: program.verdict for program in found.programs if program.kind == "class"}
    assert verdicts == {"Deep": Verdict.LEGACY, "Apart": Verdict.NATIVE}


def test_the_steps_are_those_of_the_installed_dspy(dspy: ModuleType) -> None:
    baml = importlib.import_module("dspy.adapters.baml_adapter")
    places = (dspy, dspy.streaming, dspy.utils, baml, dspy.teleprompt)
    for name, steps in STEPS.items():
        cls = next(getattr(place, name) for place in places if hasattr(place, name))
        theirs = {
            step
            for base in cls.__mro__
            if base.__module__.startswith("dspy")
            for step in vars(base)
            if step.startswith("_") and not step.startswith(("__", "_abc")) and step != "_compiled"
        }
        assert steps == theirs, name


def test_what_has_gone_is_not_there_and_has_not_come_back(dspy: ModuleType) -> None:
    assert [name for name in REMOVED if hasattr(dspy, name)] == []
    assert [path for path in REMOVED_MODULES if find_spec_below(path)] == []


def find_spec_below(path: str) -> bool:
    try:
        return importlib.util.find_spec(f"dspy.{path}") is not None
    except ModuleNotFoundError:
        return False
