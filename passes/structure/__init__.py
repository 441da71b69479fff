"""Square operators that are mostly zeros by algebra: ties, Kronecker factors, low rank."""
