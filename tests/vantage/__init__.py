"""Records of one vantage point: as lines, and from an agent that runs alone."""
