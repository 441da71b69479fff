"""Loops of a program as functions in C, called from a module over NumPy."""
