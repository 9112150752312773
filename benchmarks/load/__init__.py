"""Load on a mirror by simulated jobs of continuous integration, driven by locust: `make load`."""
