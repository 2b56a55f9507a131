"""Deliberate defects, most of which a peer has shipped; the contract suite must kill every one.

A mutant of an objective names in `spoils` the setting that it spoils, one of `DEFINED` in tests/objectives/definitions.
Under `KILLED_BY` of its file stand the promises that it breaks, all of them: a promise that stops catching it is
noticed, and so is one that starts to.
"""
