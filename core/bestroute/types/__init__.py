"""The nouns of the field: prices, pools, plans, queries, samples, predictions, and the seams between them."""
