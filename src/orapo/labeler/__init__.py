"""Report text to 14 label states, with the evidence for each."""
