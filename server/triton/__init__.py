"""Starting and stopping the tritonserver that a gateway runs for itself."""
