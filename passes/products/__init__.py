"""Matrix products as kernels of a GPU, with the elementwise work around them: which, and by what tiles."""
