"""What acts: the loop, the tools, the prompts, and scripted policies of the same interface."""
