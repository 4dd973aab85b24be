"""The catalogue: patterns of Kubernetes for LLMs, and the faults that each prevents or repairs."""
