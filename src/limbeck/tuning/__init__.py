"""Tuning: many fits over temperature, alpha and more; validation chooses, and the test set is read once."""
