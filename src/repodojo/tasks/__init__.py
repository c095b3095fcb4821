"""Where tasks come from: sources, discovery, injected bugs, validation in the sandbox, the store."""
