"""What a product's users did with an agent's work, made into task weights, targets of reward and preference pairs."""
