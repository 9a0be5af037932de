"""Measures dirsync and other tools on the same work: `make bench`, or `python -m benchmarks --help`.

A place is where the trees lie, a tool what keeps them the same, a work what is done to them, a figure what was
measured.
Nothing here is part of the program, and nothing here takes a tool's word: the trees on disk are compared.
"""
