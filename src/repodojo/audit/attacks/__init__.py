"""One file a family of attacks, by its number in docs/rewards.md; each holds `ATTACKS`."""
