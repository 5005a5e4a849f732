"""`ReAct`: a model that thinks, calls a tool, reads what came of it, and goes on until it can answer.

    def weather(city: str) -> str: ...

    agent = ReAct("question -> answer", tools=[weather])
    pred = await agent.acall(question="Is it raining in Tokyo?")
    pred.answer, pred.trajectory

The steps so far travel as one text field, `trajectory`, written by the adapter. What a tool raises becomes the
observation, so the model can try something else. After the last step a `ChainOfThought` reads the answer out of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Literal

from ..example import Prediction
from ..lm import ContextWindowExceededError
from ..logs import engine_logger
from ..module import Module
from ..off_loop import ask
from ..predict import Predict
from ..signatures import InputField, OutputField, Signature, ensure_signature, make_signature
from ..sync import run_sync
from ..types import Tool
from .chain_of_thought import ChainOfThought
from .surroundings import adapter_in_force, told_to_model

__all__ = ["ReAct", "Trajectory", "format_trajectory", "with_shorter_trajectories"]

logger = engine_logger("dspex.engine.react", dspy="dspy.predict.react")

Trajectory = dict[str, Any]
"""`thought_0, tool_name_0, tool_args_0, observation_0, thought_1, ...`, in order."""

_FRAMES = 5
_ATTEMPTS = 3


class ReAct(Module):
    """Reason and act, over any signature.

    Attributes:
        tools: by name, `finish` last.
        react: the predictor that chooses the next step.
        extract: the `ChainOfThought` that answers from the trajectory.
    """

    def __init__(
        self, signature: str | type[Signature], tools: Sequence[Callable[..., Any]], max_iters: int = 20
    ) -> None:
        """Build the agent.

        Args:
            signature: what is asked of it.
            tools: functions (sync or async), callable objects, or `Tool`s.
            max_iters: steps at most; a call may say otherwise (`max_iters=`).
        """
        super().__init__()
        self.signature = signature = ensure_signature(signature)
        self.max_iters = max_iters
        named = {str(tool.name): tool for tool in (each if isinstance(each, Tool) else Tool(each) for each in tools)}
        outputs = ", ".join(f"`{name}`" for name in signature.output_fields)
        named["finish"] = Tool(
            func=lambda: "Completed.",
            name="finish",
            desc="Marks the task as complete. That is, signals that all information for producing the outputs, i.e. "
            f"{outputs}, are now available to be extracted.",
            args={},
        )
        self.tools = named
        self.react = Predict(
            Signature({**signature.input_fields}, _instructions(signature, named))
            .append("trajectory", InputField(), type_=str)
            .append("next_thought", OutputField(), type_=str)
            .append("next_tool_name", OutputField(), type_=Literal[tuple(named)])  # pyright: ignore[reportInvalidTypeForm]
            .append("next_tool_args", OutputField(), type_=dict[str, Any])
        )
        self.extract = ChainOfThought(
            Signature({**signature.input_fields, **signature.output_fields}, signature.instructions).append(
                "trajectory", InputField(), type_=str
            )
        )

    def forward(self, **input_args: Any) -> Prediction:
        """`aforward` from synchronous code. Call the module itself instead."""
        return run_sync(self.aforward, **input_args)

    async def aforward(self, **input_args: Any) -> Prediction:
        """Run the agent.

        Args:
            max_iters: steps at most, for this call.
            **input_args: the signature's inputs.

        Returns:
            The signature's outputs, `reasoning`, and `trajectory`.

        Raises:
            ContextWindowExceededError: not even the shortest trajectory fits the model for the answer.
            AdapterParseError: the answer could not be read. An unreadable step only ends the trajectory.
            LMError: the model failed.
        """
        trajectory: Trajectory = {}
        for step in range(input_args.pop("max_iters", self.max_iters)):
            try:
                pred = await self._with_trajectory(self.react, trajectory, input_args)
            except ContextWindowExceededError as error:
                logger.warning("Ending the trajectory: %s", told_to_model(error, traceback_frames=_FRAMES))
                break
            except ValueError as error:
                logger.warning(
                    "Ending the trajectory: Agent failed to select a valid tool: %s",
                    told_to_model(error, traceback_frames=_FRAMES),
                )
                break
            trajectory[f"thought_{step}"] = pred.next_thought
            trajectory[f"tool_name_{step}"] = pred.next_tool_name
            trajectory[f"tool_args_{step}"] = pred.next_tool_args
            trajectory[f"observation_{step}"] = await self._observation(pred.next_tool_name, pred.next_tool_args)
            if pred.next_tool_name == "finish":
                break
        extract = await self._with_trajectory(self.extract, trajectory, input_args)
        return Prediction(trajectory=trajectory, **extract)

    async def _observation(self, name: str, args: dict[str, Any]) -> Any:
        try:
            return await ask(self.tools[name], **args)
        except Exception as error:
            return f"Execution error in {name}: {told_to_model(error, traceback_frames=_FRAMES)}"

    async def _with_trajectory(self, module: Any, trajectory: Trajectory, input_args: dict[str, Any]) -> Any:
        return await with_shorter_trajectories(self, module, trajectory, input_args)

    def _format_trajectory(self, trajectory: Trajectory) -> str:
        return format_trajectory(trajectory)

    def truncate_trajectory(self, trajectory: Trajectory) -> Trajectory:
        """Drop the oldest step, in place, when the trajectory does not fit the model. Override for another choice.

        Raises:
            ContextWindowExceededError: there is only one step.
        """
        if len(trajectory) <= 4:
            raise ContextWindowExceededError(
                message="The trajectory is too long so your prompt exceeded the context window, but the trajectory "
                "cannot be truncated because it only has one tool call."
            )
        for key in list(trajectory)[:4]:  # thought, tool name, tool args, observation
            del trajectory[key]
        return trajectory


async def with_shorter_trajectories(
    agent: Any, module: Any, trajectory: Trajectory, input_args: dict[str, Any]
) -> Any:
    """Ask `module`; when the prompt is too long for the model, shorten the trajectory and ask again, twice at most.

    Raises:
        ContextWindowExceededError: it was too long three times, or there is nothing left to drop.
    """
    last: ContextWindowExceededError | None = None
    for _ in range(_ATTEMPTS):
        try:
            return await ask(module, **input_args, trajectory=agent._format_trajectory(trajectory))
        except ContextWindowExceededError as error:
            logger.warning("Trajectory exceeded the context window, truncating the oldest tool call information.")
            last = error
            trajectory = agent.truncate_trajectory(trajectory)
    raise ContextWindowExceededError(
        message="The context window was exceeded even after 3 attempts to truncate the trajectory."
    ) from last


def format_trajectory(trajectory: Trajectory) -> str:
    """The trajectory as the adapter in force writes inputs."""
    return adapter_in_force().format_user_message_content(_trajectory_signature(tuple(trajectory)), trajectory)


@lru_cache(maxsize=256)
def _trajectory_signature(keys: tuple[str, ...]) -> type[Signature]:
    return make_signature({**{key: InputField() for key in keys}, "x": OutputField()})


def _instructions(signature: type[Signature], tools: dict[str, Tool]) -> str:
    inputs = ", ".join(f"`{name}`" for name in signature.input_fields)
    outputs = ", ".join(f"`{name}`" for name in signature.output_fields)
    lines = [f"{signature.instructions}\n"] if signature.instructions else []
    lines += [
        f"You are an Agent. In each episode, you will be given the fields {inputs} as input. And you can see your past "
        "trajectory so far.",
        "Your goal is to use one or more of the supplied tools to collect any necessary information for producing "
        f"{outputs}.\n",
        "To do this, you will interleave next_thought, next_tool_name, and next_tool_args in each turn, and also when "
        "finishing the task.",
        "After each tool call, you receive a resulting observation, which gets appended to your trajectory.\n",
        "When writing next_thought, you may reason about the current situation and plan for future steps.",
        "When selecting the next_tool_name and its next_tool_args, the tool must be one of:\n",
    ]
    lines += [f"({number}) {tool}" for number, tool in enumerate(tools.values(), start=1)]
    lines.append("When providing `next_tool_args`, the value inside the field must be in JSON format")
    return "\n".join(lines)
