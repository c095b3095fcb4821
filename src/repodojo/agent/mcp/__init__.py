"""MCP: tools of other people's servers for the built-in agent, and the repository's own tools for other agents."""
