"""Watches every episode of training for the signs of cheating, and withholds the reward of what is suspicious."""
