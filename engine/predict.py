"""`Predict`: one signature, one request to an LM, one `Prediction`.

    qa = Predict("question -> answer: str")
    pred = await qa.acall(question="Capital of France?")      # or qa(question=...) outside an event loop
    pred.answer

The LM is, in this order: `lm=` of the call, `predict.lm`, `settings.lm`. The adapter of the settings (default
`ChatAdapter`) writes the prompt and reads the answer.
"""

from __future__ import annotations

import copy as copying
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

from .adapters import ChatAdapter, run_adapter
from .base_module import Parameter
from .example import Prediction
from .lm import BaseLM
from .logs import engine_logger
from .module import Module
from .saved_state import serializable
from .settings import settings
from .signatures import FieldSpec, Signature, ensure_signature
from .sync import run_sync
from .value_types import allows_none, fits, type_name

__all__ = ["Predict"]

logger = engine_logger("dspex.engine.predict", dspy="dspy.predict.predict")

# A state file that could set these would decide where the user's API key is sent.
_UNSAFE_LM_STATE_KEYS = frozenset({"api_base", "base_url", "model_list"})
_DEFAULT_ADAPTER = ChatAdapter()


@dataclass(frozen=True, slots=True)
class _Inputs:
    """What a call needs to know of a signature's inputs, worked out once per signature."""

    names: tuple[str, ...]
    with_default: tuple[FieldSpec, ...]
    typed: tuple[FieldSpec, ...]
    needed: tuple[str, ...]


@lru_cache(maxsize=2048)
def _inputs_of(specs: tuple[FieldSpec, ...]) -> _Inputs:
    inputs = [spec for spec in specs if spec.kind == "input"]
    return _Inputs(
        names=tuple(spec.name for spec in inputs),
        with_default=tuple(spec for spec in inputs if not spec.required),
        typed=tuple(spec for spec in inputs if not dict(spec.extra).get("IS_TYPE_UNDEFINED", False)),
        needed=tuple(spec.name for spec in inputs if not allows_none(spec.annotation)),
    )


class Predict(Module, Parameter):
    """Asks an LM to fill a signature's outputs.

    Attributes:
        signature: what is asked.
        demos: examples shown to the model, `Example`s or dicts.
        config: options of every request, over those of the LM.
        lm: the LM of this predictor; None means `settings.lm`.
        traces, train: kept for optimizers and saved with the state.
        stage: a random name, unique to this predictor.
    """

    def __init__(
        self, signature: str | type[Signature], callbacks: Sequence[object] | None = None, **config: Any
    ) -> None:
        """Make a predictor of `signature`.

        Args:
            **config: defaults of every request (`temperature`, `n`, `max_tokens`, ...).

        Raises:
            SignatureError: the signature cannot be read; the error names the field and the fix.
        """
        super().__init__(callbacks=callbacks)
        self.stage = secrets.token_hex(8)
        self.signature: type[Signature] = ensure_signature(signature)
        self.fields: dict[str, Any] = {}
        self.config: dict[str, Any] = config
        self.reset()

    def reset(self) -> None:
        """Forget what was learned or set: LM, demos, traces."""
        self.lm: BaseLM | None = None
        self.traces: list[Any] = []
        self.train: list[Any] = []
        self.demos: list[Any] = []

    # -- calling -----------------------------------------------------------------------------------------------------

    def __call__(self, *args: Any, **kwargs: Any) -> Prediction:
        """As `acall`, from synchronous code. Raises `SyncInsideLoopError` on a running event loop."""
        if args:
            raise ValueError(self._positional_args_message())
        return super().__call__(**kwargs)

    async def acall(self, *args: Any, **kwargs: Any) -> Prediction:
        """Ask the LM.

        Args:
            **kwargs: the inputs by name; and, not inputs, `lm`, `signature`, `demos` and `config` (a dict of request
                options), which override the predictor's own for this call.

        Raises:
            ValueError: positional arguments, no LM, or an LM that is not a `BaseLM`.
            LMError: the request failed.
            AdapterParseError: the answer does not hold the signature's outputs.

        A missing input is logged and left out of the prompt, an unknown one logged and ignored, as in dspy. To have
        missing inputs refused, see `dspex.engine.inputs` (a `ProgramActor` refuses them).
        """
        if args:
            raise ValueError(self._positional_args_message())
        return await super().acall(**kwargs)

    def forward(self, **kwargs: Any) -> Prediction:
        """`aforward` from synchronous code. Call the predictor itself instead."""
        return run_sync(self.aforward, **kwargs)

    async def aforward(self, **kwargs: Any) -> Prediction:
        """One request. Call `acall` instead, which also keeps history and usage."""
        record_trace = kwargs.pop("_trace", True)
        lm, config, signature, demos = self._prepared(kwargs)
        adapter = settings.get("adapter") or _DEFAULT_ADAPTER
        if settings.get("send_stream") is None:
            completions = await run_adapter(adapter, lm, config, signature, demos, kwargs)
        else:
            with settings.context(**self._stream_settings()):
                completions = await run_adapter(adapter, lm, config, signature, demos, kwargs)
        prediction = Prediction.from_completions(completions, signature=signature)
        if record_trace:
            self._trace(kwargs, prediction)
        return prediction

    def _stream_settings(self) -> dict[str, Any]:
        """A program's stream carries this predictor's answer when no one listens in particular, or someone to this."""
        listeners: Sequence[Any] = settings.get("stream_listeners") or ()
        if not listeners or any(listener.predict is self for listener in listeners):
            return {"caller_predict": self}
        return {"send_stream": None}

    def _trace(self, inputs: Mapping[str, Any], prediction: Prediction) -> None:
        trace = cast("list[Any] | None", settings.get("trace"))
        if trace is None:
            return
        limit: int = settings.get("max_trace_size")
        if limit <= 0:
            return
        if len(trace) >= limit:
            # Moving 10,000 entries by one place costs more than a whole call does otherwise: drop a hundredth at once.
            del trace[: len(trace) - limit + max(1, limit // 100)]
        trace.append((self, dict(inputs), prediction))

    def _prepared(self, kwargs: dict[str, Any]) -> tuple[BaseLM, dict[str, Any], type[Signature], Sequence[Any]]:
        """LM, options, signature and demos of a call, taken out of `kwargs`; what is left there are the inputs."""
        if "new_signature" in kwargs:
            # dspy's error class
            raise AssertionError("new_signature is no longer a valid keyword argument. Pass signature=... instead.")
        signature = ensure_signature(cast("type[Signature]", kwargs.pop("signature", self.signature)))
        demos: Sequence[Any] = kwargs.pop("demos", self.demos)
        config: dict[str, Any] = {**self.config, **kwargs.pop("config", {})}
        lm = _usable_lm(kwargs.pop("lm", self.lm) or settings.get("lm"))
        _keep_candidates_apart(config, lm)
        predicted = kwargs.get("prediction")
        if isinstance(predicted, dict) and predicted.get("type") == "content" and "content" in predicted:  # pyright: ignore[reportUnknownMemberType]
            # OpenAI's "predicted outputs" travel as an option of the request, not as an input.
            config["prediction"] = kwargs.pop("prediction")
        inputs = _inputs_of(signature.specs)
        for spec in inputs.with_default:
            if spec.name not in kwargs:
                kwargs[spec.name] = spec.default()
        _warn_of_inputs(kwargs, inputs)
        return lm, config, signature, demos

    def _positional_args_message(self) -> str:
        names = list(self.signature.input_fields)
        return (
            "Positional arguments are not allowed when calling `dspy.Predict`, must use keyword arguments that match your "
            f"signature input fields: '{', '.join(names)}'. For example: `predict({names[0]}=input_value, ...)`."
        )

    def update_config(self, **kwargs: Any) -> None:
        """Change some request options of this predictor."""
        self.config = {**self.config, **kwargs}

    def get_config(self) -> dict[str, Any]:
        """The request options of this predictor."""
        return self.config

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.signature})"

    # -- state -------------------------------------------------------------------------------------------------------

    def dump_state(self, json_mode: bool = True) -> dict[str, Any]:
        """Demos, signature texts and LM, in dspy's layout. With `json_mode`, demos are plain dicts."""
        demos: list[Any] = []
        for demo in self.demos:
            made = demo.copy()
            for name in list(made):
                made[name] = serializable(made[name])
            demos.append(made.toDict() if json_mode and not isinstance(made, dict) else made)
        return {
            "traces": self.traces,
            "train": self.train,
            "demos": demos,
            "signature": self.signature.dump_state(),
            "lm": self.lm.dump_state() if self.lm else None,
        }

    def load_state(self, state: Mapping[str, Any], *, allow_unsafe_lm_state: bool = False) -> Predict:
        """Take over a predictor's state, ours or dspy's. Demos become dicts, as in dspy. Nothing changes on an error.

        Args:
            allow_unsafe_lm_state: also take endpoint addresses and custom LM classes from the state.

        Raises:
            KeyError: a part of the state is missing.
            NotImplementedError: the state was written by dspy before 2.6, or holds decision criteria.
        """
        self.prepared_state(state, allow_unsafe_lm_state=allow_unsafe_lm_state)()
        return self

    def prepared_state(self, state: Mapping[str, Any], *, allow_unsafe_lm_state: bool = False) -> Callable[[], None]:
        """Check a state and return what takes it over, which cannot fail. Raises as `load_state`."""
        signature = self.signature.load_state(state["signature"])
        if state.get("fields"):
            raise NotImplementedError(
                "This state holds criteria of decision outputs, which dspex.engine does not have."
            )
        lm_state = state["lm"]
        lm: BaseLM | None = None
        if lm_state:
            safe = lm_state if allow_unsafe_lm_state else _without_endpoints(lm_state)
            lm = BaseLM.load_state(safe, allow_custom_lm_class=allow_unsafe_lm_state)
        if "extended_signature" in state:
            raise NotImplementedError("Loading extended_signature is no longer supported in DSPy 2.6+")
        kept = {name: _own(state[name]) for name in ("traces", "train", "demos") if name in state}

        def take_over() -> None:
            vars(self).update(kept, signature=signature, lm=lm)

        return take_over


def _own(rows: Any) -> Any:
    """The list and its rows as the predictor's own; the values in them stay those of the state."""
    return [copying.copy(row) for row in cast("list[Any]", rows)] if isinstance(rows, list) else rows


def _usable_lm(lm: object) -> BaseLM:
    if isinstance(lm, BaseLM):
        return lm
    if lm is None:
        raise ValueError(
            "No LM is loaded. Please configure the LM using `dspy.configure(lm=dspy.LM(...))`. e.g, "
            "`dspy.configure(lm=dspy.LM('openai/gpt-4o-mini'))`"
        )
    if isinstance(lm, str):
        raise ValueError(
            "LM must be an instance of `dspy.BaseLM`, not a string. Instead of using a string like "
            f"'dspy.configure(lm=\"{lm}\")', please configure the LM like 'dspy.configure(lm=dspy.LM(\"{lm}\"))'"
        )
    raise ValueError(
        f"LM must be a dspy.BaseLM or a decision-request client, not {type(lm)}. (dspex.engine takes the former only.)"
    )


def _keep_candidates_apart(config: dict[str, Any], lm: BaseLM) -> None:
    """Several candidates at temperature 0 would all be the same: dspy raises it to 0.7 then, and so do we."""
    defaults = lm.kwargs
    candidates = config.get("n") or defaults.get("n") or defaults.get("num_generations") or 1
    if candidates > 1:
        temperature = config.get("temperature") or defaults.get("temperature")
        if temperature is None or temperature <= 0.15:
            config["temperature"] = 0.7


def _warn_of_inputs(given: Mapping[str, Any], inputs: _Inputs) -> None:
    unknown = [name for name in given if name not in inputs.names]
    if unknown:
        logger.warning(
            "Input contains fields not in signature. These fields will be ignored: %s. Expected fields: %s.",
            unknown,
            list(inputs.names),
        )
    if settings.get("warn_on_type_mismatch"):
        for spec in inputs.typed:
            value = given.get(spec.name)
            if value is not None and not fits(value, spec.annotation):
                logger.warning(
                    "Type mismatch for field '%s': expected %s based on given Signature, but the provided value is "
                    "incompatible: %s.",
                    spec.name,
                    type_name(spec.annotation),
                    type_name(type(value)),
                )
    missing = [name for name in inputs.needed if name not in given]
    if missing:
        logger.warning(
            "Not all input fields were provided to module. Present: %s. Missing: %s.",
            [name for name in inputs.names if name in given],
            missing,
        )


def _without_endpoints(lm_state: Mapping[str, Any]) -> Mapping[str, Any]:
    unsafe = sorted(_UNSAFE_LM_STATE_KEYS & lm_state.keys())
    if unsafe:
        logger.warning(
            "Ignoring unsafe LM config key(s) during state load: %s. Pass allow_unsafe_lm_state=True to preserve these "
            "keys for trusted files.",
            unsafe,
        )
    return {key: value for key, value in lm_state.items() if key not in _UNSAFE_LM_STATE_KEYS}
