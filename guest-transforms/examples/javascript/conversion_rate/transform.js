// The classic of Feast's tutorial: a stored rate plus values from the request.

export default {
  name: "transformed_conv_rate",
  version: "1.0.0",
  inputs: { conv_rate: "float64", val_to_add: "int64", val_to_add_2: "int64" },
  outputs: { conv_rate_plus_val1: "float64", conv_rate_plus_val2: "float64" },
  volatility: "immutable",

  // A driver without a stored rate has no sums either: nulls never reach this function.
  row({ conv_rate, val_to_add, val_to_add_2 }) {
    return {
      conv_rate_plus_val1: conv_rate + val_to_add,
      conv_rate_plus_val2: conv_rate + val_to_add_2,
    };
  },
};
