"""Pure functions of learning: advantages, losses, corrections, filters, and the recipes composed of them."""
