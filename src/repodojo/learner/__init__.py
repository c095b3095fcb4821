"""How weights change: packing along shared prefixes, supervised and reinforcement steps, checkpoints."""
