"""Reserved for the A2A door: agent cards, executors and a client. Nothing is here yet."""
