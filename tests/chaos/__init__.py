"""Seeded faults on a whole Flow in real processes, and a checker over what every client saw. See docs/chaos.md."""
