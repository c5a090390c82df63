import pytest

from heliorestore.errors import SettingsError
from heliorestore.selection import Chosen, Numbers, choose, numbers_text


@pytest.mark.parametrize(
    ("chosen", "numbers", "text"),
    [
        ("1:3", range(1, 3), "1:3"),
        ("::2", range(0, 6, 2), "0:6:2"),
        (" 4 ", range(4, 5), "4:5"),
        ("-1", range(5, 6), "5:6"),
        ("", range(6), "0:6"),
        ("3::-1", range(3, -1, -1), "3::-1"),
        ("0:2,4,1", (0, 1, 4), "0:2,4"),
        ("5,0,2", (5, 0, 2), "5,0,2"),
        ([5, 3, 1], range(5, -1, -2), "5::-2"),
        (slice(-2, None), range(4, 6), "4:6"),
    ],
)
def test_numbers_are_chosen_as_python_does_and_written_to_be_read_again(
    chosen: Chosen, numbers: Numbers, text: str
) -> None:
    assert choose(chosen, 6, "frames") == numbers
    assert numbers_text(numbers) == text
    assert choose(text, 6, "frames") == numbers


@pytest.mark.parametrize("text", ["first", "1:2:3:4", "1.5", "1,,2", "::0"])
def test_what_chooses_no_number_is_an_error(text: str) -> None:
    with pytest.raises(SettingsError, match=r"frames are .*write numbers and Python slices"):
        choose(text, 6, "frames")


@pytest.mark.parametrize("chosen", [0, [0.5], ["1"], None])
def test_what_is_no_list_of_numbers_is_an_error(chosen: Chosen) -> None:
    with pytest.raises(SettingsError, match=r"The objects are .*; give whole numbers in a list"):
        choose(chosen, 6, "objects")


@pytest.mark.parametrize("chosen", ["6", "0,6", "-7", [0, 2, 9]])
def test_a_number_that_is_not_there_is_an_error(chosen: Chosen) -> None:
    with pytest.raises(SettingsError, match=r"There is no number .*the burst has 6 frames, numbered 0 to 5"):
        choose(chosen, 6, "frames")
    with pytest.raises(SettingsError, match="No frames are left"):
        choose("4:4", 6, "frames")
