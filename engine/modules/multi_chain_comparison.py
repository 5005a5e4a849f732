"""`MultiChainComparison`: show the model several attempts at a question and ask for a better answer.

    compare = MultiChainComparison("question -> answer", M=3)
    pred = await compare.acall(completions, question="...")     # completions: three attempts with reasoning and answer
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..example import Prediction
from ..module import Module
from ..off_loop import ask
from ..predict import Predict
from ..signatures import InputField, OutputField, Signature, ensure_signature
from ..sync import run_sync

__all__ = ["MultiChainComparison"]


class MultiChainComparison(Module):
    """A `Predict` over M attempts.

    Attributes:
        M: attempts that a call must give.
        last_key: the output that is quoted of each attempt: the signature's last.
    """

    def __init__(
        self,
        signature: str | type[Signature],
        M: int = 3,
        temperature: float = 0.7,
        **config: Any,
    ) -> None:
        """Extend `signature` by an input for each attempt and the output `rationale`.

        Args:
            temperature, **config: request options, as for `Predict`.
        """
        super().__init__()
        self.M = M
        signature = ensure_signature(signature)
        *_, self.last_key = signature.output_fields
        for number in range(1, M + 1):
            name = f"reasoning_attempt_{number}"
            signature = signature.append(name, InputField(desc="${reasoning attempt}")).with_updated_fields(
                name, prefix=f"Student Attempt #{number}:"
            )
        signature = signature.prepend("rationale", OutputField(desc="${corrected reasoning}")).with_updated_fields(
            "rationale", prefix="Accurate Reasoning: Thank you everyone. Let's now holistically"
        )
        self.predict = Predict(signature, temperature=temperature, **config)

    def forward(self, completions: Iterable[Mapping[str, Any]], **kwargs: Any) -> Prediction:
        """`aforward` from synchronous code. Call the module itself instead."""
        return run_sync(self.aforward, completions, **kwargs)

    async def aforward(self, completions: Iterable[Mapping[str, Any]], **kwargs: Any) -> Prediction:
        """Compare.

        Args:
            completions: M attempts, each with `rationale` or `reasoning` and the signature's last output.
            **kwargs: the signature's inputs.

        Raises:
            AssertionError: there are not M attempts.
        """
        attempts: list[str] = []
        for completion in completions:
            rationale = _first_line(completion.get("rationale", completion.get("reasoning")))
            answer = _first_line(str(completion[self.last_key]))
            attempts.append(f"«I'm trying to {rationale} I'm not sure but my prediction is {answer}»")
        if len(attempts) != self.M:
            raise AssertionError(
                f"The number of attempts ({len(attempts)}) doesn't match the expected number M ({self.M}). Please set "
                "the correct value for M when initializing MultiChainComparison."
            )
        shown = {f"reasoning_attempt_{number}": attempt for number, attempt in enumerate(attempts, start=1)}
        return await ask(self.predict, **{**shown, **kwargs})


def _first_line(text: Any) -> str:
    return text.strip().split("\n")[0].strip()
