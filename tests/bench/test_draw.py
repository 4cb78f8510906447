"""The measure of a draw is of a real draw, and one that can be verified."""

from bench.draw import QUICK_APPLICATIONS, QUICK_UNITS, draw_once, make_entries, measure_draw


def test_a_small_draw_is_measured_and_verified() -> None:
    found = measure_draw(applications=QUICK_APPLICATIONS, units=QUICK_UNITS)
    assert (found["same_bytes"], found["verified"], found["reached"]) == (True, True, True)
    assert found["units"] == 5_500
    assert found["draw_s"] > 0


def test_all_units_are_dealt_out() -> None:
    _, result = draw_once(make_entries(QUICK_APPLICATIONS), QUICK_UNITS)
    rows = [line.split(",") for line in result.splitlines()[1:]]
    assert len(rows) == QUICK_APPLICATIONS
    assert sum(int(won) for *_, won in rows) == sum(QUICK_UNITS.values())
