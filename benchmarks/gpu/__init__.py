"""``python -m benchmarks --suite gpu``: Otus on a GPU beside its peers; needs torch and Triton alone.

What is missing (JAX, say) is named in the table and not timed.  Without a GPU, or with ``--interpret``, every row
runs at a tiny size in Triton's interpreter: that proves that the suite starts and that answers agree; the times mean
nothing.
"""
