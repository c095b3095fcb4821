"""OpenAI- and Anthropic-compatible endpoints that record exact tokens, and a harness for any agent behind them."""
