"""Fine-tuning and launching through a provider object of the user's, with dspy's interface.

The engine trains nothing itself: `LM.finetune`, `reinforce`, `launch` and `kill` hand over to `lm.provider`. The default
provider can do none of it and says so.
"""

from __future__ import annotations

from concurrent.futures import Future
from threading import Thread
from typing import Any

from ..logs import engine_logger

__all__ = ["ReinforceJob", "TrainingJob", "TrainingProvider"]

logger = engine_logger("dspex.engine.lm.training", dspy="dspy.clients.provider")


class TrainingJob(Future[Any]):
    """A fine-tuning job under way; its result is the tuned LM, or the exception that ended it."""

    def __init__(
        self,
        thread: Thread | None = None,
        model: str | None = None,
        train_data: list[dict[str, Any]] | None = None,
        train_data_format: object = None,
        train_kwargs: dict[str, Any] | None = None,
    ) -> None:
        self.thread = thread
        self.model = model
        self.train_data = train_data
        self.train_data_format = train_data_format
        self.train_kwargs = train_kwargs or {}
        super().__init__()

    def status(self) -> Any:
        """How far the job is, in the provider's terms."""
        raise NotImplementedError


class ReinforceJob:
    """A reinforcement learning job of a provider."""

    def __init__(self, lm: Any, train_kwargs: dict[str, Any] | None = None) -> None:
        self.lm = lm
        self.train_kwargs = train_kwargs or {}
        self.checkpoints: dict[str, Any] = {}
        self.last_checkpoint: str | None = None

    def initialize(self) -> None:
        """Get ready to train."""
        raise NotImplementedError

    def step(self, train_data: list[dict[str, Any]], train_data_format: object = None) -> None:
        """Train on a batch."""
        raise NotImplementedError

    def terminate(self) -> None:
        """Stop, and release what the job holds."""
        raise NotImplementedError

    def update_model(self) -> None:
        """Let the LM use the newest weights."""
        raise NotImplementedError

    def save_checkpoint(self, checkpoint_name: str) -> None:
        """Keep the weights under a name."""
        raise NotImplementedError

    def cancel(self) -> None:
        """Give the job up."""
        raise NotImplementedError

    def status(self) -> Any:
        """How far the job is, in the provider's terms."""
        raise NotImplementedError


class TrainingProvider:
    """Base of providers that train or launch models (dspy calls it `Provider`).

    Attributes:
        finetunable: `finetune` works.
        reinforceable: `ReinforceJob` works.
    """

    def __init__(self) -> None:
        self.finetunable = False
        self.reinforceable = False
        self.TrainingJob: type[TrainingJob] = TrainingJob
        self.ReinforceJob: type[ReinforceJob] = ReinforceJob

    @staticmethod
    def is_provider_model(model: str) -> bool:
        """Whether this provider serves the model."""
        return False

    @staticmethod
    def launch(lm: Any, launch_kwargs: dict[str, Any] | None = None) -> None:
        """Start serving the model. Nothing to do here."""
        logger.info("`launch()` is called for the auto-launched model %s -- no action is taken.", lm.model)

    @staticmethod
    def kill(lm: Any, launch_kwargs: dict[str, Any] | None = None) -> None:
        """Stop serving the model. Nothing to do here."""
        logger.info("`kill()` is called for the auto-launched model %s -- no action is taken.", lm.model)

    @staticmethod
    def finetune(
        job: TrainingJob,
        model: str | None,
        train_data: list[dict[str, Any]] | None,
        train_data_format: object,
        train_kwargs: dict[str, Any] | None = None,
    ) -> str:
        """Train, and return the name of the tuned model. Runs in a thread of its own."""
        raise NotImplementedError
