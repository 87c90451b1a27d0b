"""How near one report comes to another, for rewards and evaluation alike."""
