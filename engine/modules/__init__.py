"""Ready-made programs built on `Predict`."""

from .chain_of_thought import ChainOfThought

__all__ = ["ChainOfThought"]
