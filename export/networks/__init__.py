"""The networks of a checkpoint, each as a module to export with inputs to try it with."""
