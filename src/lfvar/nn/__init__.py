"""Networks as plain PyTorch: no Lightning, no configuration library, no process group needed."""
