"""The APIs that the gateway speaks: each reads a call, and writes answers, events and errors, in its own form."""
