"""The error of a run, as a sentence and as napari's notification."""

from __future__ import annotations

from heliorestore.docs_pages import with_page
from heliorestore.errors import HeliorestoreError, memory_asked, memory_is_full
from heliorestore.plugin.viewer.words import in_words


def explain(error: Exception) -> str:
    """The error as a sentence that helps."""
    if isinstance(error, HeliorestoreError):
        return with_page(in_words(str(error)), error)
    if memory_is_full(error):
        return (
            f"There is not enough memory{memory_asked(error)}: choose fewer frames or objects, "
            "a smaller part of the image, or the CPU as device."
        )
    return f"The restoration failed with {type(error).__name__}: {error}"


def notify(error: Exception) -> None:
    """One notification of napari: the sentence for a user's error, with the traceback for any other error."""
    from napari.utils.notifications import notification_manager, show_error

    if isinstance(error, HeliorestoreError) or memory_is_full(error):
        show_error(explain(error))
    else:
        notification_manager.receive_error(type(error), error, error.__traceback__)
