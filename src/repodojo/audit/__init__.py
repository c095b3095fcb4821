"""The attacker against the rewarder, and the monitor that watches training for the same signs."""
