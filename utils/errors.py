"""The one exception that means "the person at the keyboard can fix this"."""


class CourseError(Exception):
    """A mistake by the user, stated in one sentence that says what to do.

    The command line prints the message and exits with code 2; a notebook shows it as it is.
    Library code raises a subclass when callers may want to tell the cases apart.
    """
