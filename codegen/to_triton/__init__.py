"""Programs to modules of Triton kernels, called over torch tensors."""
