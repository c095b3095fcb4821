"""The scheduler on a virtual clock: what a pipeline would do with other latencies, sizes and rules."""
