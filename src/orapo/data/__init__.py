"""Where studies come from, and how they become batches."""
