"""Programs of our own that do what takes longer than a tick."""

from pathlib import Path

from disks import run_on_a_small_disk


def test_an_expand_is_done_whatever_its_command_prints_and_also_on_a_disk_that_is_full_for_a_while(tmp_path: Path) -> None:
    """Its log has a bound, a line of progress that finds no room is not told, and a report waits until there is some."""
    roomy = tmp_path / "roomy"
    roomy.mkdir()
    run_on_a_small_disk("3m", Path(__file__).with_name("errand_on_a_small_disk.py"), tmp_path / "small", roomy)
