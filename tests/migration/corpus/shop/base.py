"""What all programs of the shop derive from."""

import dspy


class ShopModule(dspy.Module):
    name = "shop"

    def describe(self):
        return f"{self.name}: {type(self).__name__}"


class ShopSignature(dspy.Signature):
    """Help a customer of the shop."""

    customer: str = dspy.InputField()
