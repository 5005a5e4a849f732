"""The only place that knows asyncio and trio."""

from .contract import Backend, Job, Slot, Timer
from .select import open_backend

__all__ = ["Backend", "Job", "Slot", "Timer", "open_backend"]
