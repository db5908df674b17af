"""Who may call: keys and tokens to callers, with what each may do; and TLS."""
