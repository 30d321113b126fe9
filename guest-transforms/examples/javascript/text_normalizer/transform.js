// Text as a model wants it: lower case, single spaces, no punctuation.

export default {
  name: "text_normalizer",
  version: "1.0.0",
  inputs: { text: "string" },
  outputs: { normalized: "string", tokens: "list:string", token_count: "int64" },
  volatility: "immutable",

  // Everything in ASCII but letters and digits parts words; what is beyond ASCII is kept. (The
  // engine in the sandbox has no Unicode tables for \p{..} in regular expressions.)
  row({ text }) {
    // Letter by letter: a sigma is the same one wherever it stands.
    const lowered = Array.from(text, (letter) => letter.toLowerCase()).join("");
    const tokens = lowered.match(/[a-z0-9\u0080-\uffff]+/g) ?? [];
    return { normalized: tokens.join(" "), tokens, token_count: tokens.length };
  },
};
