"""Programs to train, evaluate and look at memory networks."""
