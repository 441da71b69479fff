"""The order in which products are multiplied up, for all outputs together, and how each product is carried out."""
