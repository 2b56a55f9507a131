"""Benchmark: what an answer of teacher, student and exports costs on this machine."""
