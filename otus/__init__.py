"""Otus: a compiler for tensor expressions and their derivatives."""
