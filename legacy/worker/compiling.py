"""A compile of dspy's own optimizers as a program of a worker: metric and models are the host's, the state comes back.

The program takes data and gives data. An optimizer is one of `OPTIMIZERS`, looked up in dspy by that name. While it runs,
each evaluation is told to the host with its program's state, so that an end before the end loses nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .host_calls import HostCalls
from .values import Values

OPTIMIZERS = (
    "LabeledFewShot", "BootstrapFewShot", "BootstrapFewShotWithRandomSearch", "BootstrapFewShotWithOptuna", "COPRO",
    "MIPROv2", "SIMBA", "GEPA", "InferRules", "BootstrapFinetune", "GRPO",
)  # fmt: skip
METRIC = "dspex.metric"
TRIAL = "dspex.trial"


def compile_program(dspy: Any, student: Callable[[], Any], host: HostCalls, values: Values) -> Any:
    """A `dspy.Module` that optimizes what `student()` makes."""

    class Compile(dspy.Module):
        def forward(
            self,
            optimizer: str,
            options: dict[str, Any],
            arguments: dict[str, Any],
            trainset: list[dict[str, Any]],
            valset: list[dict[str, Any]] | None,
            state: dict[str, Any] | None,
            has_metric: bool,
        ) -> Any:
            program = student()
            if state is not None:
                program.load_state(state)
            examples = [_example(dspy, each) for each in trainset]
            chosen = dict(options)
            if has_metric:
                chosen["metric"] = _metric(dspy, host, values)
            if optimizer == "GEPA":
                chosen.setdefault("reflection_lm", dspy.settings.lm)
            given: dict[str, Any] = {"trainset": examples, **arguments}
            if valset is not None:
                given["valset"] = [_example(dspy, each) for each in valset]
            made = _optimizer(dspy, optimizer)(**chosen)
            callbacks: list[Any] = [*(dspy.settings.get("callbacks") or []), _trials(dspy, host, values)]
            with dspy.context(callbacks=callbacks):
                optimized = made.compile(program, **given)
            return {"state": optimized.dump_state(), "dspy": str(dspy.__version__)}

    return Compile()


def _optimizer(dspy: Any, name: str) -> Any:
    if name not in OPTIMIZERS:
        raise ValueError(f"{name!r} is not one of {', '.join(OPTIMIZERS)}")
    found = getattr(dspy, name, None) or getattr(dspy.teleprompt, name, None)
    if found is None and name == "GRPO":
        import importlib

        found = getattr(importlib.import_module("dspy.teleprompt.grpo"), name, None)
    if found is None:
        raise ValueError(f"dspy {dspy.__version__} has no {name}")
    return found


def _example(dspy: Any, told: Mapping[str, Any]) -> Any:
    made = dspy.Example(**told["fields"])
    return made if told["inputs"] is None else made.with_inputs(*told["inputs"])


def _metric(dspy: Any, host: HostCalls, values: Values) -> Callable[..., Any]:
    """The host's metric, with all the arguments that any optimizer gives one."""

    def metric(example: Any, prediction: Any, trace: Any = None, pred_name: Any = None, pred_trace: Any = None) -> Any:
        answer = host.call(
            METRIC,
            example=_fields(example, values),
            inputs=sorted(example.inputs().keys()),
            prediction=_fields(prediction, values),
            trace=None if trace is None else _steps(trace, values),
            pred_name=pred_name,
            pred_trace=None if pred_trace is None else _steps(pred_trace, values),
        )
        return dspy.Prediction(**answer) if isinstance(answer, dict) else answer

    return metric


def _fields(record: Any, values: Values) -> dict[str, Any]:
    fields: Any = record.items(include_dspy=True) if hasattr(record, "items") else {}
    return {name: values.out(value, f"field {name!r}") for name, value in dict(fields).items()}


def _steps(trace: Any, values: Values) -> list[Any]:
    steps: list[Any] = []
    for _, inputs, outputs in trace:
        told = {name: values.out(value, f"trace input {name!r}") for name, value in dict(inputs).items()}
        steps.append([told, _fields(outputs, values)])
    return steps


def _trials(dspy: Any, host: HostCalls, values: Values) -> Any:
    """A callback of dspy's that tells the host of each evaluation."""

    programs: dict[str, tuple[Any, int]] = {}

    class Trials(dspy.utils.callback.BaseCallback):
        def on_evaluate_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
            devset: Any = inputs.get("devset") or getattr(instance, "devset", ())
            programs[call_id] = (inputs.get("program"), len(devset))

        def on_evaluate_end(self, call_id: str, outputs: Any, exception: Any = None) -> None:
            program, size = programs.pop(call_id, (None, 0))
            score: Any = getattr(outputs, "score", outputs)
            if program is None or exception is not None or not isinstance(score, int | float):
                return
            host.call(TRIAL, score=float(score), size=size, state=values.out(program.dump_state(), "state"))

    return Trials()
