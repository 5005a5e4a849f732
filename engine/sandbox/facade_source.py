"""The source of a small module `dspy` for code in a sandbox, whose predictors run on the host.

It is text, run in the interpreter; nothing here runs in our process. Only JSON crosses: `dspy.Predict(...)` asks the
host to build a predictor under a name (`__dspy_construct__`), a call asks it to run that one (`__dspy_call__`). Tools
go by name, signatures as marked dicts. All its own names begin with `_dspy`, which tools and inputs may not.
"""

from __future__ import annotations

__all__ = ["CALL_TOOL", "CONSTRUCT_TOOL", "FACADE_SOURCE", "HOST_TOKEN", "KINDS", "SIGNATURE_MARK", "TOOL_MARK"]

CONSTRUCT_TOOL = "__dspy_construct__"
CALL_TOOL = "__dspy_call__"
SIGNATURE_MARK = "__dspy_sig__"
TOOL_MARK = "__dspy_tool__"
HOST_TOKEN = "__dspy_host_token"
"""A variable that comes with the source, as in dspy; here it is only a mark by which scripted interpreters know it."""

KINDS = ("Predict", "ChainOfThought", "RLM", "CodeAct", "ProgramOfThought", "ReAct", "ReActV2")
"""What code in a sandbox may build."""

FACADE_SOURCE = '''
import sys as _dspy_sys, types as _dspy_types, itertools as _dspy_itertools

_dspy_numbers = _dspy_itertools.count(1)


class _dspy_Prediction:
    def __init__(self, **fields):
        object.__setattr__(self, "_fields", fields)

    def __getattr__(self, name):
        try:
            return object.__getattribute__(self, "_fields")[name]
        except KeyError:
            raise AttributeError(name) from None

    def __getitem__(self, name):
        return self._fields[name]

    def __repr__(self):
        return "Prediction(" + repr(self._fields) + ")"


class _dspy_Predictor:
    """Built on the host when its name is known: at the assignment to an attribute of a Module, else at the first call."""

    def __init__(self, kind, signature, options):
        self._wanted = (kind, signature, options)
        self._handle = None

    def _build(self, name):
        kind, signature, options = self._wanted
        self._handle = globals()["__dspy_construct__"](
            kind=kind, signature=signature, attr_name=name, kwargs=options
        )

    def __call__(self, **inputs):
        if self._handle is None:
            self._build("_dspy_anon_" + str(next(_dspy_numbers)))
        made = globals()["__dspy_call__"](handle=self._handle, inputs=inputs)
        return _dspy_Prediction(**(made or {}))


class _dspy_Module:
    def __init__(self, *args, **kwargs):
        pass

    def __setattr__(self, name, value):
        if isinstance(value, _dspy_Predictor) and value._handle is None:
            value._build(name)
        object.__setattr__(self, name, value)

    def __call__(self, **inputs):
        return self.forward(**inputs)


def _dspy_named(function):
    for name, value in list(globals().items()):
        if value is function and not name.startswith("_"):
            return name
    return getattr(function, "__name__", type(function).__name__)


def _dspy_encoded(value):
    if callable(value):
        return {"__dspy_tool__": _dspy_named(value)}
    if isinstance(value, (list, tuple)):
        return [_dspy_encoded(item) for item in value]
    if isinstance(value, dict):
        return {key: _dspy_encoded(item) for key, item in value.items()}
    return value


def _dspy_maker(kind):
    def make(signature=None, **options):
        return _dspy_Predictor(kind, signature, {key: _dspy_encoded(value) for key, value in options.items()})

    make.__name__ = kind
    return make


def _dspy_signature(signature, instructions=None, **_):
    return {"__dspy_sig__": True, "signature": signature, "instructions": instructions}


def _dspy_tool(func, **_):
    return func


dspy = _dspy_types.ModuleType("dspy")
dspy.Module, dspy.Prediction, dspy.Signature, dspy.Tool = _dspy_Module, _dspy_Prediction, _dspy_signature, _dspy_tool
for _dspy_kind in ("Predict", "ChainOfThought", "RLM", "CodeAct", "ProgramOfThought", "ReAct", "ReActV2"):
    setattr(dspy, _dspy_kind, _dspy_maker(_dspy_kind))

if "__dspy_construct__" in globals():
    if "dspex" in _dspy_sys.modules or "dspy" in _dspy_sys.modules:
        # An interpreter that runs code in its host's process: `import dspy` changes for this namespace only.
        _dspy_held = globals()["__builtins__"]
        _dspy_held = dict(_dspy_held if isinstance(_dspy_held, dict) else vars(_dspy_held))

        def _dspy_import(name, globals=None, locals=None, fromlist=(), level=0, _real=_dspy_held["__import__"]):
            if level == 0 and name == "dspy":
                return dspy
            if level == 0 and name.startswith("dspy."):
                raise ModuleNotFoundError("No module named " + repr(name) + "; 'dspy' is not a package", name=name)
            return _real(name, globals, locals, fromlist, level)

        _dspy_held["__import__"] = _dspy_import
        globals()["__builtins__"] = _dspy_held
    else:
        _dspy_sys.modules["dspy"] = dspy
'''
