"""The classic of Feast's tutorial: a stored rate plus values from the request."""

from galley_transform import transform


@transform(
    name="transformed_conv_rate",
    version="1.0.0",
    outputs={"conv_rate_plus_val1": float, "conv_rate_plus_val2": float},
    volatility="immutable",
)
def conversion_rate(conv_rate: float, val_to_add: int, val_to_add_2: int):
    """A driver without a stored rate has no sums either: nulls never reach this function."""
    return {
        "conv_rate_plus_val1": conv_rate + val_to_add,
        "conv_rate_plus_val2": conv_rate + val_to_add_2,
    }
