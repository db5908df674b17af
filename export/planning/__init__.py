"""What an export will write and take, told before it begins."""
