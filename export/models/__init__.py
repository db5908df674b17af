"""The networks in torch, with the names that the public checkpoints use."""
