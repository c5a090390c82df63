"""The header of the selected layer, as its file has it, and searched."""

import dataclasses

from astropy.io import fits

from heliorestore.plugin.panels.header import HeaderWidget, cards
from heliorestore.plugin.viewer.layers import burst_layers

CARDS = [("TELESCOP", "SST", "name of telescope"), ("EXPTIME", 0.012, "[s]"), ("HISTORY", "first", "")]


def rows(widget):
    return [
        tuple(widget.table.item(row, column).text() for column in range(3))
        for row in range(widget.table.rowCount())
        if not widget.table.isRowHidden(row)
    ]


def test_the_header_of_the_selected_layer_is_shown_and_searched(viewer, burst):
    from napari.layers import Layer

    headers = (fits.Header([*CARDS, ("HISTORY", "second", "")]), fits.Header([("DETECTOR", "Camera 2", "")]))
    for data in burst_layers(dataclasses.replace(burst, headers=headers)):
        viewer.add_layer(Layer.create(*data))
    viewer.add_points([[1, 1]], name="points")
    widget = HeaderWidget(viewer)
    assert "it has no header" in widget.title.text()
    viewer.layers.selection.active = viewer.layers[0]
    assert rows(widget) == [
        ("TELESCOP", "SST", "name of telescope"),
        ("EXPTIME", "0.012", "[s]"),
        ("HISTORY", "first", ""),
        ("HISTORY", "second", ""),
    ]
    widget.search.setText("name sst")
    assert [row[0] for row in rows(widget)] == ["TELESCOP"]
    viewer.layers.selection.active = viewer.layers[1]  # the search stays
    assert rows(widget) == []
    widget.search.clear()
    assert rows(widget) == [("DETECTOR", "Camera 2", "")]
    viewer.layers.selection.clear()
    assert widget.title.text() == "Select one layer to see the header of its image."


def test_the_header_of_another_reader_has_no_comments():
    assert list(cards({"header": {"NAXIS": 2}})) == [("NAXIS", "2", "")]
    assert list(cards({"header": "text"})) == []
