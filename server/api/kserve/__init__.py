"""The gateway as KServe v2 servers are spoken to: one decoupled model, speech in and frames out."""
