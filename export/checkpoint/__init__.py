"""Public checkpoints: where their files lie, how they are read, what they hold."""
