"""Reserved for the agents: one loop, a model adapter and roles. Nothing is here yet."""
