"""Measurements of lesions: radiomics and the clinical ABCD rule in numbers, cached and computed in parallel."""
