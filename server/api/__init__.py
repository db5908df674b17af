"""What clients speak: the gRPC methods, their messages and their errors. Protobuf ends here."""
