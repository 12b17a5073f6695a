"""The command line as users meet it: real processes against the embedded cluster."""
