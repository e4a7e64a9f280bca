"""Networks trained on a secret program, and the evidence that an explanation of one must bring."""
