"""Lightning shells around the nets: they choose losses and optimizers, and nothing else."""
