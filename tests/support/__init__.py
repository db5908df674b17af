"""What tests share: stand-ins, reference numbers, running servers."""
