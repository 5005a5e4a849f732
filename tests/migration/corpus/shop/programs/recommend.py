from shop.base import ShopModule, ShopSignature
from .search import Search, predict


class RecommendSignature(ShopSignature):
    wishes: str = predict.InputField()
    articles: list[str] = predict.OutputField()


class Recommend(ShopModule):
    def __init__(self):
        super().__init__()
        self.search = Search()
        self.choose = predict.ChainOfThought(RecommendSignature)

    def forward(self, customer, wishes):
        found = self.search(wishes=wishes)
        return self.choose(customer=customer, wishes=f"{wishes} ({found.query})")
