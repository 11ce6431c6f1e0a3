"""The servers Flow is measured against, each a program of its own."""
