"""`make image-check`: the images of docker/, built on stand-ins of their bases, and run."""
