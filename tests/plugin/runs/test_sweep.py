"""Values for a sweep: read from text, and offered around the defaults."""

from heliorestore.methods.base import METHODS, load
from heliorestore.plugin.runs.sweep import parse_values, spaced_values, suggested_ends, sweepable


def test_the_values_offered_for_settings_of_every_method_are_around_their_defaults():
    for method in METHODS:
        for option in sweepable(load(method).settings):
            values = parse_values(option, spaced_values(option, *suggested_ends(option), 5))
            if option.default is not None and option.default > 0:
                assert min(values) <= option.default <= max(values)
    committee = next(option for option in sweepable(load("mfbd").settings) if option.name == "committee")
    assert spaced_values(committee, *suggested_ends(committee), 5) == "5, 10, 20, 40, 80"


def test_what_is_worth_sweeping_comes_first_and_what_changes_no_result_is_not_offered():
    offered = {
        name: [option.name for option in sweepable(load(name).settings)]
        for name in ("sv-momfbd", "richardson-lucy", "mfbd", "pca")
    }
    assert offered["sv-momfbd"][:3] == ["lambda_object", "lambda_modes", "r0_cm"]
    assert offered["richardson-lucy"] == ["iterations", "damping"]
    assert offered["mfbd"] == ["committee", "best"]
    assert offered["pca"] == ["components"]
    assert not {"memory_gb", "residual_frame"} & set(offered["sv-momfbd"])
    for name, entry in METHODS.items():
        assert set(entry.sweeps) <= {option.name for option in sweepable(load(name).settings)}


def test_a_setting_has_one_name_in_labels_versions_and_sweeps():
    from heliorestore.methods.sv_momfbd import SvMomfbdSettings
    from heliorestore.plugin.runs.sweep import Sweep
    from heliorestore.plugin.runs.versions import knob_text
    from heliorestore.settings import options

    labels = {option.name: option.label for option in options(SvMomfbdSettings)}
    assert labels["lambda_object"] == "lambda object"
    assert knob_text(SvMomfbdSettings()) == "lambda object 0.02, lambda modes 0.01"
    sweep = Sweep("lambda_object", (0.1, 1.0))
    assert (sweep.title(0), sweep.axis) == ("lambda object = 0.1", "lambda")
