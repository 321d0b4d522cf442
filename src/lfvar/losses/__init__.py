"""Loss functions: numbers to numbers, no configuration and no trainer."""
