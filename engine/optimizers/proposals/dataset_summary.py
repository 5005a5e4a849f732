"""What a training set is about, in two or three sentences of a model's.

    summary = await acreate_dataset_summary(trainset, view_data_batch_size=10, prompt_model=lm)

The model sees the examples in batches, each with what was observed before; after at most ten batches the observations
are summarised. Prompts and order of requests are those of dspy 3.4.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

from ...logs import engine_logger
from ...predict import Predict
from ...settings import context, settings
from ...signatures import InputField, OutputField, Signature
from ...sync import run_sync
from .texts import order_input_keys_in_string, strip_prefix

__all__ = [
    "DatasetDescriptor",
    "DatasetDescriptorWithPriorObservations",
    "ObservationSummarizer",
    "acreate_dataset_summary",
    "create_dataset_summary",
    "order_input_keys_in_string",
]

logger = engine_logger("dspex.engine.optimizers.proposals.dataset_summary", dspy="dspy.propose.dataset_summary_generator")

_MAX_BATCHES = 10
_MAX_SKIPS = 5
_NOTHING_TO_ADD = "COMPLETE"


class ObservationSummarizer(Signature):
    """Given a series of observations I have made about my dataset, please summarize them into a brief 2-3 sentence summary which highlights only the most important details."""  # noqa: E501

    observations = InputField(desc="Observations I have made about my dataset")
    summary = OutputField(
        desc="Two to Three sentence summary of only the most significant highlights of my observations"
    )


class DatasetDescriptor(Signature):
    """Given several examples from a dataset please write observations about trends that hold for most or all of the samples. Some areas you may consider in your observations: topics, content, syntax, conciseness, etc. It will be useful to make an educated guess as to the nature of the task this dataset will enable. Don't be afraid to be creative"""  # noqa: E501

    examples = InputField(desc="Sample data points from the dataset")
    observations = OutputField(desc="Somethings that holds true for most or all of the data you observed")


class DatasetDescriptorWithPriorObservations(Signature):
    """Given several examples from a dataset please write observations about trends that hold for most or all of the samples. I will also provide you with a few observations I have already made.  Please add your own observations or if you feel the observations are comprehensive say 'COMPLETE' Some areas you may consider in your observations: topics, content, syntax, conciceness, etc. It will be useful to make an educated guess as to the nature of the task this dataset will enable. Don't be afraid to be creative"""  # noqa: E501

    examples = InputField(desc="Sample data points from the dataset")
    prior_observations = InputField(desc="Some prior observations I made about the data")
    observations = OutputField(
        desc="Somethings that holds true for most or all of the data you observed or COMPLETE if you have nothing to add"
    )


async def acreate_dataset_summary(
    trainset: Sequence[Any],
    view_data_batch_size: int,
    prompt_model: Any,
    log_file: Any = None,
    verbose: bool = False,
) -> str:
    """The summary.

    Args:
        trainset: the examples.
        view_data_batch_size: how many of them the model sees at a time.
        prompt_model: the LM that observes; None: the one of the settings.
        log_file: an open text file for the observations on the way.
        verbose: print them.

    Raises:
        Exception: what the first batch or the summary raised. A later batch that raises is logged, and the observations
            up to it are summarised.
    """
    if verbose:
        print("\nBootstrapping dataset summary (this will be used to generate instructions)...")
    lm = prompt_model if prompt_model else settings.lm
    with context(lm=lm) if lm else nullcontext():
        seen = await Predict(DatasetDescriptor, n=1, temperature=1.0).acall(
            examples=_shown(trainset[:view_data_batch_size])
        )
        observations: list[str] = [seen["observations"]]
        if log_file:
            log_file.write("PRODUCING DATASET SUMMARY\n")
        try:
            await _observe_further(observations, trainset, view_data_batch_size, log_file, verbose)
        except Exception as error:
            logger.warning(f"Only a part of the data was observed ({error}); the summary is made of that.")
        summary = await Predict(ObservationSummarizer, n=1, temperature=1.0).acall(observations="".join(observations))
    if verbose:
        print(f"summary: {summary}")
    if log_file:
        log_file.write(f"summary: {summary}\n")
    short = strip_prefix(summary.summary)
    if verbose:
        print(f"\nGenerated summary: {short}\n")
    return short


async def _observe_further(
    observations: list[str], trainset: Sequence[Any], size: int, log_file: Any, verbose: bool
) -> None:
    """Add what each batch after the first shows, until the model has said several times that nothing is missing."""
    skips = 0
    for start in list(range(size, len(trainset), size))[: _MAX_BATCHES - 1]:
        if verbose:
            print(f"b: {start}")
        seen = await Predict(DatasetDescriptorWithPriorObservations, n=1, temperature=1.0).acall(
            prior_observations="".join(observations), examples=_shown(trainset[start : start + size])
        )
        if seen["observations"][: len(_NOTHING_TO_ADD)].upper() == _NOTHING_TO_ADD:
            skips += 1
            if skips >= _MAX_SKIPS:
                return
            continue
        observations.append(seen["observations"])
        if log_file:
            log_file.write(f"observations {''.join(observations)}\n")


def create_dataset_summary(
    trainset: Sequence[Any],
    view_data_batch_size: int,
    prompt_model: Any,
    log_file: Any = None,
    verbose: bool = False,
) -> str:
    """`acreate_dataset_summary` from synchronous code. Raises `SyncInsideLoopError` on a running event loop."""
    return run_sync(acreate_dataset_summary, trainset, view_data_batch_size, prompt_model, log_file, verbose)


def _shown(examples: Sequence[Any]) -> str:
    return order_input_keys_in_string(repr(examples))
