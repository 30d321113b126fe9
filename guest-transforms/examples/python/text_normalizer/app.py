"""Text as a model wants it: lower case, single spaces, no punctuation."""

import re

from galley_transform import transform


@transform(
    version="1.0.0",
    outputs={"normalized": str, "tokens": list[str], "token_count": int},
    volatility="immutable",
)
def text_normalizer(text: str):
    """Everything in ASCII but letters and digits parts words; what is beyond ASCII is kept."""
    # Letter by letter: a sigma is the same one wherever it stands.
    lowered = "".join(letter.lower() for letter in text)
    parted = re.split("[^a-z0-9\x80-\U0010ffff]+", lowered)
    tokens = [token for token in parted if token]
    return {"normalized": " ".join(tokens), "tokens": tokens, "token_count": len(tokens)}
