"""Datasets in their published layouts; each module holds one, none is imported before it is asked for."""
