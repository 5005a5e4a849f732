"""`ChainOfThought`: let the model reason in a field of its own before it answers."""

from __future__ import annotations

from typing import Any

from pydantic.fields import FieldInfo

from ..example import Prediction
from ..module import Module
from ..predict import Predict
from ..signatures import OutputField, Signature, ensure_signature
from ..sync import run_sync

__all__ = ["ChainOfThought"]


class ChainOfThought(Module):
    """A `Predict` whose signature has a first output `reasoning`.

        cot = ChainOfThought("question -> answer: float")
        pred = await cot.acall(question="17 * 3?")
        pred.reasoning, pred.answer

    The inner predictor is `cot.predict`: its path in saved state is "predict", as in dspy.
    """

    def __init__(
        self,
        signature: str | type[Signature],
        rationale_field: FieldInfo | None = None,
        rationale_field_type: Any = str,
        **config: Any,
    ) -> None:
        """Extend `signature`.

        Args:
            rationale_field: a field to use instead of the plain one; its own type counts then.
            rationale_field_type: type of the plain field.
            **config: as for `Predict`.

        Raises:
            SignatureError: as for `Predict`.
        """
        super().__init__()
        field = rationale_field if rationale_field is not None else OutputField(desc="${reasoning}")
        type_ = rationale_field.annotation if rationale_field is not None else rationale_field_type
        extended = ensure_signature(signature).prepend(name="reasoning", field=field, type_=type_)
        self.predict = Predict(extended, **config)

    def forward(self, **kwargs: Any) -> Prediction:
        """`aforward` from synchronous code. Call the module itself instead."""
        return run_sync(self.aforward, **kwargs)

    async def aforward(self, **kwargs: Any) -> Prediction:
        """Ask the inner predictor."""
        return await self.predict.acall(**kwargs)
