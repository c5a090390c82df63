"""The error of a run, as a sentence and as napari's notification."""

from __future__ import annotations

from heliorestore.errors import HeliorestoreError


def explain(error: Exception) -> str:
    """The error as a sentence that helps."""
    if isinstance(error, HeliorestoreError):
        return str(error)
    # By name, so that torch need not be loaded for this.
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return (
            f"There is not enough memory: choose fewer frames or objects, a smaller part of the image, "
            f"or the CPU as device. ({error})"
        )
    return f"The restoration failed with {type(error).__name__}: {error}"


def notify(error: Exception) -> None:
    """One notification of napari: the sentence for a user's error, with the traceback for any other error."""
    from napari.utils.notifications import notification_manager, show_error

    if isinstance(error, (HeliorestoreError, MemoryError)) or type(error).__name__ == "OutOfMemoryError":
        show_error(explain(error))
    else:
        notification_manager.receive_error(type(error), error, error.__traceback__)
