"""The demo: our own task families, real recorded answers of three small models, and a router learnt from them."""
