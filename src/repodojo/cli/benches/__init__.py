"""One benchmark a module: `run(quick: bool) -> dict` with the headline as `ratio`."""
