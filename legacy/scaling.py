"""How many workers there should be: one step at a time, by how long requests wait and workers do not."""

from __future__ import annotations

from typing import Literal

from .policies import ScalingPolicy

__all__ = ["scaling_step"]


def scaling_step(
    policy: ScalingPolicy,
    *,
    least: int,
    most: int,
    active: int,
    coming: int,
    waited: float | None,
    idle: float | None,
) -> Literal[-1, 0, 1]:
    """1: one more. -1: one less. `coming` of the `active` workers are still starting: nothing is added until they serve.

    `waited`: seconds that the oldest waiting request has waited; `idle`: that the idlest worker has been idle. None: no such.
    """
    if waited is not None and waited >= policy.up_after and active < most and not coming:
        return 1
    if waited is None and idle is not None and idle >= policy.down_after and active > least:
        return -1
    return 0
