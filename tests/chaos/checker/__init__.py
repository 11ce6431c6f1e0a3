"""The judge: what clients saw and what is stored, against what ARCHITECTURE.md promises. Pure."""
