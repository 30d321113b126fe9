"""Text as a model wants it: lower case, single spaces, no punctuation."""

from galley_transform import transform


@transform(
    version="1.0.0",
    outputs={"normalized": str, "tokens": list[str], "token_count": int},
    volatility="immutable",
)
def text_normalizer(text: str):
    """Letters and digits of any script are kept; everything else parts words."""
    lowered = "".join(letter if letter.isalnum() else " " for letter in text.lower())
    tokens = lowered.split()
    return {"normalized": " ".join(tokens), "tokens": tokens, "token_count": len(tokens)}
