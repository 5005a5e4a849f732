import shop
from shop.old_search import OldSearch


def recommend(customer, wishes):
    return shop.Recommend()(customer=customer, wishes=wishes).articles


def both(customer, wishes):
    return recommend(customer, wishes), OldSearch()(wishes=wishes)
