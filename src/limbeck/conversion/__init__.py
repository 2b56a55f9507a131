"""Conversion: from a network of torch to the bytes of one file that another runtime runs."""
