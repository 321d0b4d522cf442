"""Weights in and out: published checkpoints of VAR and LF-VAR, and our own."""
