"""A model as the judge of two answers: a ready-made metric for shadows.

    ShadowOptions(metrics={"summary": judged_by(LM("openai/gpt-4o-mini"))})

It costs a request for each comparison of answers that differ. Judges have moods; a rollback that goes by them
(``RollbackPolicy.min_parity``) wants a window that is wide enough.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from ..engine import BaseLM, Predict, Prediction, context, make_signature
from .comparison import Metric, fields_equal, plain, scores_of

INSTRUCTIONS = (
    "Two programs were asked the same. Decide whether their answers say the same thing: wording, order and format do not "
    "matter, facts and decisions do."
)


def judged_by(lm: BaseLM, *, instructions: str = INSTRUCTIONS, ignore: Sequence[str] = ("reasoning",)) -> Metric:
    """A metric that asks ``lm`` whether two answers are the same: 1 or 0. Equal ones are not asked about.

    ``ignore``: outputs that the judge is not shown. The metric raises what the model does, and AdapterParseError for a
    verdict that is none: either is counted as a failure of the metric, never as a difference.
    """
    predict = Predict(make_signature("first_answer: str, second_answer: str -> same: bool", instructions))
    equal = fields_equal(tolerance=0.0, ignore=ignore)

    async def judged(served: Prediction, shadow: Prediction) -> bool:
        if (await scores_of(equal, served, shadow)).score == 1:
            return True
        with context(lm=lm):
            verdict = await predict.acall(first_answer=_shown(served, ignore), second_answer=_shown(shadow, ignore))
        return bool(verdict["same"])

    return judged


def _shown(answer: Prediction, ignore: Sequence[str]) -> str:
    fields = {name: plain(value) for name, value in answer.items() if name not in ignore}
    return json.dumps(fields, ensure_ascii=False)
