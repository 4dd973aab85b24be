"""A real Kubernetes control plane on one machine, without containers: the lab."""
