"""Measures of what was trained, as torchmetrics `Metric`s: exact on any number of processes."""
