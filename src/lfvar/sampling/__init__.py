"""From a condition to token ids: guidance, filters, noise of its own for each sample, and editing inside a mask."""
