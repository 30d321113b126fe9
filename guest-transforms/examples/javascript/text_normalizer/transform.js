// Text as a model wants it: lower case, single spaces, no punctuation.

export default {
  name: "text_normalizer",
  version: "1.0.0",
  inputs: { text: "string" },
  outputs: { normalized: "string", tokens: "list:string", token_count: "int64" },
  volatility: "immutable",

  // Letters and digits of any script are kept; everything else parts words.
  row({ text }) {
    const tokens = text.toLowerCase().match(/[\p{Alphabetic}\p{N}]+/gu) ?? [];
    return { normalized: tokens.join(" "), tokens, token_count: tokens.length };
  },
};
