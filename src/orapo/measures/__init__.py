"""How similar two reports are, for rewards and evaluation alike."""
