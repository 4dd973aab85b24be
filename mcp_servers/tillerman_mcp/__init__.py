"""Reserved for the MCP door: six servers of thin tools over the desk. Nothing is here yet."""
