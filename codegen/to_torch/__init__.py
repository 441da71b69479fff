"""Programs to statements over torch tensors."""
