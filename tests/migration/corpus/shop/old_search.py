"""Still on what was there before."""

import dspy

from shop.base import ShopModule


class OldSearch(ShopModule):
    def __init__(self):
        super().__init__()
        self.rewrite = dspy.TypedPredictor("wishes -> query")

    def forward(self, wishes):
        return self.rewrite(wishes=wishes)
