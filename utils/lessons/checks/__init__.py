"""One module a lesson, `lesson_NN.py`: its checks, hints, model and data. See CONTRIBUTING.md."""
