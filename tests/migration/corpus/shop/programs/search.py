import dspy as predict

from ..base import ShopModule

__all__ = ["Search"]


class Search(ShopModule):
    def __init__(self):
        super().__init__()
        self.rewrite = predict.Predict("wishes -> query")

    def forward(self, wishes):
        return self.rewrite(wishes=wishes)
