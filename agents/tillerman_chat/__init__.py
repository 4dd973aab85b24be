"""Reserved for the chat doors: the terminal and Slack. Nothing is here yet."""
