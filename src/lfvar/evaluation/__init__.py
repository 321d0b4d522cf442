"""What the evaluation commands do, target by target."""
