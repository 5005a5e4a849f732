"""A package that shows the names of its modules."""

from .base import ShopModule
from .programs import Recommend, Search

__all__ = ["Recommend", "Search", "ShopModule"]
