"""The addresses of the lab: what is real is loopback, what is a cluster's ends in the egress proxy."""

LOOPBACK = "127.0.0.1"
SERVICE_RANGE = "10.96.0.0/16"
SERVICE_IP = "10.96.0.1"
"""The cluster's own service: the API server's certificate names it, so webhooks may be called by it."""
POD_RANGE = "10.64.0.0/16"
NODE_NETWORK = "10.65.0"
KUBELET_PORT = 10250
"""The port of every node's kubelet, by custom; whatever the node is called, one here answers for it."""
KSERVE_PORT, LLMISVC_PORT = 9443, 9444
