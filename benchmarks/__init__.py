"""The composition root: command line, runner, latency, cost table and report."""
