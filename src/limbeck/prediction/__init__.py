"""Prediction: a bundle asked about files, without torch."""
