"""Networks of the course: architectures, training, and shipped weights."""
