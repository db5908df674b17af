"""What numbers are narrowed to, where, and what that is calibrated with."""
