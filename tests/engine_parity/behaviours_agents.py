"""The ready-made modules, batches and wrappers: constructors, results, refusals and what they log."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from behaviours_predict import dummy


def search(query: str) -> str:
    """Look it up."""
    return f"found {query}"


def _react(ns: Any, answers: list[dict[str, Any]], tools: Any = (search,), **options: Any) -> Any:
    ns.configure(lm=ns.utils.DummyLM(answers))
    made = ns.ReAct("question -> answer", tools=list(tools), **options)(question="q")
    return made.answer, made.trajectory


def _step(thought: str, name: str, args: dict[str, Any]) -> dict[str, Any]:
    return {"next_thought": thought, "next_tool_name": name, "next_tool_args": args}


def _failing(query: str) -> str:
    raise ValueError(f"cannot look up {query}")


def _best_of(ns: Any, kind: str, scores: list[float], **options: Any) -> Any:
    dummy(ns, *({"answer": str(s)} for s in scores))
    module = getattr(ns, kind)(
        module=ns.Predict("q -> answer"), reward_fn=lambda args, pred: float(pred.answer), threshold=0.9, **options
    )
    return module(q="x")


def _parallel(ns: Any, pairs: Callable[[Any], Any], **options: Any) -> Any:
    dummy(ns, *({"answer": "same"} for _ in range(6)))
    return ns.Parallel(num_threads=2, disable_progress_bar=True, **options)(pairs(ns))


def _module(ns: Any, body: Callable[..., Any]) -> Any:
    return type("Body", (ns.Module,), {"forward": body})()


def _raises(self: Any, x: Any = None) -> Any:
    raise ValueError("no")


def _cut(text: Any) -> Any:
    return str(text).split("Traceback")[0]


def _compared(ns: Any) -> Any:
    dummy(ns, {"rationale": "r", "answer": "final"})
    attempts = [ns.Prediction(rationale=f"because {i}", answer=str(i)) for i in range(3)]
    return ns.MultiChainComparison("q -> answer")(attempts, q="x"), ns.settings.lm.history[-1]["messages"][-1]["content"]


async def _asyncified(ns: Any) -> Any:
    lm = ns.utils.DummyLM([{"answer": "yes"}])
    with ns.context(lm=lm):
        return await ns.asyncify(ns.Predict("q -> answer"))(q="x")


def _syncified(ns: Any) -> Any:
    class Program(ns.Module):
        async def aforward(self, x: int) -> int:
            await asyncio.sleep(0)
            return x + 1

    return ns.syncify(Program())(x=3)


def _predictions(ns: Any, *answers: Any) -> Any:
    return [ns.Prediction(answer=each) for each in answers]


BEHAVIOURS: dict[str, Callable[[Any], Any]] = {
    "ReAct": lambda ns: _react(
        ns, [_step("t", "search", {"query": "a"}), _step("done", "finish", {}), {"reasoning": "r", "answer": "a"}]
    ),
    "ReAct at its limit": lambda ns: _react(
        ns, [*[_step("t", "search", {"query": "a"})] * 2, {"reasoning": "r", "answer": "a"}], max_iters=2
    ),
    "ReAct with a tool that is not there": lambda ns: _react(
        ns, [_step("t", "nothing", {}), _step("d", "finish", {}), {"reasoning": "r", "answer": "a"}]
    ),
    "ReAct's prompts": lambda ns: [
        (name, p.signature.instructions) for name, p in ns.ReAct("q -> a", tools=[search]).named_predictors()
    ],
    "ReAct's parameters": lambda ns: [name for name, _ in ns.ReAct("q -> a", tools=[search]).named_parameters()],
    "ReAct without tools": lambda ns: sorted(ns.ReAct("q -> a", tools=[]).tools),
    "ReAct with two tools of one name": lambda ns: sorted(ns.ReAct("q -> a", tools=[search, search]).tools),
    "ReAct with a lambda": lambda ns: sorted(ns.ReAct("q -> a", tools=[lambda x: x]).tools),
    "ReAct with what is no tool": lambda ns: ns.ReAct("q -> a", tools=[3]),
    "BestOfN": lambda ns: _best_of(ns, "BestOfN", [0.1, 0.5, 0.2], N=3),
    "BestOfN ends early": lambda ns: _best_of(ns, "BestOfN", [0.1, 1.0, 0.2], N=3),
    "BestOfN of a failing module": lambda ns: ns.BestOfN(
        module=_module(ns, _raises), N=2, reward_fn=lambda a, p: 1.0, threshold=1.0, fail_count=1
    )(x=1),
    "BestOfN without N": lambda ns: ns.BestOfN(module=ns.Predict("q -> a"), reward_fn=len, threshold=1),
    "MultiChainComparison": _compared,
    "MultiChainComparison with too few": lambda ns: ns.MultiChainComparison("q -> answer")(_predictions(ns, "a"), q="x"),
    "majority": lambda ns: ns.majority(_predictions(ns, "Yes", "no", "yes")),
    "majority of a field": lambda ns: ns.majority(_predictions(ns, "Yes", "no", "no"), field="answer"),
    "majority without normalizing": lambda ns: ns.majority(_predictions(ns, "Yes", "yes", "no", "yes"), normalize=None),
    "majority of nothing": lambda ns: ns.majority([]),
    "Parallel": lambda ns: _parallel(ns, lambda ns: [(ns.Predict("q -> answer"), {"q": str(i)}) for i in range(3)]),
    "Parallel of examples": lambda ns: _parallel(
        ns, lambda ns: [(ns.Predict("q -> answer"), ns.Example(q="1", z=2).with_inputs("q"))]
    ),
    "Parallel of tuples": lambda ns: _parallel(ns, lambda ns: [(_module(ns, lambda self, a, b: a + b), (1, 2))]),
    "Parallel of whole examples": lambda ns: _parallel(
        ns, lambda ns: [(_module(ns, lambda self, e: e.q), ns.Example(q="1"))], access_examples=False
    ),
    "Parallel of nothing": lambda ns: _parallel(ns, lambda ns: []),
    "Parallel with what is no example": lambda ns: _cut(
        _parallel(ns, lambda ns: [(ns.Predict("q -> answer"), 3)], return_failed_examples=True)
    ),
    "Parallel with a failure": lambda ns: _parallel(ns, lambda ns: [(_module(ns, _raises), {}), (lambda: 3, {})]),
    "Parallel with its failures": lambda ns: _parallel(
        ns, lambda ns: [(_module(ns, _raises), {"x": 1}), (lambda: 3, {})], return_failed_examples=True
    ),
    "asyncify": _asyncified,
    "syncify": _syncified,
    "KNN": lambda ns: ns.KNN(
        1,
        [ns.Example(q="aaa", answer="A").with_inputs("q"), ns.Example(q="zzz", answer="Z").with_inputs("q")],
        ns.Embedder(lambda texts: [[float(t.count("a")), float(t.count("z"))] for t in texts]),
    )(q="aa"),
    "an embedder": lambda ns: ns.Embedder(lambda texts: [[1.0, len(t)] for t in texts])(["a", "bb"]).tolist(),
    "an embedder of one": lambda ns: ns.Embedder(lambda texts: [[1.0, len(t)] for t in texts])("abc").tolist(),
    "an embedder of nothing": lambda ns: ns.Embedder(3)(["a"]),
    "ProgramOfThought": lambda ns: sorted(n for n, _ in ns.ProgramOfThought("q -> a").named_parameters()),
    "CodeAct": lambda ns: sorted(n for n, _ in ns.CodeAct("q -> a", tools=[search]).named_parameters()),
    "CodeAct with an object": lambda ns: ns.CodeAct("q -> a", tools=[type("T", (), {"__call__": lambda self: 1})()]),
    "RLM": lambda ns: sorted(n for n, _ in ns.RLM("q -> a").named_parameters()),
    "Refine": lambda ns: ns.Refine(
        module=ns.Predict("q -> a"), N=2, reward_fn=lambda a, p: 1.0, threshold=1.0
    ).N,
    "state of ReAct": lambda ns: ns.ReAct("q -> a", tools=[search]).dump_state(),
    "repr of ReAct": lambda ns: repr(ns.ReAct("q -> a", tools=[search])),
}
