"""The page of the feature matrix says what the registry says."""

from feature_matrix import PAGE, page


def test_the_page_is_what_the_registry_makes_of_it() -> None:
    assert PAGE.read_text() == page(), "run `python tests/docs/feature_matrix.py`"
