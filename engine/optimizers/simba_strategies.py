"""What `SIMBA` does to a program: run it with its trace kept, give it a demo of a good run, or advice that a model writes.

A strategy takes a bucket (the runs of one example, best first) and the program to change, and returns whether it changed
it. `SIMBA(...).strategies` may hold others of a user's own, async or not, with the same parameters.
"""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable, Mapping
from typing import Any, TypedDict

from ..adapters.by_field_info import get_field_description_string
from ..example import Example, Prediction
from ..logs import engine_logger
from ..off_loop import HostFunction, ask
from ..predict import Predict
from ..settings import context, settings
from ..signatures import InputField, OutputField, Signature
from .masked_json import indented_json

__all__ = [
    "OfferFeedback",
    "Run",
    "append_a_demo",
    "append_a_rule",
    "inspect_modules",
    "prepare_models_for_resampling",
    "wrap_program",
]

logger = engine_logger("dspex.engine.optimizers.simba_strategies", dspy="dspy.teleprompt.simba_utils")


class Run(TypedDict):
    """One run of a program on an example."""

    prediction: Any
    """None when the program raised."""
    trace: list[Any]
    score: Any
    """A number; 0.0 where the metric gave none."""
    example: Any
    output_metadata: dict[str, Any]
    """What the metric returned beside the score."""
    failure: Exception | None
    """Why there is no score: what the metric raised, or what the program raised before it."""


def prepare_models_for_resampling(program: Any, n: int, teacher_settings: Mapping[str, Any] | None = None) -> list[Any]:
    """`n` copies of the program's LM that answer past the cache and differently, the first of them the teacher's if there
    is one. (dspy changes the teacher's own LM, which then keeps that rollout for everybody who uses it.)
    """
    lm = program.get_lm() or settings.lm
    start = lm.kwargs.get("rollout_id") or 0
    rollouts = list(range(start, start + n))
    models: list[Any] = []
    if teacher_settings and rollouts:
        models.append((teacher_settings.get("lm") or lm).copy(rollout_id=rollouts.pop(0)))
    return models + [lm.copy(rollout_id=rollout, temperature=1.0) for rollout in rollouts]


def wrap_program(program: Any, metric: Callable[..., Any]) -> HostFunction:
    """A function of an example that runs the program, scores it and tells all about it (`Run`). It raises nothing."""

    async def run(example: Any) -> Run:
        prediction: Any = None
        failure: Exception | None = None
        trace: list[Any] = []
        with context(trace=trace):
            try:
                prediction = await ask(program, **example.inputs())
            except Exception as error:
                failure = error
                logger.warning(str(error))
        score: Any = 0.0
        told: dict[str, Any] = {}
        try:
            score, told = _scored(await ask(metric, example, prediction))
            failure = None
        except Exception as error:
            failure = failure or error
            logger.warning(str(error))
        return Run(
            prediction=prediction,
            trace=list(trace),
            score=score,
            example=example,
            output_metadata=told,
            failure=failure,
        )

    return HostFunction(run)


def _scored(output: Any) -> tuple[Any, dict[str, Any]]:
    if isinstance(output, int | float):
        return output, {}
    if isinstance(output, Prediction):
        if not hasattr(output, "score"):
            raise ValueError("When `metric` returns a `dspy.Prediction`, it must contain a `score` field.")
        return output.score, {name: value for name, value in output.items() if name != "score"}
    # In dspy this is a score of 0 without a word.
    raise TypeError(f"the metric returned {output!r}: it must return a number, a bool or a Prediction with a score")


def append_a_demo(demo_input_field_maxlen: int) -> Callable[..., bool]:
    """The strategy that gives each predictor what it did in the best run as a demo."""

    def append_a_demo_(bucket: list[Run], system: Any, **kwargs: Any) -> bool:
        predictor2name, name2predictor = kwargs["predictor2name"], kwargs["name2predictor"]
        good = bucket[0]
        if good["score"] <= kwargs["batch_10p_score"]:
            logger.info(
                f"Skipping appending a demo as good score {good['score']} is at or below the 10th percentile."
            )
            return False
        demos: dict[str, Any] = {}
        for predictor, inputs, outputs in good["trace"]:
            name = predictor2name.get(id(predictor))
            if name is not None:  # of a predictor that ran several times, the last
                kept = {key: _cut(value, demo_input_field_maxlen) for key, value in inputs.items()}
                demos[name] = Example(augmented=True, **kept, **outputs)
        for name, demo in demos.items():
            name2predictor[name].demos.append(demo)
        logger.info(f"Added {len(demos)} demos (one each) across all predictors.")
        return True

    return append_a_demo_


def _cut(value: Any, limit: int) -> Any:
    if not limit or len(str(value)) <= limit:
        return value
    return f"{str(value)[:limit]}\n\t\t... <TRUNCATED FOR BREVITY>"


async def append_a_rule(bucket: list[Run], system: Any, **kwargs: Any) -> bool:
    """The strategy that lets a model compare the best run with the worst, and adds its advice to the instructions."""
    names: Mapping[int, str] = kwargs["predictor2name"]
    low, high = kwargs["batch_10p_score"], kwargs["batch_90p_score"]
    good, bad = bucket[0], bucket[-1]
    if good["score"] <= low or bad["score"] >= high:
        logger.info(
            f"Skipping rule generation as good score {good['score']} is at or below the 10th percentile "
            f"*or* bad score {bad['score']} is at or above the 90th percentile."
        )
        return False
    better, worse = _told(good, names), _told(bad, names)
    if good["score"] <= bad["score"]:  # all runs are equal: only one side is shown
        if good["score"] > high:
            worse = _NOT_AVAILABLE
        else:
            better = _NOT_AVAILABLE
    asked = {
        "program_code": _source(system),
        "modules_defn": inspect_modules(system),
        "program_inputs": dict(good["example"].inputs()),
        "oracle_metadata": dict(good["example"].labels()),
        "better_program_trajectory": better["trajectory"],
        "better_program_outputs": better["outputs"],
        "worse_program_trajectory": worse["trajectory"],
        "worse_program_outputs": worse["outputs"],
        "worse_reward_value": worse["score"],
        "better_reward_value": better["score"],
        "worse_reward_info": bad["output_metadata"],
        "better_reward_info": good["output_metadata"],
        "module_names": [name for name, _ in system.named_predictors()],
    }
    shown = {name: value if isinstance(value, str) else indented_json(value) for name, value in asked.items()}
    with context(trace=[], lm=kwargs["prompt_model"] or settings.lm):
        advice: Mapping[str, str] = (await Predict(OfferFeedback).acall(**shown)).module_advice
    for name, predictor in system.named_predictors():
        if name in advice:
            logger.info(f"Advice for {name}: {advice[name]}")
            instructions = predictor.signature.instructions + "\n\n" + advice[name]
            predictor.signature = predictor.signature.with_instructions(instructions)
    return True


_NOT_AVAILABLE: dict[str, Any] = {
    "trajectory": [],
    "outputs": {"N/A": "Prediction not available"},
    "score": "N/A",
}


def _told(run: Run, names: Mapping[int, str]) -> dict[str, Any]:
    trajectory = [
        {"module_name": names[id(predictor)], "inputs": inputs, "outputs": dict(outputs)}
        for predictor, inputs, outputs in run["trace"]
        if id(predictor) in names
    ]
    return {"trajectory": trajectory, "outputs": dict(run["prediction"] or {}), "score": run["score"]}


def _source(program: object) -> str:
    program_class = type(program)
    try:
        return inspect.getsource(program_class)
    except (OSError, TypeError):
        # Made by exec, or typed into a plain interpreter. dspy loses the candidate; the modules are described all the same.
        return f"class {program_class.__qualname__}: ...  # its source is not available"


class OfferFeedback(Signature):
    """
    You will be given two trajectories of an LLM-driven program's execution. Your goal is to help the program's modules
    build up experience on how to maximize the reward value assigned to the program's outputs if it were to receive
    similar inputs in the future.

    The module won't see its own history. It will rely on your advice balancing being concrete and being generalizable.

    In your advice:
    - Avoid boilerplate. Offer advice that would change the module's behavior for the better in the future.
    - Ensure that advice offered to a module M is specific to that M's specific sub-task, not the overall program.
    - Rely on contrasting the behavior of the worse trajectory against the better trajectory in making recommendations.
    - Ensure each unique module name appears exactly once as a key in the advice dictionary.
    """

    program_code: str = InputField(desc="The code of the program that we are analyzing")
    modules_defn: str = InputField(desc="The definition of each module in the program, including its I/O")
    program_inputs: str = InputField(desc="The inputs to the program that we are analyzing")
    oracle_metadata: str = InputField(desc="Any (hidden) metadata about the training set instance we're analyzing")
    worse_program_trajectory: str = InputField(
        desc="The trajectory of the program's execution, showing each module's I/O"
    )
    worse_program_outputs: str = InputField(desc="The outputs of the program that we are analyzing")
    worse_reward_value: float = InputField(desc="The reward value assigned to the program's outputs")
    worse_reward_info: str = InputField(
        desc="Additional information that might be helpful to understanding the assigned reward value."
    )
    better_program_trajectory: str = InputField(
        desc="The trajectory of the program's execution, showing each module's I/O"
    )
    better_program_outputs: str = InputField(desc="The outputs of the program that we are analyzing")
    better_reward_value: float = InputField(desc="The reward value assigned to the program's outputs")
    better_reward_info: str = InputField(
        desc="Additional information that might be helpful to understanding the assigned reward value."
    )
    module_names: list[str] = InputField(desc="The names of the modules in the program, for which we seek advice")
    discussion: str = OutputField(desc="Discussing blame of where each module went wrong, if it did")
    module_advice: dict[str, str] = OutputField(
        desc="For each module, describe very concretely: If the module receives ${description of input or patterns "
        "therein}, then it should ${description of content, behavior, or strategies to adopt and/or others to avoid}. "
        "Basically, your advice be such that if the module has access to your tip, it would be much more likely to act "
        "like the successful trajectory rather than the lower-scoring trajectory."
    )


def inspect_modules(program: Any) -> str:
    """The predictors of a program with their fields and instructions, as the model that gives advice reads them."""
    line = "-" * 80
    told = [line]
    for name, predictor in program.named_predictors():
        signature = predictor.signature
        told += [
            f"Module {name}",
            "\tInput Fields:",
            _below(get_field_description_string(signature.input_fields)).strip("\n"),
            "\tOutput Fields:",
            _below(get_field_description_string(signature.output_fields)).strip("\n"),
            f"\tOriginal Instructions: {_below(textwrap.dedent(signature.instructions))}",
            line,
        ]
    return "\n".join(told)


def _below(text: str) -> str:
    return "".join(f"\n\t\t{each}" for each in text.splitlines())
