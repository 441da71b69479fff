"""Example programs: ``.otus`` files and the scripts that use them."""
